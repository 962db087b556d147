//! Meters that refer to meters by a foreign key of the local table to itself.

use meter_sync::model::{Counts, RunOutcome};
use serde_json::json;

use super::counts;
use crate::support::site::{Site, rows};

/// `parent` refers to the meter above; no port may be 13.
async fn site() -> Site {
    super::site(
        "parent bigint, port integer",
        ", foreign key (parent) references meter (id), check (port <> 13)",
    )
    .await
}

async fn assert_are_here(site: &Site, condition: &str) {
    let all = format!("select id, parent, port, active from meter where {condition} order by id");
    assert_eq!(
        rows(&site.local, &all).await,
        rows(&site.remote, &all).await
    );
}

#[tokio::test]
async fn new_meters_that_refer_to_each_other_go_in_beside_a_row_that_is_rejected() {
    let site = site().await;
    site.on_remote(
        "insert into meter values (20, 7, 25, 1, true), (22, 7, null, 13, true), (23, 7, 22, 1, true),
             (24, 7, 23, 1, true), (25, 7, 20, 1, true), (26, 7, 26, 1, true), (27, 7, 99, 1, true)",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 3,
            rejected: 4,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_are_here(&site, "id in (20, 25, 26)").await;
    let rejected =
        "select (key->>'id')::bigint as id, reason from meter_sync.meter_sync_rejected order by 1";
    assert_eq!(
        rows(&site.local, rejected).await,
        json!([
            {"id": 22, "reason": "port \"13\": breaks constraint meter_port_check: CHECK ((port <> 13))"},
            {"id": 23, "reason": "parent \"22\": no such row in table meter (foreign key meter_parent_fkey)"},
            {"id": 24, "reason": "parent \"23\": no such row in table meter (foreign key meter_parent_fkey)"},
            {"id": 27, "reason": "parent \"99\": no such row in table meter (foreign key meter_parent_fkey)"},
        ])
    );
}

/// Each refers to the next one, so no half of them goes in before the other.
#[tokio::test]
async fn a_long_chain_of_new_meters_goes_in_beside_a_row_that_is_rejected() {
    let site = site().await;
    site.on_remote(
        "insert into meter select n, 7, n + 1, 1, true from generate_series(1, 2999) n;
         insert into meter values (3000, 7, null, 1, true), (3001, 7, null, 13, true)",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        (run.counts.inserted, run.counts.rejected),
        (3000, 1),
        "{run:#?}"
    );
    assert_are_here(&site, "id <= 3000").await;
}

/// Most meters stand before the ones they refer to, in the order of keys.
#[tokio::test]
async fn a_large_tree_of_new_meters_goes_in_beside_a_row_that_is_rejected() {
    let site = site().await;
    site.on_remote(
        "insert into meter select n, 7, case when n % 10 > 0 then 40000 - n / 10 end, case n when 11 then 13 else 1 end, true
         from generate_series(1, 40000) n",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        (run.counts.inserted, run.counts.rejected),
        (39_999, 1),
        "{run:#?}"
    );
    assert_are_here(&site, "id <> 11").await;
}

#[tokio::test]
async fn many_meters_move_to_a_parent_that_is_new() {
    let site = site().await;
    site.on_remote("insert into meter select n, 7, null, 1, true from generate_series(1, 25000) n")
        .await;
    site.sync().await;
    site.on_remote(
        "insert into meter values (30000, 7, null, 1, true); update meter set parent = 30000 where id <= 25000",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(
        (run.counts.inserted, run.counts.updated),
        (1, 25_000),
        "{run:#?}"
    );
    // The same beside rows that are rejected, one of each kind, and a ring of new meters above.
    site.on_remote(
        "insert into meter values (30001, 7, 30002, 1, true), (30002, 7, 30001, 1, true), (30003, 7, null, 13, true);
         update meter set parent = 30001 where id <= 25000; update meter set port = 13 where id = 17",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 2,
            updated: 24_999,
            rejected: 2,
            unchanged: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_are_here(&site, "id not in (17, 30003)").await;
}

/// The new parent takes a number that a meter gives up in the same run, so it cannot go in first.
#[tokio::test]
async fn a_new_parent_that_takes_over_a_number_goes_in_once_it_is_free() {
    let site = super::site(
        "parent bigint, serial text",
        ", foreign key (parent) references meter (id), unique (serial)",
    )
    .await;
    site.on_remote(
        "insert into meter select n, 7, null, 'S' || n, true from generate_series(1, 20) n",
    )
    .await;
    site.sync().await;
    site.on_remote(
        "update meter set serial = 'T' || id where id <= 3; update meter set parent = 31 where id between 5 and 9;
         insert into meter values (30, 7, null, 'S1', true), (31, 7, null, 'S2', true), (32, 7, null, 'new', true)",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let all = "select id, parent, serial from meter order by id";
    assert_eq!(rows(&site.local, all).await, rows(&site.remote, all).await);
}
