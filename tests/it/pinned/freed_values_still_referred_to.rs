//! Values of meters that are gone, which other meters refer to until the same run.

use meter_sync::model::RunOutcome;
use serde_json::json;

use super::site;
use crate::support::site::{Site, rows};

const METERS: &str = "select id, name, parent from meter where active order by id";

/// Twelve meters, of which number 10 refers to number 12.
async fn twelve(action: &str) -> Site {
    let site = site("name text, parent text", ", unique (name)").await;
    site.on_local(&format!(
        "alter table meter add foreign key (parent) references meter (name) {action}"
    ))
    .await;
    site.on_remote(
        "insert into meter select n, 7, 'S' || n, case n when 10 then 'S12' end, true from generate_series(1, 12) n",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    site
}

async fn assert_brought(site: &Site, change: &str, case: &str) {
    site.on_remote(change).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{case}: {run:#?}");
    assert_eq!(
        rows(&site.local, METERS).await,
        rows(&site.remote, METERS).await,
        "{case}"
    );
    let again = site.sync().await;
    assert_eq!(
        again.outcome,
        Some(RunOutcome::NoChange),
        "{case}: {again:#?}"
    );
}

#[tokio::test]
async fn a_value_that_an_update_of_the_run_frees_is_given_up_in_the_same_run() {
    for action in ["", "on update cascade", "on update restrict"] {
        for taker in [
            "update meter set name = 'S12' where id = 11",
            "insert into meter values (13, 7, 'S12', null, true)",
            "insert into meter values (13, 7, 'S12', null, true); update meter set parent = 'S9' where id = 10",
        ] {
            let site = twelve(action).await;
            let change = format!(
                "delete from meter where id = 12; update meter set parent = null where id = 10; {taker}"
            );
            assert_brought(&site, &change, &format!("{action} {taker}")).await;
            let history = "select action, before, after from meter_sync.meter_sync_change
                where key = '{\"id\": 12}' order by run_id, n offset 1";
            assert_eq!(
                rows(&site.local, history).await,
                json!([{"action": "deactivate", "before": {"active": true, "name": "S12"}, "after": {"active": false, "name": null}}])
            );
        }
    }
}

/// Number 9 is to get what number 12 frees, and only then number 8 lets go of number 9's value.
#[tokio::test]
async fn values_that_are_freed_one_after_the_other_are_all_given_up() {
    let site = twelve("").await;
    site.on_remote(
        "update meter set parent = 'S1' where id = 9; update meter set parent = 'S2' where id = 8",
    )
    .await;
    site.sync().await;
    let change = "delete from meter where id in (1, 2, 12);
        update meter set parent = null where id in (8, 10);
        update meter set parent = null, name = 'S2' where id = 9;
        update meter set name = 'S1' where id = 7;
        update meter set name = 'S12' where id = 11";
    assert_brought(&site, change, "in turn").await;
}

/// Number 11 waits for what number 10 refers to, and number 10 for what number 11 holds.
#[tokio::test]
async fn a_ring_that_leads_through_a_freed_value_passes() {
    for action in ["", "on update cascade"] {
        let site = twelve(action).await;
        let change = "delete from meter where id = 12;
            update meter set parent = null, name = 'S11' where id = 10;
            update meter set name = 'S12' where id = 11";
        assert_brought(&site, change, action).await;
    }
}
