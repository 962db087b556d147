//! P10: whatever breaks while a run goes on, the local meters are the old ones or the new ones, to every
//! reader and at every moment, and the next run converges.

use std::pin::Pin;
use std::time::Duration;

use meter_sync::error::Failure;
use meter_sync::model::{RunId, RunOutcome, RunRecord, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use quickcheck::{Arbitrary, Gen};
use tokio_postgres::Client;

use super::edits::Case;
use super::harness::{Verdict, check_faults};
use super::world::{Text, World, Worlds};
use crate::support::postgres::connect;

/// What breaks.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The run's local connections are gone.
    LocalGone,
    /// The run's remote connection is gone.
    RemoteGone,
    /// Somebody cancels what the run does locally.
    LocalCanceled,
    /// Somebody cancels what the run does remotely.
    RemoteCanceled,
    /// The local server fails, not for the row's sake, while it writes the row of this number.
    WriteFails(u16, &'static str),
    /// Whoever asked goes away.
    AskerGone,
}

/// A fault so long after the run has started.
#[derive(Clone, Debug)]
struct FaultCase {
    case: Case,
    fault: Fault,
    after_us: u64,
}

impl Arbitrary for FaultCase {
    fn arbitrary(g: &mut Gen) -> Self {
        let row = *g.choose(&[1, 2, 3, 4, 6, 8]).unwrap();
        let states = [
            "57014", "53100", "XX000", "40P01", "58030", "57P01", "0A000",
        ];
        let faults = [
            Fault::LocalGone,
            Fault::LocalGone,
            Fault::RemoteGone,
            Fault::LocalCanceled,
            Fault::RemoteCanceled,
            Fault::WriteFails(row, g.choose(&states).unwrap()),
            Fault::WriteFails(row, g.choose(&states).unwrap()),
            Fault::AskerGone,
        ];
        Self {
            case: Case::arbitrary(g),
            fault: *g.choose(&faults).unwrap(),
            after_us: u64::from(u16::arbitrary(g)) % 30_000,
        }
    }
}

/// P10.
#[test]
fn a_fault_leaves_old_or_new_and_the_next_run_converges() {
    check_faults(async |worlds: &mut Worlds, broken: &FaultCase| {
        let world = worlds.empty(broken.case.shape).await;
        let (last, before) = broken.case.rounds.split_last().unwrap();
        world.edit(&before.concat()).await;
        world.sync(RunTrigger::Cli).await;
        world.edit(last).await;
        let (old, old_model) = (world.expected_rows(), world.model.clone());
        let expected = world.model.sync(&world.shape);
        let new = world.expected_rows();
        if old == new {
            return Verdict::Vacuous;
        }
        prepare(world, broken.fault).await;
        let report = run_and_break(world, broken, &[&old, &new]).await;
        mend(world, broken.fault).await;
        let is_new = match report.outcome {
            RunOutcome::Succeeded | RunOutcome::Partial => true,
            RunOutcome::Failed | RunOutcome::Interrupted => false,
            other @ (RunOutcome::NoChange
            | RunOutcome::Refused
            | RunOutcome::DryRun
            | RunOutcome::Unknown) => {
                panic!("{other} {report:#?}")
            }
        };
        let is = world.local_rows().await;
        assert_eq!(is, if is_new { new } else { old }, "{report:#?}");
        assert_logged(world, &report, expected.changes.len()).await;
        if !is_new {
            world.model = old_model;
        }
        let (next, expected) = world.sync(broken.case.trigger).await;
        assert_eq!(next.counts, expected.counts, "{next:#?}");
        assert_eq!(
            count(world, "meter_sync_log where outcome is null").await,
            0
        );
        Verdict::Held
    });
}

/// How a run ended, by whichever way it was learnt.
#[derive(Debug)]
struct RunEnd {
    run_id: RunId,
    outcome: RunOutcome,
    #[expect(dead_code, reason = "it is printed when an assertion fails")]
    error: Option<Failure>,
}

impl From<RunReport> for RunEnd {
    fn from(report: RunReport) -> Self {
        let RunReport {
            run_id,
            outcome,
            error,
            ..
        } = report;
        Self {
            run_id,
            outcome: outcome.expect("an end"),
            error,
        }
    }
}

impl From<RunRecord> for RunEnd {
    fn from(record: RunRecord) -> Self {
        let RunRecord {
            run_id,
            outcome,
            error,
            ..
        } = record;
        Self {
            run_id,
            outcome: outcome.expect("an end"),
            error,
        }
    }
}

/// Runs with the fault while a reader looks on.
async fn run_and_break(world: &World, broken: &FaultCase, states: &[&Vec<Text>; 2]) -> RunEnd {
    let onlooker = connect(&world.site.pair.local_url).await;
    onlooker
        .batch_execute("set timezone = 'UTC'")
        .await
        .unwrap();
    let mut run: Pin<Box<dyn Future<Output = RunEnd>>> =
        Box::pin(async { world.run(broken.case.trigger).await.into() });
    let mut breaking = Box::pin(break_it(world, broken));
    let last = world.site.status().await.last_run.unwrap().run_id;
    let mut is_broken = false;
    loop {
        tokio::select! {
            // The request is made before anything breaks.
            biased;
            report = &mut run => return report,
            () = &mut breaking, if !is_broken => {
                is_broken = true;
                if matches!(broken.fault, Fault::AskerGone) {
                    // The run goes on; asking again waits for it.
                    drop(run);
                    run = Box::pin(outlasted(world, last));
                }
            }
            () = tokio::time::sleep(Duration::from_millis(1)) => {
                let seen = world.local_rows_through(&onlooker).await;
                assert!(states.contains(&&seen), "between: {seen:#?}");
            }
        }
    }
}

/// How the run that nobody waits for ended.
async fn outlasted(world: &World, before: RunId) -> RunEnd {
    loop {
        let last = world.site.status().await.last_run.unwrap();
        if last.run_id != before {
            return last.into();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn break_it(world: &World, broken: &FaultCase) {
    let site = &world.site;
    tokio::time::sleep(Duration::from_micros(broken.after_us)).await;
    match broken.fault {
        Fault::LocalGone => hit(&site.local, "pg_terminate_backend(pid, 5000)").await,
        Fault::RemoteGone => hit(&site.remote, "pg_terminate_backend(pid, 5000)").await,
        Fault::LocalCanceled => hit(&site.local, "pg_cancel_backend(pid)").await,
        Fault::RemoteCanceled => hit(&site.remote, "pg_cancel_backend(pid)").await,
        Fault::WriteFails(..) | Fault::AskerGone => {}
    }
}

/// Hits the run's backends of a server as soon as there is one, and sees them off.
async fn hit(client: &Client, with: &str) {
    let sql = format!(
        "select {with} from pg_stat_activity
         where datname = current_database() and application_name like 'meter-sync%'"
    );
    while client.query(&sql, &[]).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
}

async fn prepare(world: &World, fault: Fault) {
    let Fault::WriteFails(row, state) = fault else {
        return;
    };
    let trigger = format!(
        "create sequence writes;
         create function fail() returns trigger language plpgsql as $$
         begin
             if nextval('writes') = {row} then
                 raise exception 'the server failed' using errcode = '{state}';
             end if;
             return new;
         end $$;
         create trigger fail before insert or update on meter for each row execute function fail()"
    );
    world.site.on_local(&trigger).await;
}

async fn mend(world: &World, fault: Fault) {
    if let Fault::WriteFails(..) = fault {
        let undo = "drop trigger fail on meter; drop function fail; drop sequence writes";
        world.site.on_local(undo).await;
    }
}

/// Whether the log tells what the report told, with changes exactly when they were made.
async fn assert_logged(world: &World, report: &RunEnd, changes: usize) {
    let id = report.run_id;
    let sql = format!("select outcome from meter_sync.meter_sync_log where id = '{id}'");
    let logged = world.site.local.query_opt(&sql, &[]).await.unwrap();
    let logged: Option<String> = logged.and_then(|row| row.get(0));
    let recorded = count(world, &format!("meter_sync_change where run_id = '{id}'")).await;
    match report.outcome {
        RunOutcome::Succeeded | RunOutcome::Partial => {
            assert_eq!(logged.as_deref(), Some(report.outcome.as_str()));
            assert_eq!(usize::try_from(recorded).unwrap(), changes);
        }
        RunOutcome::NoChange
        | RunOutcome::Failed
        | RunOutcome::Refused
        | RunOutcome::Interrupted
        | RunOutcome::DryRun
        | RunOutcome::Unknown => {
            // A run that was hit before it could be logged is known to its process only.
            assert!(
                logged.is_none_or(|outcome| outcome == "failed"),
                "{report:#?}"
            );
            assert_eq!(recorded, 0);
        }
    }
}

async fn count(world: &World, of: &str) -> i64 {
    let sql = format!("select count(*) from meter_sync.{of}");
    world.site.local.query_one(&sql, &[]).await.unwrap().get(0)
}
