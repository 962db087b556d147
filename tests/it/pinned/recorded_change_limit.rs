//! How many changes of a run the log records, and whether it says if some are missing.

use meter_sync::config::Setting;
use meter_sync::model::RunOutcome;
use meter_sync::reports::run_report::RunReport;
use serde_json::{Value, json};

use super::site;
use crate::support::site::{Site, rows};

/// A site that is to insert meters 1 to 12, of which it rejects some, and keeps ten changes.
async fn twelve(check: &str) -> Site {
    let mut site = site("name text", &format!(", check ({check})")).await;
    let ten = site.settings().with(Setting::ChangeLimit, "10");
    site.reconfigure(&ten);
    // Not a first load, which takes another way.
    site.on_remote("insert into meter values (0, 7, 'zero', true)")
        .await;
    site.sync().await;
    site.on_remote("insert into meter select n, 7, 'new', true from generate_series(1, 12) n")
        .await;
    site
}

/// The keys in the log, and whether it says that some are missing.
async fn kept(site: &Site, run: &RunReport) -> (Value, bool) {
    let id = run.run_id;
    let keys = format!(
        "select (key->>'id')::int as id from meter_sync.meter_sync_change where run_id = '{id}' order by n"
    );
    let keys = rows(&site.local, &keys).await;
    let keys = keys.as_array().expect("rows").iter();
    let truncated =
        format!("select changes_truncated from meter_sync.meter_sync_log where id = '{id}'");
    let truncated = rows(&site.local, &truncated).await[0]["changes_truncated"] == true;
    (keys.map(|row| row["id"].clone()).collect(), truncated)
}

#[tokio::test]
async fn changes_are_said_to_be_missing_only_where_fewer_are_kept_than_were_made() {
    for (check, inserted, expected, truncated) in [
        ("true", 12, json!([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), true),
        // Those that were rejected leave room for the last ones.
        (
            "id not in (3, 5)",
            10,
            json!([1, 2, 4, 6, 7, 8, 9, 10, 11, 12]),
            false,
        ),
        (
            "id not in (3, 11)",
            10,
            json!([1, 2, 4, 5, 6, 7, 8, 9, 10, 12]),
            false,
        ),
        (
            "id not in (11, 12)",
            10,
            json!([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            false,
        ),
        ("id <> 4", 11, json!([1, 2, 3, 5, 6, 7, 8, 9, 10, 11]), true),
        (
            "id not between 1 and 5",
            7,
            json!([6, 7, 8, 9, 10, 11, 12]),
            false,
        ),
    ] {
        let site = twelve(check).await;
        let run = site.sync().await;
        assert_eq!(run.counts.inserted, inserted, "{check}: {run:#?}");
        assert_eq!(kept(&site, &run).await, (expected, truncated), "{check}");
    }
}

#[tokio::test]
async fn what_is_recorded_in_place_of_a_rejected_row_tells_its_old_values() {
    let mut site = site("name text", ", check (name <> 'bad')").await;
    let two = site.settings().with(Setting::ChangeLimit, "2");
    site.reconfigure(&two);
    site.on_remote("insert into meter select n, 7, 'old', true from generate_series(1, 4) n")
        .await;
    site.sync().await;
    site.on_remote("update meter set name = case id when 1 then 'bad' else 'new' end")
        .await;
    let run = site.sync().await;
    assert_eq!(
        (run.outcome, run.counts.updated),
        (Some(RunOutcome::Partial), 3),
        "{run:#?}"
    );
    assert_eq!(kept(&site, &run).await, (json!([2, 3]), true));
    let last = &run.changes.last().expect("a change");
    assert_eq!(
        json!([last.before, last.after]),
        json!([{"name": "old"}, {"name": "new"}])
    );
}
