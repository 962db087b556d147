//! Clocks of the machine that are set while our program runs. Its times are those of the local database.

use meter_sync::config::Setting;
use meter_sync::model::RunOutcome;
use meter_sync::reports::run_report::RunReport;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::case::{Ends, side_by_side};
use super::trial_site::Side::{self, Local, Remote};
use super::trial_site::Trial;
use super::{invariants, programs};
use crate::support::program::{self, RunningProgram};
use crate::support::proxy::Fault;
use crate::support::site::rows;
use crate::support::stepped_clock::SteppedClock;
use crate::support::wait;

/// Where a run is held while its clock is set, and how far it is ahead then.
const STEPS: &[(Side, &[&str], &str)] = &[
    (Local, &["-- log the start of a run"], "+1d"),
    (Remote, &["-- read the meters"], "-1d"),
    (Local, &["-- update meters"], "+1d"),
    (Local, &["-- update meters"], "-3600"),
    (Local, &["-- log the end of a run"], "+5y"),
    (Local, &["-- log the end of a run"], "-1d"),
];

/// Runs that did not start after `$begun` and end by now.
const OUT_OF_TIME: &str = "
    select id from meter_sync.meter_sync_log
    where seq > $last and not (started_at >= '$begun' and finished_at between started_at and clock_timestamp())";

const NOW: &str = "select clock_timestamp()::text as now";

async fn now(trial: &Trial) -> String {
    let now = trial.local.rows(NOW).await;
    now[0]["now"].as_str().expect("a text").to_owned()
}

/// All runs after this one have the times of the local database.
async fn are_in_time(name: &str, trial: &Trial, (last, begun): (i64, &str)) {
    let query = OUT_OF_TIME.replace("$last", &last.to_string());
    let query = query.replace("$begun", begun);
    assert_eq!(trial.local.rows(&query).await, json!([]), "{name}");
}

async fn is_set_in_a_run(trial: &mut Trial, step: (Side, &'static [&'static str], &str)) {
    let (side, point, ahead) = step;
    let name = format!("the clock is set to {ahead} at {point:?}");
    println!("{name}");
    trial.start_anew(&[]);
    trial.change().await;
    let (before, begun) = (trial.state().await, now(trial).await);
    let clock = SteppedClock::new();
    let mut sync = programs::sync(trial, &[]);
    clock.show_to(&mut sync);
    let line = &trial.database(side).line;
    let struck = line.struck();
    line.set(Fault::StallAt(point));
    let set = async {
        let held = async || line.struck() > struck;
        wait::until(&name, held).await;
        clock.step(ahead);
        line.go_on();
    };
    let (ended, ()) = tokio::join!(program::run(sync), set);
    assert_eq!(ended.code, 0, "{name}: {ended:?}");
    let run: RunReport = serde_json::from_str(&ended.stdout).expect("a report");
    Ends::With(RunOutcome::Succeeded).hold(&name, &run);
    are_in_time(&name, trial, (before.last_run, &begun)).await;
    invariants::hold(&name, trial, &before, Some(&run)).await;
}

#[test]
fn a_clock_set_in_a_run_changes_neither_its_times_nor_its_end() {
    let lanes: Vec<_> = STEPS.chunks(2).collect();
    side_by_side(&lanes, async |steps: &&[_]| {
        let mut trial = Trial::new(40).await;
        for step in *steps {
            Box::pin(is_set_in_a_run(&mut trial, *step)).await;
        }
    });
}

/// The program does nothing, and has not done anything for a moment.
const IDLE: &str = "
    select bool_and(state = 'idle') and max(state_change) < clock_timestamp() - interval '200 ms' as idle
    from pg_stat_activity where usename = '$role'";

/// Where the clock goes while a program follows its schedule; right in the end.
const WAY: &[&str] = &["+1d", "+1800", "-3600", "+0"];

/// A slot may be claimed a little early, as clocks are corrected.
const EARLY: &str = "
    select slot from meter_sync.meter_sync_slot where slot > clock_timestamp() + interval '1 minute'";

/// The runs that slots have had, and the slots that were claimed.
const SERVED: &str = "
    select (select count(*) from meter_sync.meter_sync_log where trigger in ('schedule', 'startup')) as runs,
           (select count(*) from meter_sync.meter_sync_slot) as slots";

async fn runs_of_slots(local: &Client) -> i64 {
    let served = rows(local, SERVED).await;
    served[0]["runs"].as_i64().expect("a number")
}

/// The next slots are served, and none is claimed whose time has not come.
async fn are_served(name: &str, local: &Client) {
    let most = runs_of_slots(local).await + 2;
    let served = async || {
        assert_eq!(rows(local, EARLY).await, json!([]), "{name}");
        runs_of_slots(local).await >= most
    };
    wait::until(&format!("{name}: slots are served"), served).await;
}

#[tokio::test]
async fn a_clock_set_between_runs_has_each_slot_served_once() {
    let mut trial = Trial::new(40).await;
    trial.start_anew(&[]);
    trial.change().await;
    let (before, begun) = (trial.state().await, now(&trial).await);
    let clock = SteppedClock::new();
    let settings = [
        (Setting::RemoteUrl, trial.remote.url.as_str()),
        (Setting::LocalUrl, trial.local.url.as_str()),
        (Setting::Schedule, "* * * * * *"),
        (Setting::Jitter, "0s"),
    ];
    let mut serve = program::bare(&["serve"], &settings);
    clock.show_to(&mut serve);
    let (mut program, _address) = RunningProgram::serve(serve).await;
    let local = trial.local.connect().await;
    let idle = trial.local.sql(IDLE);
    are_served("the clock is right", &local).await;
    for ahead in WAY {
        trial.change().await;
        let is_idle = async || rows(&local, &idle).await == json!([{"idle": true}]);
        wait::until("the program waits for its next slot", is_idle).await;
        clock.step(ahead);
        are_served(&format!("the clock is set to {ahead}"), &local).await;
    }
    drop(local);
    program.terminate();
    let code = program.code(programs::STOPPED).await;
    let name = "the clock was set between runs";
    println!("{}", program.stderr());
    assert_eq!(code, 0, "{name}: {}", program.stderr());
    let served: Value = trial.local.rows(SERVED).await;
    let count = |name: &str| served[0][name].as_i64().expect("a number");
    assert!(count("runs") <= count("slots"), "{name}: {served}");
    are_in_time(name, &trial, (before.last_run, &begun)).await;
    invariants::hold(name, &mut trial, &before, None).await;
}
