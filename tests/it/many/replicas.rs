//! Several processes that keep the same tenants: they share the runs of a sweep, and take over from one that dies.

use std::time::Duration;

use meter_sync::config::Setting;
use meter_sync::mirrors::SlotClaimOutcome;
use meter_sync::mirrors::run::cancel_run::CancelOutcome;
use meter_sync::model::RunTrigger;
use serde_json::{Value, json};

use super::{of_all, three_tenants};
use crate::support::program::{self, RunningProgram};
use crate::support::run_hold::RunHold;
use crate::support::site::{self, Site, rows};
use crate::support::wait;

/// The first tenant and the last. Each run takes a while, see [`site_with_slow_runs`].
const TENANTS: std::ops::RangeInclusive<i32> = 101..=116;

/// A schedule with one slot, which the first process makes up when it starts.
const YEARLY: &str = "0 0 0 1 1 *";

/// A dead process's work is taken over after at most 30 s, and its tenants then run.
const TAKEN_OVER: Duration = Duration::from_secs(60);

/// A site of 16 tenants, where each run that inserts meters takes half a second.
async fn site_with_slow_runs() -> Site {
    let site = three_tenants().await;
    let (first, last) = (TENANTS.start(), TENANTS.end());
    let tenants = format!(
        "truncate tenant; insert into tenant select n, 'tenant ' || n from generate_series({first}, {last}) n"
    );
    site.on_remote(&tenants).await;
    site.on_local(&tenants).await;
    site.on_remote(&format!(
        "truncate meter; insert into meter select n, n, 'one', true from generate_series({first}, {last}) n"
    ))
    .await;
    site.on_local(
        "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.5); return null; end $$;
         create trigger slow before insert on meter for each statement execute function slow()",
    )
    .await;
    site
}

/// The program as a server of all tenants, with two runs at once. It sweeps when it starts, unless another one has.
async fn replica(site: &Site) -> RunningProgram {
    let more = [
        (Setting::Tenants, "all"),
        (Setting::Workers, "2"),
        (Setting::Schedule, YEARLY),
        (Setting::RunTimeout, "5s"),
        (Setting::StatementTimeout, "2s"),
    ];
    let command = program::over(site, &["serve"], &more);
    RunningProgram::serve(command).await.0
}

/// The same with the usual time limits.
async fn patient_replica(site: &Site) -> RunningProgram {
    let more = [
        (Setting::Tenants, "all"),
        (Setting::Workers, "2"),
        (Setting::Schedule, YEARLY),
    ];
    let command = program::over(site, &["serve"], &more);
    RunningProgram::serve(command).await.0
}

/// How many runs the program has started.
fn started(replica: &RunningProgram) -> usize {
    replica.stderr().matches("sync started").count()
}

/// The number of tenants all of whose meters are in sync, by the rows themselves.
async fn in_sync(site: &Site) -> usize {
    let meters = "select tenant_id, name from meter where active order by id";
    let (here, there) = (
        rows(&site.local, meters).await,
        rows(&site.remote, meters).await,
    );
    let here = here.as_array().cloned().unwrap_or_default();
    let there = there.as_array().cloned().unwrap_or_default();
    there.iter().filter(|row| here.contains(row)).count()
}

async fn all_in_sync(site: &Site) {
    let is_done = async || in_sync(site).await == TENANTS.count();
    wait::until_within(TAKEN_OVER, "all tenants are in sync", is_done).await;
}

async fn count(site: &Site, from: &str) -> Value {
    let sql = format!("select count(*)::integer from meter_sync.{from}");
    rows(&site.local, &sql).await[0]["count"].clone()
}

#[tokio::test]
async fn the_runs_of_a_sweep_are_shared() {
    let site = site_with_slow_runs().await;
    let held = RunHold::new(&site).await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(patient_replica(&site).await);
    }
    let all_run = async || replicas.iter().all(|replica| started(replica) > 0);
    wait::until("all three have started a run", all_run).await;
    held.release().await;
    all_in_sync(&site).await;
    let has_ended =
        async || count(&site, "meter_sync_sweep where finished_at is not null").await == 1;
    wait::until("the sweep has ended", has_ended).await;
    let counts = "select mirrors::integer, succeeded::integer, failed::integer from meter_sync.meter_sync_sweep";
    assert_eq!(
        rows(&site.local, counts).await,
        json!([{"mirrors": 16, "succeeded": 16, "failed": 0}])
    );
    assert_eq!(
        count(&site, "meter_sync_log").await,
        16,
        "one run of each tenant"
    );
    assert_eq!(
        count(&site, "meter_sync_due").await,
        0,
        "nothing is left over"
    );
    let started: Vec<usize> = replicas.iter().map(started).collect();
    assert_eq!(started.iter().sum::<usize>(), 16, "{started:?}");
}

#[tokio::test]
async fn the_work_of_a_process_that_dies_is_taken_over() {
    let site = site_with_slow_runs().await;
    let mut first = replica(&site).await;
    let is_under_way = async || started(&first) >= 2;
    wait::until("the first process is at work", is_under_way).await;
    let second = replica(&site).await;
    first.kill().await;
    all_in_sync(&site).await;
    assert!(started(&second) > 0);
    let ended = "meter_sync_sweep where finished_at is not null and error_code is null";
    let has_ended = async || count(&site, ended).await == 1;
    wait::until_within(TAKEN_OVER, "a whole sweep has ended", has_ended).await;
    let inserted =
        "select count(*)::integer from meter_sync.meter_sync_change where action = 'insert'";
    assert_eq!(
        rows(&site.local, inserted).await,
        json!([{"count": 16}]),
        "no meter was inserted twice"
    );
}

/// Much sooner than the claims of a dead process expire.
const HANDED_OVER: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_process_that_is_stopped_hands_its_sweep_over_at_once() {
    let site = site_with_slow_runs().await;
    let mut first = replica(&site).await;
    let is_under_way = async || started(&first) >= 2;
    wait::until("the first process is at work", is_under_way).await;
    let second = replica(&site).await;
    first.terminate();
    let is_taken_over = async || count(&site, "meter_sync_sweep").await == 2;
    wait::until_within(HANDED_OVER, "another process sweeps", is_taken_over).await;
    assert_eq!(first.code(HANDED_OVER).await, 0);
    all_in_sync(&site).await;
    assert!(started(&second) > 0);
    let ended =
        "meter_sync_sweep where finished_at is not null and error_code is null and failed = 0";
    let has_ended = async || count(&site, ended).await == 1;
    wait::until("a whole sweep has ended", has_ended).await;
    let cut_off = "meter_sync_log where outcome not in ('succeeded', 'no_change')";
    assert_eq!(count(&site, cut_off).await, 0, "no run was cut off");
}

#[tokio::test]
async fn a_helper_that_is_stopped_ends_its_runs_and_leaves_the_others() {
    let site = site_with_slow_runs().await;
    let held = RunHold::new(&site).await;
    let first = patient_replica(&site).await;
    let mut second = patient_replica(&site).await;
    let both_run = async || started(&first) > 0 && started(&second) > 0;
    wait::until("both have started a run", both_run).await;
    let begun = started(&second);
    second.terminate();
    held.release().await;
    assert_eq!(second.code(HANDED_OVER).await, 0);
    let swept = "meter_sync_sweep where succeeded = 16 and failed = 0 and error_code is null";
    let has_ended = async || count(&site, swept).await == 1;
    wait::until_within(HANDED_OVER, "the sweep has ended", has_ended).await;
    let runs = count(&site, "meter_sync_log").await;
    assert_eq!(runs, 16, "no run was cut off; {begun} had begun");
}

#[tokio::test]
async fn a_process_that_wakes_up_past_every_bound_writes_nothing() {
    let site = site_with_slow_runs().await;
    let mut first = replica(&site).await;
    let writing = "select from pg_stat_activity
        where wait_event = 'PgSleep' and datname = current_database()";
    let is_writing = async || rows(&site.local, writing).await != json!([]);
    wait::until("the first process writes", is_writing).await;
    first.freeze();
    let second = replica(&site).await;
    all_in_sync(&site).await;
    let ended = "meter_sync_sweep where finished_at is not null and error_code is null";
    let has_ended = async || count(&site, ended).await == 1;
    wait::until_within(TAKEN_OVER, "a whole sweep has ended", has_ended).await;
    let written = "select tenant_id::integer, name, xmin::text from meter order by id";
    let before = rows(&site.local, written).await;
    let log =
        "select id, outcome, finished_at, error_code from meter_sync.meter_sync_log order by id";
    let logged = rows(&site.local, log).await;
    first.thaw();
    let taken_over = "meter_sync_sweep where error_code = 'INTERRUPTED'";
    let is_told = async || count(&site, taken_over).await == 1;
    wait::until("the first process says that it was replaced", is_told).await;
    assert_eq!(
        rows(&site.local, written).await,
        before,
        "nothing was written"
    );
    assert_eq!(
        rows(&site.local, log).await,
        logged,
        "what was logged of its runs stays"
    );
    assert_eq!(
        count(&site, "meter_sync_log where outcome is null").await,
        0
    );
    drop(second);
    first.kill().await;
}

#[tokio::test]
async fn a_run_of_a_sweep_that_is_cancelled_counts_as_failed_and_is_not_retried() {
    let site = three_tenants().await;
    let held = RunHold::new(&site).await;
    let more = [(Setting::Tenants, "all"), (Setting::Schedule, YEARLY)];
    let command = program::over(&site, &["serve"], &more);
    let (_program, _address) = RunningProgram::serve(command).await;
    let open = "select id from meter_sync.meter_sync_log where tenant = '8' and outcome is null";
    let has_begun = async || {
        let has_log = "select to_regclass('meter_sync.meter_sync_due') is not null as is_there";
        rows(&site.local, has_log).await[0]["is_there"] == true
            && rows(&site.local, open).await != json!([])
    };
    wait::until("the run of tenant 8 has begun", has_begun).await;
    let run = rows(&site.local, open).await[0]["id"].clone();
    let run = run.as_str().and_then(|id| id.parse().ok()).expect("an id");
    let another = site::mirrors(&of_all(&site));
    let mirror = another.find(Some("8")).await.expect("tenant 8");
    assert_eq!(mirror.cancel(run).await, Ok(CancelOutcome::Accepted));
    let ended = "meter_sync_log where tenant = '8' and outcome = 'interrupted'";
    let has_ended = async || count(&site, ended).await == 1;
    wait::until("the run has ended", has_ended).await;
    held.release().await;
    let swept = "meter_sync_sweep where succeeded = 2 and failed = 1 and error_code is null";
    let has_ended = async || count(&site, swept).await == 1;
    wait::until("the sweep has ended", has_ended).await;
    assert_eq!(count(&site, "meter_sync_log where tenant = '8'").await, 1);
}

#[tokio::test]
async fn a_sweep_that_takes_longer_than_its_slot_is_left_in_peace_by_other_processes() {
    let site = site_with_slow_runs().await;
    let every_second = [
        (Setting::Tenants, "all"),
        (Setting::Workers, "1"),
        (Setting::Schedule, "* * * * * *"),
        (Setting::Jitter, "0s"),
    ];
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let command = program::over(&site, &["serve"], &every_second);
        replicas.push(RunningProgram::serve(command).await.0);
    }
    all_in_sync(&site).await;
    let ended = "meter_sync_sweep where finished_at is not null";
    let has_ended = async || count(&site, ended).await.as_i64() > Some(2);
    wait::until("some sweeps have ended", has_ended).await;
    let failed = "select error_code, failed::integer from meter_sync.meter_sync_sweep
        where finished_at is not null and (error_code is not null or failed > 0)";
    assert_eq!(rows(&site.local, failed).await, json!([]));
}

#[tokio::test]
async fn while_a_process_is_about_to_sweep_no_other_one_claims_the_next_slot() {
    let site = three_tenants().await;
    let [one, other] = [(); 2].map(|()| site::mirrors(&of_all(&site)));
    let slot = meter_sync::machine_clock::now();
    let next = slot + chrono::Duration::seconds(1);
    assert_eq!(
        one.claim_sweep(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    assert_eq!(
        other.claim_sweep(next, false).await,
        Ok(SlotClaimOutcome::Pending)
    );
    let swept = one.sweep_with_others(RunTrigger::Schedule).await;
    assert_eq!(swept.expect("a sweep").record.error, None);
    assert_eq!(
        other.claim_sweep(next, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    let dead = "update meter_sync.meter_sync_slot set claimed_at = now() - interval '1 minute'";
    let last = next + chrono::Duration::seconds(1);
    assert_eq!(
        one.claim_sweep(last, false).await,
        Ok(SlotClaimOutcome::Pending)
    );
    site.on_local(dead).await;
    assert_eq!(
        one.claim_sweep(last, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
}

#[tokio::test]
async fn each_due_mirror_is_taken_by_itself_whatever_the_plan_of_the_statement() {
    let site = three_tenants().await;
    let mirrors = site::mirrors(&of_all(&site));
    for turn in 0..2 {
        let swept = mirrors.sweep_with_others(RunTrigger::Schedule).await;
        let record = swept.expect("a sweep").record;
        assert_eq!(record.error, None);
        assert_eq!((record.counts.succeeded, record.counts.failed), (3, 0));
        // The statistics of the empty table lead to another plan.
        site.on_local("vacuum analyze meter_sync.meter_sync_due")
            .await;
        site.on_remote(&format!("update meter set name = 'turn {turn} ' || id"))
            .await;
    }
}
