//! The schedule's loop over real databases: whose slot it is, and what becomes of its run.

use std::time::Duration;

use chrono_tz::Tz;
use meter_sync::config::{CommandLineSettings, Schedule, Setting};
use meter_sync::embedded::Server;
use meter_sync::mirrors::{Mirror, RunRequest, RunRequestOutcome, SlotClaimOutcome};
use meter_sync::model::{ActivityState, RunTrigger};
use meter_sync::reports::status::{Status, StatusQuery};
use meter_sync::schedule::{self, SlotTiming};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::postgres::{connect, start_pair};
use crate::support::run_hold::{self, RunHold};
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, Site, mirror, mirrors, rows, settings};
use crate::support::wait::{self, recently};

/// One slot for as long as any test runs.
const YEARLY: &str = "0 0 1 1 *";
const EACH_SECOND: &str = "* * * * * *";

/// Retries that a test can wait for.
const QUICK: SlotTiming = SlotTiming {
    jitter: Duration::ZERO,
    first_retry: Duration::from_millis(50),
    catch_up: None,
};

/// A process's loop; it ends when the guard is dropped.
fn start(line: &str, settings: &CommandLineSettings) -> (Mirror, DropGuard) {
    let mirrors = mirrors(settings);
    let mirror = mirrors.only().cloned().expect("settings of one mirror");
    let stop = CancellationToken::new();
    let line = Schedule::parse(line, Tz::UTC).expect("a schedule");
    let slots = schedule::run(line, QUICK, mirrors, stop.clone());
    #[expect(clippy::disallowed_methods, reason = "the guard ends it")]
    tokio::spawn(slots);
    (mirror, stop.drop_guard())
}

async fn status(mirror: &Mirror) -> Status {
    let status = mirror.status(&StatusQuery::default()).await;
    status.expect("a status")
}

/// The one number a query gives; `None` while its table is not there yet.
async fn number(site: &Site, query: &str) -> Option<i64> {
    let row = site.local.query_one(query, &[]).await.ok()?;
    row.get(0)
}

const SLOTS: &str = "select count(*) from meter_sync.meter_sync_slot";
const RUNS: &str = "select count(*) from meter_sync.meter_sync_log";

/// Counts claims, those that came too late included: what a sequence gave is never rolled back.
async fn count_claims(site: &Site) {
    site.on_local(
        "create sequence claims;
         create function count_claim() returns trigger language plpgsql as $$
         begin perform nextval('public.claims'); return new; end $$;
         create trigger count_claims before insert on meter_sync.meter_sync_slot
         for each row execute function count_claim()",
    )
    .await;
}

const CLAIMS: &str = "select case when is_called then last_value else 0 end from claims";

#[tokio::test]
async fn of_three_processes_one_makes_up_the_slot_that_passed_before_they_started() {
    let site = Site::new().await;
    site.sync().await;
    count_claims(&site).await;
    let loops: Vec<_> = (0..3).map(|_| start(YEARLY, &site.settings())).collect();
    let all_claimed = async || number(&site, CLAIMS).await >= Some(3);
    wait::until("all three have tried", all_claimed).await;
    let ran = async || number(&site, RUNS).await == Some(2);
    wait::until("the slot's run is there", ran).await;
    run_hold::outcomes(&site).await;
    let triggers = "select trigger from meter_sync.meter_sync_log order by started_at";
    let triggers = rows(&site.local, triggers).await;
    assert_eq!(
        triggers,
        json!([{"trigger": "cli"}, {"trigger": "startup"}])
    );
    let slot = "select to_char(slot at time zone 'UTC', 'MM-DD HH24:MI:SS') slot from meter_sync.meter_sync_slot";
    assert_eq!(
        rows(&site.local, slot).await,
        json!([{"slot": "01-01 00:00:00"}])
    );

    // and a process that starts later finds it done
    drop(loops);
    let before = number(&site, CLAIMS).await;
    let (_late, _stop) = start(YEARLY, &site.settings());
    let claimed = async || number(&site, CLAIMS).await > before;
    wait::until("the late one has tried", claimed).await;
    run_hold::outcomes(&site).await;
    assert_eq!(number(&site, RUNS).await, Some(2));
}

#[tokio::test]
async fn each_slot_is_run_by_one_of_three_processes() {
    let site = Site::new().await;
    site.sync().await;
    count_claims(&site).await;
    let loops: Vec<_> = (0..3)
        .map(|_| start(EACH_SECOND, &site.settings()))
        .collect();
    let four = async || number(&site, RUNS).await >= Some(1 + 4);
    wait::until("four slots were run", four).await;
    drop(loops);
    run_hold::outcomes(&site).await;
    let (slots, runs) = (number(&site, SLOTS).await, number(&site, RUNS).await);
    assert!(
        runs <= slots.map(|slots| slots + 1),
        "{runs:?} runs in {slots:?} slots and one before"
    );
    // all three were at work on them
    assert!(number(&site, CLAIMS).await > slots, "{slots:?}");
    let claimants = "select count(distinct claimed_by) from meter_sync.meter_sync_slot";
    assert!(number(&site, claimants).await <= Some(3));
    let triggers = "select distinct trigger from meter_sync.meter_sync_log where trigger not in ('cli', 'startup')";
    assert_eq!(
        rows(&site.local, triggers).await,
        json!([{"trigger": "schedule"}])
    );
}

#[tokio::test]
async fn a_claim_may_be_repeated_by_its_claimant_alone() {
    let site = Site::new().await;
    let slot = recently();
    let other = mirror(&site.settings());
    assert_eq!(
        site.mirror.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    assert_eq!(
        site.mirror.clone().claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    assert_eq!(
        other.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Pending)
    );
    assert_eq!(
        site.mirror.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    assert_eq!(number(&site, SLOTS).await, Some(1));
}

/// A run of the tenant that its process left behind.
const LEFT_BEHIND: &str =
    "insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, started_at)
     values (gen_random_uuid(), '7', 'public.meter', 'schedule', now())";

#[tokio::test]
async fn a_slot_whose_process_died_in_its_run_is_taken_over_once() {
    let site = Site::new().await;
    let slot = recently();
    let (dead, late) = (mirror(&site.settings()), mirror(&site.settings()));
    assert_eq!(
        dead.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    assert_eq!(
        site.mirror.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Pending)
    );
    site.on_local(LEFT_BEHIND).await;
    assert_eq!(
        site.mirror.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    assert_eq!(
        dead.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Pending)
    );
    assert_eq!(
        late.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Pending)
    );
    site.sync().await;
    assert_eq!(
        late.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Served)
    );
}

#[tokio::test]
async fn a_slot_whose_process_died_before_its_run_is_taken_over_after_a_while() {
    let site = Site::new().await;
    let slot = recently();
    let dead = mirror(&site.settings());
    assert_eq!(
        dead.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    site.dry_run().await;
    assert_eq!(
        site.mirror.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Pending)
    );
    let later = "update meter_sync.meter_sync_slot set claimed_at = claimed_at - interval '31 s'";
    site.on_local(later).await;
    assert_eq!(
        site.mirror.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
}

#[tokio::test]
async fn a_slot_whose_run_goes_on_is_left_alone() {
    let site = Site::new().await;
    let slot = recently();
    let other = mirror(&site.settings());
    assert_eq!(
        other.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    site.on_local("update meter_sync.meter_sync_slot set claimed_at = '2026-01-01'")
        .await;
    let held = RunHold::new(&site).await;
    let run = other.request(RunRequest::new(RunTrigger::Schedule)).await;
    assert!(matches!(run, Ok(RunRequestOutcome::Started(_))), "{run:?}");
    assert_eq!(
        site.mirror.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Pending)
    );
    held.release().await;
    run_hold::outcomes(&site).await;
    assert_eq!(
        site.mirror.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Served)
    );
}

#[tokio::test]
async fn slots_of_more_than_a_month_ago_are_forgotten() {
    let site = Site::new().await;
    for (slot, held) in [
        ("2026-09-01T00:00:00Z", 1),
        ("2026-09-30T00:00:00Z", 2),
        ("2026-10-05T00:00:00Z", 2),
    ] {
        let slot = slot.parse().expect("a time");
        assert_eq!(
            site.mirror.claim_slot(slot, false).await,
            Ok(SlotClaimOutcome::Ours)
        );
        assert_eq!(number(&site, SLOTS).await, Some(held));
    }
}

#[tokio::test]
async fn a_failure_that_will_not_pass_by_itself_is_left_to_the_next_slot() {
    let site = Site::new().await;
    let absent = site.settings().with(Setting::RemoteTable, "nowhere");
    let (_runs, stop) = start(EACH_SECOND, &absent);
    let three = async || number(&site, RUNS).await >= Some(3);
    wait::until("three slots were run", three).await;
    drop(stop);
    let outcomes = run_hold::outcomes(&site).await;
    let outcomes = outcomes.as_array().expect("a list");
    assert!(
        outcomes.iter().all(|outcome| outcome == "failed"),
        "{outcomes:?}"
    );
    let (slots, runs) = (number(&site, SLOTS).await, number(&site, RUNS).await);
    assert!(runs <= slots, "{runs:?} runs in {slots:?} slots");
}

#[tokio::test]
async fn a_run_that_was_cancelled_is_left_to_the_next_slot() {
    let site = Site::new().await;
    let held = RunHold::new(&site).await;
    let (mirror, _stop) = start(YEARLY, &site.settings());
    run_hold::running(&site).await;
    let running = status(&mirror).await.running.expect("a run");
    assert!(mirror.cancel_here(running.run_id));
    let over = async || status(&mirror).await.running.is_none();
    wait::until("the run is over", over).await;
    held.release().await;
    // A retry would be due within the first of these looks.
    let mut looks = tokio::time::interval(QUICK.first_retry);
    for _ in 0..20 {
        looks.tick().await;
        assert_eq!(status(&mirror).await.activity, ActivityState::Idle);
    }
    assert_eq!(run_hold::outcomes(&site).await, json!(["interrupted"]));
}

#[tokio::test]
async fn a_read_only_or_unconfigured_process_has_no_schedule() {
    let site = Site::new().await;
    for settings in [
        site.settings().with(Setting::ReadOnly, "true"),
        CommandLineSettings::default(),
    ] {
        let line = Schedule::parse(EACH_SECOND, Tz::UTC).expect("a schedule");
        let slots = schedule::run(line, QUICK, mirrors(&settings), CancellationToken::new());
        let ended = tokio::time::timeout(Duration::from_secs(10), slots).await;
        assert!(ended.is_ok(), "{settings:?}");
    }
    let schema = "select to_regnamespace('meter_sync') is null as untouched";
    assert_eq!(
        rows(&site.local, schema).await,
        json!([{"untouched": true}])
    );
}

/// Two servers of the test's own with the usual schemas, and the settings for them.
async fn servers() -> (Server, Server, CommandLineSettings) {
    let (remote, local) = start_pair().await;
    let (remote_url, local_url) = (remote.url("postgres"), local.url("postgres"));
    for (url, schema) in [(&remote_url, REMOTE_SCHEMA), (&local_url, LOCAL_SCHEMA)] {
        let client = connect(url).await;
        client.batch_execute(schema).await.expect("a schema");
    }
    let settings = settings(&remote_url, &local_url);
    (remote, local, settings)
}

async fn waiting(mirror: &Mirror) {
    let waiting = async || status(mirror).await.activity == ActivityState::Waiting;
    wait::until("the slot waits for a retry", waiting).await;
}

/// The outcomes in the log and the number of slots, once a run has succeeded.
async fn served(mirror: &Mirror, local: &Server) -> (Value, Value) {
    let succeeded = async || {
        let status = status(mirror).await;
        status.last_success_at.is_some() && status.activity == ActivityState::Idle
    };
    wait::until("a run has succeeded", succeeded).await;
    let client = connect(&local.url("postgres")).await;
    let log = "select trigger, outcome, error_code from meter_sync.meter_sync_log order by started_at desc";
    let slots = rows(&client, "select count(*) from meter_sync.meter_sync_slot").await;
    (rows(&client, log).await, slots[0]["count"].clone())
}

#[tokio::test]
async fn a_slot_whose_remote_is_down_is_tried_again_until_it_is_up() {
    let (mut remote, local, settings) = servers().await;
    remote.stop_immediately().await.expect("stop");
    let (mirror, _stop) = start(YEARLY, &settings);
    waiting(&mirror).await;
    remote.restart().await.expect("start");
    let (log, slots) = served(&mirror, &local).await;
    assert_eq!(slots, 1);
    let log = log.as_array().expect("rows");
    assert_eq!(
        log[0],
        json!({"trigger": "startup", "outcome": "no_change", "error_code": null})
    );
    assert!(log.len() > 1, "{log:?}");
    let failed =
        json!({"trigger": "startup", "outcome": "failed", "error_code": "REMOTE_UNREACHABLE"});
    assert!(log[1..].iter().all(|run| *run == failed), "{log:?}");
}

#[tokio::test]
async fn a_slot_whose_local_database_is_down_gets_its_run_when_it_is_back() {
    let (_remote, mut local, settings) = servers().await;
    local.stop_immediately().await.expect("stop");
    let (mirror, _stop) = start(YEARLY, &settings);
    waiting(&mirror).await;
    local.restart().await.expect("start");
    let (log, slots) = served(&mirror, &local).await;
    assert_eq!(
        (slots, log),
        (
            json!(1),
            json!([{"trigger": "startup", "outcome": "no_change", "error_code": null}])
        )
    );
}

#[tokio::test]
async fn a_claim_names_host_and_process() {
    let site = Site::new().await;
    let slot = recently();
    assert_eq!(
        site.mirror.claim_slot(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    let claimed = site
        .local
        .query_one("select claimed_by from meter_sync.meter_sync_slot", &[]);
    let claimed: String = claimed.await.expect("a claim").get(0);
    let pid = format!(" pid {} ", std::process::id());
    assert!(claimed.contains(&pid), "{claimed}");
    assert!(!claimed.starts_with(' '), "{claimed}");
}
