//! Every wait has a timeout: for locks, slow statements, frozen servers and whole runs.

use std::time::{Duration, Instant};

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use tokio_postgres::Client;

use crate::support::breakable_site::BreakableSite;
use crate::support::postgres::connect;
use crate::support::proxy::Fault;

/// A function that takes half a minute.
const SLOW: &str = "
    create function slow() returns trigger language plpgsql as
    $$begin perform pg_sleep(30); return new; end$$;
    create trigger slow before update on meter for each row execute function slow()";

const SLOW_VIEW: &str = "
    alter table meter rename to old_meter;
    create view meter as select m.* from old_meter m, lateral (select pg_sleep(30), m.id) s";

const QUICK_TABLE: &str = "drop view meter; alter table old_meter rename to meter";

async fn holding(url: &str, lock: &str) -> Client {
    let holder = connect(url).await;
    let sql = format!("begin; {lock}");
    holder.batch_execute(&sql).await.expect("take a lock");
    holder
}

#[tokio::test]
async fn a_local_lock_held_by_someone_else_is_waited_for_so_long_and_no_longer() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[(Setting::LockTimeout, "200ms")]);
    for lock in [
        "select from meter where id = '2' for update",
        "lock table meter in share mode",
        "lock table meter_sync.meter_sync_change in exclusive mode",
    ] {
        let holder = holding(&broken.site.pair.local_url, lock).await;
        let begun = Instant::now();
        broken.fails_with(ErrorCode::LocalTimeout).await;
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{lock}: {begun:?}"
        );
        holder.batch_execute("commit").await.unwrap();
        broken.heals().await;
        broken.change_the_remote().await;
    }
}

#[tokio::test]
async fn a_remote_table_locked_by_someone_else_times_out() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[(Setting::StatementTimeout, "300ms")]);
    let lock = "lock table meter in access exclusive mode";
    let holder = holding(&broken.site.pair.remote_url, lock).await;
    broken.fails_with(ErrorCode::RemoteTimeout).await;
    holder.batch_execute("commit").await.unwrap();
    drop(holder);
    broken.heals().await;
}

#[tokio::test]
async fn a_slow_remote_statement_is_ended_by_its_timeout() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[(Setting::StatementTimeout, "300ms")]);
    broken.site.on_remote(SLOW_VIEW).await;
    broken.fails_with(ErrorCode::RemoteTimeout).await;
    broken.site.on_remote(QUICK_TABLE).await;
    broken.heals().await;
}

#[tokio::test]
async fn a_slow_local_statement_is_ended_by_its_timeout() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[(Setting::StatementTimeout, "300ms")]);
    broken.site.on_local(SLOW).await;
    broken.fails_with(ErrorCode::LocalTimeout).await;
    broken.site.on_local("drop function slow cascade").await;
    broken.heals().await;
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_given_up_and_its_rows_rolled_back() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[
        (Setting::RunTimeout, "1s"),
        (Setting::StatementTimeout, "1m"),
    ]);
    broken.site.on_local(SLOW).await;
    let begun = Instant::now();
    broken.fails_with(ErrorCode::LocalTimeout).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{begun:?}");
    broken.site.on_local("drop function slow cascade").await;
    broken.heals().await;
}

#[tokio::test]
async fn a_run_whose_remote_takes_too_long_says_so_and_leaves_no_connection_there() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[
        (Setting::RunTimeout, "1s"),
        (Setting::StatementTimeout, "15s"),
    ]);
    broken.site.on_remote(SLOW_VIEW).await;
    let begun = Instant::now();
    broken.fails_with(ErrorCode::RemoteTimeout).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{begun:?}");
    // it waits for a lock that our backend holds while it lives
    broken.site.on_remote(QUICK_TABLE).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{begun:?}");
    broken.heals().await;
}

#[tokio::test]
async fn a_local_database_frozen_in_the_middle_ends_the_run_and_spoils_no_later_one() {
    let mut broken = BreakableSite::with_changes().await;
    let short = [
        (Setting::StatementTimeout, "300ms"),
        (Setting::ConnectTimeout, "300ms"),
    ];
    for point in [
        &["-- update meters"],
        &["-- stage the meters"],
        &["-- take the run lock"],
    ] {
        broken.reconfigure(&short);
        let before = broken.meters().await;
        let struck = broken.local.struck();
        broken.local.set(Fault::StallAt(point));
        let begun = Instant::now();
        let run = broken.site.sync().await;
        let code = run.error.as_ref().map(|error| error.code);
        assert_eq!(code, Some(ErrorCode::LocalTimeout), "{run:#?}");
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "{point:?} {begun:?}"
        );
        assert_eq!(broken.meters().await, before);
        assert_eq!(broken.local.struck(), struck + 1);
        broken.heals().await;
        broken.change_the_remote().await;
    }
}

#[tokio::test]
async fn connections_that_vanished_while_idle_cost_a_pause_and_no_run() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[(Setting::ConnectTimeout, "500ms")]);
    broken.site.status().await;
    broken.site.dry_run().await;
    broken.local.strand();
    let begun = Instant::now();
    broken.heals().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{begun:?}");
}
