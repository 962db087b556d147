//! Processes of their own: killed in the middle, started at once, migrating at once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use meter_sync::config::Setting;
use meter_sync::db::{Database, Local};
use meter_sync::model::RunOutcome;
use meter_sync::store::migrations;
use serde_json::{Value, json};

use crate::support::breakable_site::BreakableSite;
use crate::support::postgres::connect;
use crate::support::program::{self, CommandOutput};
use crate::support::site::{Site, config, rows};
use crate::support::wait;

/// A dead process's lock must be free by then.
const LOCK_FREE: Duration = Duration::from_secs(10);

const WAITING: &str = "select pid from pg_stat_activity
     where datname = current_database() and wait_event_type = 'Lock' and query like '-- update meters%'";

#[tokio::test]
async fn a_process_killed_in_the_middle_of_apply_leaves_an_interrupted_run_and_no_lock() {
    let broken = BreakableSite::with_changes().await;
    let site = &broken.site;
    let before = broken.meters().await;
    let holder = connect(&site.pair.local_url).await;
    holder
        .batch_execute("begin; select from meter where id = '1' for update")
        .await
        .unwrap();
    let mut command = program::over(site, &["sync"], &[(Setting::LockTimeout, "1m")]);
    let mut child = command.spawn().expect("start the program");
    let waiting = async || rows(&site.local, WAITING).await != json!([]);
    wait::until("the process waits in apply", waiting).await;
    let unfinished = "select id from meter_sync.meter_sync_log where outcome is null";
    let killed = rows(&site.local, unfinished).await;
    assert_eq!(killed.as_array().map(Vec::len), Some(1));

    child.kill().await.expect("kill -9");
    let begun = Instant::now();
    let gone = async || rows(&site.local, WAITING).await == json!([]);
    wait::until("its backend is gone", gone).await;
    assert!(begun.elapsed() < LOCK_FREE, "{begun:?}");
    assert_eq!(broken.meters().await, before);
    holder.batch_execute("rollback").await.unwrap();

    let run = site.sync().await;
    assert!(begun.elapsed() < LOCK_FREE, "{begun:?}");
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let id = killed[0]["id"].as_str().unwrap();
    let log =
        format!("select outcome, error_code from meter_sync.meter_sync_log where id = '{id}'");
    assert_eq!(
        rows(&site.local, &log).await,
        json!([{"outcome": "interrupted", "error_code": "INTERRUPTED"}])
    );
    broken.heals().await;
}

#[tokio::test]
async fn of_two_processes_at_once_one_runs_and_the_other_names_its_run() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'One')")
        .await;
    site.sync().await;
    site.on_remote("update meter set name = 'Uno'").await;
    let holder = connect(&site.pair.remote_url).await;
    let lock = "begin; lock table meter in access exclusive mode";
    holder.batch_execute(lock).await.unwrap();
    let sync = || program::run(program::over(&site, &["sync", "--json"], &[]));
    let let_go = async {
        let one_waits = async || {
            let waits = "select 1 from pg_locks where not granted";
            rows(&site.remote, waits).await != json!([])
        };
        wait::until("one of them waits for the remote", one_waits).await;
        // whichever is second has its answer without touching the remote
        let second = sync().await;
        holder.batch_execute("commit").await.unwrap();
        second
    };
    let (first, second) = tokio::join!(sync(), let_go);
    assert_eq!((first.code, second.code), (0, 4), "{first:?} {second:?}");
    let (first, second) = (report(&first), report(&second));
    assert_eq!(first["outcome"], "succeeded");
    assert_eq!(second["state"], "already_running");
    assert_eq!(first["run_id"], second["run_id"]);
}

fn report(ended: &CommandOutput) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[tokio::test]
async fn two_processes_started_in_one_instant_never_run_at_once() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'One')")
        .await;
    let sync = || program::run(program::over(&site, &["sync", "--json"], &[]));
    let (one, other) = tokio::join!(sync(), sync());
    let mut codes = [one.code, other.code];
    codes.sort_unstable();
    assert!(codes == [0, 4] || codes == [0, 0], "{one:?} {other:?}");
    let log = "select a.id from meter_sync.meter_sync_log a, meter_sync.meter_sync_log b
         where a.seq < b.seq and b.started_at < a.finished_at";
    assert_eq!(rows(&site.local, log).await, json!([]));
    let meters = "select id, active from meter";
    assert_eq!(
        rows(&site.local, meters).await,
        json!([{"id": "1", "active": true}])
    );
}

#[tokio::test]
async fn eight_that_migrate_at_once_make_the_tables_once() {
    let site = Site::new().await;
    let settings = config(&site.settings());
    let local = Database::<Local>::new(settings.local.as_ref().unwrap(), &settings.limits).unwrap();
    let migrate = async || {
        let mut connection = local.connect().await.expect("a connection");
        migrations::run(&mut connection).await.expect("migrated")
    };
    let programs = (0..2).map(|_| program::run(program::over(&site, &["migrate"], &[])));
    let (done, ended) = tokio::join!(join_all((0..6).map(|_| migrate())), join_all(programs));
    for program in &ended {
        assert_eq!(program.code, 0, "{program:?}");
    }
    let by_us = done
        .iter()
        .filter(|made| **made != migrations::MigrationResult::Current)
        .count();
    let by_them = ended
        .iter()
        .filter(|made| made.stdout.contains("brought up to date"))
        .count();
    assert_eq!(by_us + by_them, 1, "{done:?} {ended:?}");
    let versions = "select version from meter_sync.meter_sync_migration order by version";
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/migrations");
    let files = std::fs::read_dir(folder).expect("our migrations").count();
    let steps: Vec<_> = (1..=files)
        .map(|version| json!({"version": version}))
        .collect();
    assert_eq!(rows(&site.local, versions).await, json!(steps));
}
