//! P5: one run at a time, whoever asks and from whichever process.

use std::process::Output;
use std::time::Duration;

use meter_sync::mirrors::{Mirror, RunHandle, RunRequestOutcome};
use meter_sync::model::{RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunState;
use quickcheck::{Arbitrary, Gen};
use tokio::process::Command;
use tokio_postgres::Client;

use super::edits::Case;
use super::harness::{Verdict, check};
use super::world::{World, Worlds, request};
use crate::support::postgres::connect;
use crate::support::site::{finish, mirror};

/// Where a run is held up.
#[derive(Clone, Copy, Debug)]
enum HoldPoint {
    /// Before it has read a remote row.
    Remote,
    /// Before it has looked at a local one.
    Local,
}

/// A run that is held up, and who asks meanwhile.
#[derive(Clone, Debug)]
struct Rush {
    case: Case,
    hold: HoldPoint,
    /// Which of three processes' runs each request goes to.
    askers: Vec<(usize, RunTrigger)>,
}

impl Arbitrary for Rush {
    fn arbitrary(g: &mut Gen) -> Self {
        let asks = *g.choose(&[1, 2, 3, 5]).unwrap();
        let asker = |g: &mut Gen| {
            (
                *g.choose(&[0, 1, 2]).unwrap(),
                *g.choose(RunTrigger::ALL).unwrap(),
            )
        };
        Self {
            case: Case::arbitrary(g),
            hold: *g.choose(&[HoldPoint::Remote, HoldPoint::Local]).unwrap(),
            askers: (0..asks).map(|_| asker(g)).collect(),
        }
    }
}

/// P5, in one process.
#[test]
fn a_request_during_a_run_is_told_so_and_executes_nothing() {
    check(async |worlds: &mut Worlds, rush: &Rush| {
        let world = worlds.empty(rush.case.shape).await;
        world.edit(&rush.case.rounds[0]).await;
        let others = [
            world.site.mirror.clone(),
            other_process(world),
            other_process(world),
        ];
        let held = hold(world, rush.hold).await;
        let mut ticket = start(&world.site.mirror, rush.case.trigger).await;
        for (asker, trigger) in &rush.askers {
            let answer = finish(&others[*asker], request(*trigger)).await;
            assert_eq!(answer.state, RunState::AlreadyRunning, "{answer:#?}");
            assert_eq!(answer.run_id, ticket.run_id());
            assert_eq!(answer.outcome, None);
        }
        assert_eq!(logged(world).await, 1);
        let expected = world.model.sync(&world.shape);
        held.batch_execute("rollback").await.unwrap();
        let report = ticket.wait(Duration::from_secs(30)).await;
        assert_eq!(report.counts, expected.counts, "{report:#?}");
        assert_eq!(world.local_rows().await, world.expected_rows());
        assert_eq!(logged(world).await, 1);
        // The next request runs again, wherever it comes from.
        let (asker, trigger) = rush.askers[0];
        let next = finish(&others[asker], request(trigger)).await;
        assert_eq!(next.state, RunState::Finished, "{next:#?}");
        assert_eq!(logged(world).await, 2);
        Verdict::Held
    });
}

/// P5, nothing held up: of requests at the same time each runs alone or is refused.
#[test]
fn requests_at_the_same_time_never_run_side_by_side() {
    check(async |worlds: &mut Worlds, rush: &Rush| {
        let world = worlds.empty(rush.case.shape).await;
        world.edit(&rush.case.rounds[0]).await;
        let others = [
            world.site.mirror.clone(),
            other_process(world),
            other_process(world),
        ];
        let all = [(0, RunTrigger::Cli)]
            .into_iter()
            .chain(rush.askers.iter().copied());
        let asked = all.map(|(asker, trigger)| finish(&others[asker], request(trigger)));
        let answers = futures_util::future::join_all(asked).await;
        let ran = answers
            .iter()
            .filter(|answer| answer.state == RunState::Finished);
        assert_eq!(logged(world).await, i64::try_from(ran.count()).unwrap());
        let changing = answers.iter().filter(|answer| answer.counts.changes() > 0);
        assert!(changing.count() <= 1, "{answers:#?}");
        world.model.sync(&world.shape);
        assert_eq!(
            world.local_rows().await,
            world.expected_rows(),
            "{answers:#?}"
        );
        let overlap = world.site.local.query_one(OVERLAPS, &[]).await.unwrap();
        assert_eq!(overlap.get::<_, i64>(0), 0);
        Verdict::Held
    });
}

const OVERLAPS: &str = "select count(*) from meter_sync.meter_sync_log a
    join meter_sync.meter_sync_log b on a.id < b.id and b.started_at < a.finished_at";

/// P5, with processes of their own.
#[tokio::test]
async fn a_second_process_is_told_so_with_exit_code_4() {
    let mut worlds = Worlds::default();
    let world = worlds.empty(0).await;
    world
        .site
        .on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'Main')")
        .await;
    for side in [HoldPoint::Remote, HoldPoint::Local] {
        // Another process asks while we run.
        let held = hold(world, side).await;
        let mut ticket = start(&world.site.mirror, RunTrigger::Cli).await;
        assert_already_running(
            &binary(world).output().await.unwrap(),
            &ticket.run_id().to_string(),
        );
        held.batch_execute("rollback").await.unwrap();
        let report = ticket.wait(Duration::from_secs(30)).await;
        assert!(
            report.outcome.is_some_and(RunOutcome::is_success),
            "{report:#?}"
        );
        // We, and a third process, ask while another process runs.
        let held = hold(world, side).await;
        let running = binary(world).spawn().unwrap();
        let id = wait_for_a_run(world).await;
        let answer = finish(&world.site.mirror, request(RunTrigger::Rest)).await;
        assert_eq!(
            (answer.state, answer.run_id.to_string()),
            (RunState::AlreadyRunning, id.clone())
        );
        assert_already_running(&binary(world).output().await.unwrap(), &id);
        held.batch_execute("rollback").await.unwrap();
        let ended = running.wait_with_output().await.unwrap();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    }
    assert_eq!(logged(world).await, 4);
}

/// A process that is killed lets go of its run, which the next one marks.
#[tokio::test]
async fn a_killed_process_makes_room_for_the_next_run() {
    let mut worlds = Worlds::default();
    let world = worlds.empty(0).await;
    world
        .site
        .on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'Main')")
        .await;
    for side in [HoldPoint::Remote, HoldPoint::Local] {
        let held = hold(world, side).await;
        let mut running = binary(world).spawn().unwrap();
        let id = wait_for_a_run(world).await;
        running.kill().await.unwrap();
        held.batch_execute("rollback").await.unwrap();
        let mut next = world.run(RunTrigger::Cli).await;
        let patience = tokio::time::Instant::now() + Duration::from_secs(10);
        while next.state == RunState::AlreadyRunning && tokio::time::Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(50)).await;
            next = world.run(RunTrigger::Cli).await;
        }
        assert!(
            next.outcome.is_some_and(RunOutcome::is_success),
            "{next:#?}"
        );
        let sql = format!("select outcome from meter_sync.meter_sync_log where id = '{id}'");
        let outcome: String = world.site.local.query_one(&sql, &[]).await.unwrap().get(0);
        assert_eq!(outcome, "interrupted");
    }
}

fn other_process(world: &World) -> Mirror {
    mirror(&world.site.settings())
}

/// Holds every run up till the transaction of the connection ends.
async fn hold(world: &World, hold: HoldPoint) -> Client {
    let url = match hold {
        HoldPoint::Remote => &world.site.pair.remote_url,
        HoldPoint::Local => &world.site.pair.local_url,
    };
    let client = connect(url).await;
    let lock = "begin; lock table meter in access exclusive mode";
    client.batch_execute(lock).await.unwrap();
    client
}

async fn start(mirror: &Mirror, trigger: RunTrigger) -> RunHandle {
    match mirror.request(request(trigger)).await.unwrap() {
        RunRequestOutcome::Started(ticket) => ticket,
        other @ (RunRequestOutcome::AlreadyRunning(_) | RunRequestOutcome::Finished(_)) => {
            panic!("{other:#?}")
        }
    }
}

async fn logged(world: &World) -> i64 {
    let count = "select count(*) from meter_sync.meter_sync_log";
    world.site.local.query_one(count, &[]).await.unwrap().get(0)
}

async fn wait_for_a_run(world: &World) -> String {
    let running = "select id::text from meter_sync.meter_sync_log where outcome is null";
    for _ in 0..2000 {
        if let Some(row) = world.site.local.query_opt(running, &[]).await.unwrap() {
            return row.get(0);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the process should have started a run");
}

fn binary(world: &World) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meter-sync"));
    command
        .args(["sync", "--json"])
        .env("METER_SYNC_REMOTE_URL", &world.site.pair.remote_url)
        .env("METER_SYNC_LOCAL_URL", &world.site.pair.local_url)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    command
}

fn assert_already_running(output: &Output, run_id: &str) {
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["state"], "already_running");
    assert_eq!(said["run_id"], run_id);
}
