//! Our program, told to stop or killed in each phase of a run, and many of it at once.

use std::time::Duration;

use futures_util::future::join_all;
use meter_sync::config::Setting;
use meter_sync::reports::run_report::{RunReport, RunState};

use super::case::side_by_side;
use super::invariants;
use super::trial_site::Side::{self, Local, Remote};
use super::trial_site::Trial;
use crate::support::program::{self, CommandOutput, RunningProgram};
use crate::support::proxy::Fault;
use crate::support::wait;

/// A stopped program has ended by then.
pub(super) const STOPPED: Duration = Duration::from_secs(20);

const PHASES: &[(Side, &[&str])] = &[
    (Local, &["-- try to start a run"]),
    (Local, &["-- log the start of a run"]),
    (Local, &["-- take the run lock"]),
    (Remote, &["-- read the meters"]),
    (Local, &["-- stage the meters"]),
    (Local, &["-- plan the changes"]),
    (Local, &["-- update meters"]),
    (Local, &["-- log the end of a run"]),
    (Local, &["-- log the end of a run", "COMMIT"]),
];

#[derive(Clone, Copy, Debug)]
enum Signal {
    Term,
    Kill,
}

/// The program, to sync over the lines, with more settings.
pub(super) fn sync(trial: &Trial, more: &[(Setting, &str)]) -> tokio::process::Command {
    let settings = [
        (Setting::RemoteUrl, trial.remote.url.as_str()),
        (Setting::LocalUrl, trial.local.url.as_str()),
        (Setting::Schedule, "off"),
    ];
    program::bare(&["sync", "--json"], &[&settings, more].concat())
}

/// A program that is signalled while this point of its line is held; what it has sent arrives later all the same.
async fn signalled(
    trial: &mut Trial,
    (side, point): (Side, &'static [&'static str]),
    signal: Signal,
) {
    let name = format!("{signal:?} at {point:?}");
    println!("{name}");
    trial.start_anew(&[]);
    trial.change().await;
    let before = trial.state().await;
    let line = &trial.database(side).line;
    let struck = line.struck();
    line.set(Fault::StallAt(point));
    let (mut running, _input, _output) = RunningProgram::start(sync(trial, &[]));
    let held = async || line.struck() > struck;
    wait::until(&name, held).await;
    let code = match signal {
        Signal::Kill => {
            running.kill().await;
            None
        }
        Signal::Term => {
            running.terminate();
            line.go_on();
            Some(running.code(STOPPED).await)
        }
    };
    trial.mend_lines();
    let has_succeeded = invariants::hold(&name, trial, &before, None).await;
    // a program that is killed while its commit is under way tells nothing
    if let Some(code) = code {
        assert_eq!(code == 0, has_succeeded, "{name}: {code}");
    }
}

#[test]
fn a_program_stopped_or_killed_in_any_phase_leaves_old_or_new_and_the_next_run_converges() {
    side_by_side(&[Signal::Term, Signal::Kill], async |signal| {
        let mut trial = Trial::new(40).await;
        for phase in PHASES {
            Box::pin(signalled(&mut trial, *phase, *signal)).await;
        }
    });
}

fn report(ended: &CommandOutput) -> RunReport {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// So many programs at once; they may find our tables missing.
async fn crowd(trial: &mut Trial, count: usize) {
    let name = format!("{count} at once");
    trial.start_anew(&[]);
    trial.change().await;
    let before = trial.state().await;
    let programs = (0..count).map(|_| program::run(sync(trial, &[])));
    let ended = join_all(programs).await;
    let reports: Vec<_> = ended.iter().map(report).collect();
    for (ended, report) in ended.iter().zip(&reports) {
        let expected = match report.state {
            RunState::Finished => 0,
            RunState::AlreadyRunning | RunState::Running => 4,
        };
        assert_eq!(ended.code, expected, "{name}: {ended:?}");
    }
    let finished = reports
        .iter()
        .filter(|report| report.state == RunState::Finished);
    let changing = finished.filter(|report| report.changes_total > 0);
    assert_eq!(changing.count(), 1, "{name}: {reports:#?}");
    invariants::hold(&name, trial, &before, None).await;
    let overlapping = "select a.id from meter_sync.meter_sync_log a, meter_sync.meter_sync_log b
         where a.seq < b.seq and b.started_at < a.finished_at";
    assert_eq!(
        trial.local.rows(overlapping).await,
        serde_json::json!([]),
        "{name}"
    );
}

#[tokio::test]
async fn of_many_programs_at_once_one_brings_the_changes() {
    let mut trial = Trial::new(40).await;
    crowd(&mut trial, 2).await;
    trial.local.run("drop schema meter_sync cascade").await;
    crowd(&mut trial, 20).await;
}
