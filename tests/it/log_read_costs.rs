//! What it costs to read a long log.

use std::time::Duration;

use meter_sync::reports::status::StatusQuery;

use crate::support::site::{Site, rows};
use meter_sync::model::{RunFilter, RunsQuery};

/// A log in which the tenant's last run is long ago, and its last success longer: others ran since, and it failed.
const LONG: &str = "
    insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, started_at, finished_at, outcome)
    select gen_random_uuid(), '8', 'public.meter', 'schedule', at, at, 'no_change'
    from generate_series(1, 20000) n, lateral (select now() - n * interval '1 minute') t (at);
    insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, started_at, finished_at, outcome)
    select gen_random_uuid(), '7', 'public.meter', 'schedule', at, at, case when n < 10000 then 'failed' else 'no_change' end
    from generate_series(1, 20000) n, lateral (select now() - interval '30 days' - n * interval '1 minute') t (at);
    analyze meter_sync.meter_sync_log";

/// Newer runs of the tenant than of any other, and old ones of no tenant.
const MIXED: &str = "
    insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, started_at, finished_at, outcome)
    select gen_random_uuid(), '7', 'public.meter', 'schedule', at, at, 'no_change'
    from generate_series(1, 30) n, lateral (select now() + n * interval '1 second') t (at);
    insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, started_at, finished_at, outcome)
    select gen_random_uuid(), null, 'public.meter', 'schedule', at, at, 'failed'
    from generate_series(1, 10000) n, lateral (select now() - interval '90 days' - n * interval '1 minute') t (at);
    analyze meter_sync.meter_sync_log";

/// Three looks need less, of which each counts a thousand failures at most; a part of the log that is passed has more.
const FEW: i64 = 5000;

/// How many rows of the log have been read so far. A session tells once a second at most, and when it is asked again.
async fn read(site: &Site) -> i64 {
    let read = "select (seq_tup_read + idx_tup_fetch)::bigint as n from pg_stat_user_tables where relname = 'meter_sync_log'";
    rows(&site.local, read).await[0]["n"]
        .as_i64()
        .expect("a number")
}

/// Looks in every way at the log, each time anew.
async fn look(site: &Site, history: u32) {
    let query = StatusQuery {
        history,
        ..StatusQuery::default()
    };
    let status = site.mirror.status(&query).await.expect("a status");
    assert!(status.last_success_at.is_some(), "{status:#?}");
    for (show, count) in [
        (RunFilter::All, 20),
        (RunFilter::Problems, 20),
        (RunFilter::Changes, 0),
    ] {
        let query = RunsQuery {
            limit: 20,
            before: None,
            show,
        };
        let page = site
            .mirror
            .list(&query)
            .await
            .expect("a page")
            .expect("runs");
        assert_eq!(page.runs.len(), count, "{show:?}");
    }
}

#[tokio::test]
async fn a_look_reads_no_more_of_the_log_than_it_shows() {
    let site = Site::new().await;
    site.sync().await;
    site.on_local("delete from meter_sync.meter_sync_log").await;
    site.on_local(LONG).await;
    let before = read(&site).await;
    for history in 5..8 {
        look(&site, history).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let after = read(&site).await;
    assert!(after > before, "nothing was told of what was read");
    assert!(after - before < FEW, "{} rows were read", after - before);
}

#[tokio::test]
async fn the_next_page_reads_no_more_of_the_log_than_it_shows() {
    let site = Site::new().await;
    site.sync().await;
    site.on_local("delete from meter_sync.meter_sync_log").await;
    site.on_local(LONG).await;
    site.on_local(MIXED).await;
    let before = read(&site).await;
    for history in 5..8 {
        look(&site, history).await;
        let mut query = RunsQuery {
            limit: 25,
            before: None,
            show: RunFilter::All,
        };
        for _ in 0..2 {
            let page = site.mirror.list(&query).await.expect("a page");
            let page = page.expect("runs");
            assert_eq!(page.runs.len(), 25);
            query.before = page.next_before;
        }
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let after = read(&site).await;
    assert!(after > before, "nothing was told of what was read");
    assert!(after - before < FEW, "{} rows were read", after - before);
}
