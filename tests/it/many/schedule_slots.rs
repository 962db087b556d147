//! Slots of the schedule with many tenants: one process sweeps, and a failed mirror is retried alone.

use std::time::Duration;

use chrono_tz::Tz;
use meter_sync::config::{Schedule, Setting};
use meter_sync::model::ActivityState;
use meter_sync::reports::tenant_list::TenantsQuery;
use meter_sync::schedule::{self, SlotTiming};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{of_all, three_tenants};
use crate::support::postgres::connect;
use crate::support::site::{self, Site};
use crate::support::wait;

const YEARLY: &str = "0 0 0 1 1 *";
const EACH_SECOND: &str = "* * * * * *";
const QUICK: SlotTiming = SlotTiming {
    jitter: Duration::ZERO,
    first_retry: Duration::from_millis(200),
    catch_up: None,
};

/// A process's loop; it ends when the guard is dropped.
fn start(line: &str, mirrors: &meter_sync::mirrors::Mirrors) -> DropGuard {
    let stop = CancellationToken::new();
    let line = Schedule::parse(line, Tz::UTC).expect("a schedule");
    let slots = schedule::run(line, QUICK, mirrors.clone(), stop.clone());
    #[expect(clippy::disallowed_methods, reason = "the guard ends it")]
    tokio::spawn(slots);
    stop.drop_guard()
}

async fn count(site: &Site, from: &str) -> i64 {
    let sql = format!("select count(*) from meter_sync.{from}");
    let row = site.local.query_one(&sql, &[]).await;
    row.map_or(0, |row| row.get(0))
}

#[tokio::test]
async fn of_several_processes_one_sweeps_each_slot() {
    let site = three_tenants().await;
    // The first load can take longer than a slot, and the next slot would then find it under way.
    super::loaded(&site).await;
    let processes: Vec<_> = (0..3).map(|_| site::mirrors(&of_all(&site))).collect();
    let loops: Vec<_> = processes
        .iter()
        .map(|mirrors| start(EACH_SECOND, mirrors))
        .collect();
    let of_slots = "meter_sync_sweep where trigger <> 'cli' and finished_at is not null";
    let is_there = async || count(&site, of_slots).await > 3;
    wait::until("some slots were swept", is_there).await;
    drop(loops);
    let (sweeps, slots) = (
        count(&site, "meter_sync_sweep where trigger <> 'cli'").await,
        count(&site, "meter_sync_slot where tenant like '* %'").await,
    );
    assert!(sweeps <= slots, "{sweeps} sweeps of {slots} slots");
    assert_eq!(
        count(&site, "meter_sync_log").await,
        3,
        "one run of each tenant"
    );
}

#[tokio::test]
async fn a_tenant_that_fails_for_a_transient_reason_is_tried_again_within_the_slot_and_no_other() {
    let site = three_tenants().await;
    let settings = of_all(&site).with(Setting::LockTimeout, "300ms");
    let mirrors = site::mirrors(&settings);
    super::sweep(&mirrors).await;
    let mut holder = connect(&site.pair.local_url).await;
    let held = holder.transaction().await.expect("a transaction");
    held.batch_execute("select * from meter where tenant_id = 8 for update")
        .await
        .expect("a lock");
    site.on_remote("update meter set name = 'new' where tenant_id = 8")
        .await;
    let _stop = start(YEARLY, &mirrors);
    let failed = "meter_sync_log where tenant = '8' and error_code = 'LOCAL_TIMEOUT'";
    let has_failed = async || count(&site, failed).await > 1;
    wait::until("the run has failed and was tried again", has_failed).await;
    let waits = async || {
        let status = mirrors.overview(&TenantsQuery::default()).await;
        status.activity == ActivityState::Waiting && status.next_run_at.is_some()
    };
    wait::until("the status tells of the wait", waits).await;
    held.rollback().await.expect("free");
    let last = "meter_sync_log where tenant = '8' and outcome = 'succeeded'";
    let has_succeeded = async || count(&site, last).await == 2;
    wait::until("the run has succeeded", has_succeeded).await;
    assert_eq!(
        count(&site, "meter_sync_sweep").await,
        2,
        "one by hand and one of the slot"
    );
    assert_eq!(count(&site, "meter_sync_log where tenant <> '8'").await, 2);
}
