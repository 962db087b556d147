//! Bad rows in a COPY, which the local table refuses, cost no second read of the others.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::{Counts, RunOutcome};
use serde_json::json;

use super::site;
use crate::support::breakable_site::BreakableSite;
use crate::support::proxy::Fault;
use crate::support::site::{Site, rows};

/// Enough rows for several copies: some 5 MB.
const ROWS: i64 = 20_000;

async fn fill(site: &Site) {
    site.on_remote(&format!(
        "insert into meter (id, tenant_id, name, notes, active)
         select n, 7, 'meter ' || n, repeat('note ', 40) || n, true from generate_series(1, {ROWS}) n"
    ))
    .await;
}

async fn empty_again(site: &Site) {
    site.on_local(
        "truncate meter; truncate meter_sync.meter_sync_seen, meter_sync.meter_sync_log cascade",
    )
    .await;
}

#[tokio::test]
async fn one_bad_row_costs_no_second_read_of_the_others() {
    // Rows of the same types travel as the servers hold them, the others as text.
    for more in ["", ", tags text[]"] {
        let columns = format!("name varchar(100), notes text{more}");
        let site = site(&columns, "").await;
        site.on_local("alter table meter alter name type varchar(20)")
            .await;
        fill(&site).await;
        let clean = site.sync().await;
        assert_eq!(clean.counts.inserted, ROWS, "{clean:#?}");
        empty_again(&site).await;
        site.on_remote("update meter set name = repeat('x', 50) where id in (1, 15000)")
            .await;
        let first = site.sync().await;
        let counts = Counts {
            inserted: ROWS - 2,
            rejected: 2,
            ..Counts::default()
        };
        assert_eq!(
            (first.outcome, first.counts),
            (Some(RunOutcome::Partial), counts)
        );
        assert!(
            first.remote_bytes < clean.remote_bytes * 11 / 10,
            "{} after {}",
            first.remote_bytes,
            clean.remote_bytes
        );
        let again = site.sync().await;
        assert_eq!(
            (again.counts.rejected, again.counts.changes()),
            (2, 0),
            "{again:#?}"
        );
        site.on_remote("update meter set notes = notes || '!' where id % 2 = 0")
            .await;
        let changed = site.sync().await;
        assert_eq!(changed.counts.updated, ROWS / 2 - 1, "{changed:#?}");
        assert!(
            changed.remote_bytes < clean.remote_bytes * 11 / 10,
            "{} after {}",
            changed.remote_bytes,
            clean.remote_bytes
        );
    }
}

#[tokio::test]
async fn what_was_loaded_beside_bad_rows_is_recorded_once() {
    let mut site = site("name text, notes text", ", check (name <> 'bad')").await;
    let settings = site.settings().with(Setting::ChangeLimit, "100");
    site.reconfigure(&settings);
    fill(&site).await;
    site.on_remote("update meter set name = 'bad' where id in (3, 4, 19999)")
        .await;
    let run = site.sync().await;
    assert_eq!(
        (run.counts.inserted, run.counts.rejected),
        (ROWS - 3, 3),
        "{run:#?}"
    );
    let recorded = "select count(*) as n, min(key->>'id') as first, bool_and(action = 'insert') as inserts,
        count(distinct n) as numbers, max((key->>'id')::int) as last from meter_sync.meter_sync_change";
    assert_eq!(
        rows(&site.local, recorded).await,
        json!([{"n": 100, "first": "1", "inserts": true, "numbers": 100, "last": 102}])
    );
    let aside = "select key from meter_sync.meter_sync_rejected order by key";
    let aside = rows(&site.local, aside).await;
    assert_eq!(
        aside,
        json!([{"key": {"id": 3}}, {"key": {"id": 4}}, {"key": {"id": 19999}}])
    );
}

#[tokio::test]
async fn meters_that_refer_to_meters_of_a_later_copy_are_loaded() {
    let site = site(
        "name text, notes text, parent bigint",
        ", foreign key (parent) references meter",
    )
    .await;
    fill(&site).await;
    site.on_remote(&format!("update meter set parent = {ROWS} - id + 1"))
        .await;
    let run = site.sync().await;
    assert_eq!(
        run.outcome,
        Some(RunOutcome::Succeeded),
        "{:?} {:?}",
        run.counts,
        run.error
    );
    assert_eq!(run.counts.inserted, ROWS);
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
}

#[tokio::test]
async fn a_key_that_the_remote_gives_in_two_copies_is_refused() {
    let site = site("name text, notes text", "").await;
    site.on_remote("alter table meter drop constraint meter_pkey")
        .await;
    fill(&site).await;
    site.on_remote("insert into meter values (5, 7, 'again', null, true)")
        .await;
    let run = site.sync().await;
    let error = run.error.expect("an error");
    assert_eq!(error.code, ErrorCode::DuplicateSourceKey, "{error:?}");
    assert!(error.message.contains("{\"id\": 5}"), "{error:?}");
    let left = rows(&site.local, "select count(*) as n from meter").await;
    assert_eq!(left, json!([{"n": 0}]));
}

#[tokio::test]
async fn a_run_that_was_given_up_tells_all_that_it_had_read() {
    let broken = BreakableSite::new().await;
    fill(&broken.site).await;
    broken.remote.set(Fault::StallReply(600_000));
    let run = broken.fails_with(ErrorCode::RemoteTimeout).await;
    // All but what belongs to the conversation, and the row that was cut.
    assert!(run.remote_bytes > 500_000, "{} bytes", run.remote_bytes);
    broken.heals().await;
}

#[tokio::test]
async fn more_bad_rows_than_may_be_rejected_end_the_read() {
    let mut site = site("name text, notes text", ", check (name <> 'bad')").await;
    site.on_local("alter table meter alter name type varchar(20)")
        .await;
    let settings = site.settings().with(Setting::RejectedLimit, "10");
    site.reconfigure(&settings);
    fill(&site).await;
    site.on_remote("update meter set name = repeat('x', 30), notes = repeat('note ', 100)")
        .await;
    let all: i64 = site
        .remote
        .query_one(
            "select sum(length(name) + length(notes))::bigint from meter",
            &[],
        )
        .await
        .expect("a sum")
        .get(0);
    let run = site.sync().await;
    let error = run.error.expect("an error");
    assert_eq!(error.code, ErrorCode::LocalConstraint, "{error:?}");
    // What was under way when the limit was reached.
    assert!(
        (1..all / 2).contains(&run.remote_bytes),
        "{} of {all}",
        run.remote_bytes
    );
}
