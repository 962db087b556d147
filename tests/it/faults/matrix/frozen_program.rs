//! Our program, frozen in the middle of a run: a paused machine, or a suspended laptop.

use std::time::{Duration, Instant};

use meter_sync::config::Setting;
use meter_sync::model::RunOutcome;
use serde_json::json;

use super::case::{Ends, side_by_side};
use super::invariants;
use super::programs;
use super::trial_site::Side::{self, Local, Remote};
use super::trial_site::Trial;
use crate::support::program::RunningProgram;
use crate::support::proxy::Fault;
use crate::support::wait;

/// How long a run may take, and a statement of it.
const SHORT: &[(Setting, &str)] = &[
    (Setting::RunTimeout, "2s"),
    (Setting::StatementTimeout, "1s"),
];

/// By then the servers have ended what the frozen run holds: these limits and some seconds, on a busy machine.
const LET_GO: Duration = Duration::from_secs(20);

/// What a frozen run waits for, which arrives all the same.
const POINTS: &[(Side, &[&str])] = &[
    (Remote, &["-- read the meters"]),
    (Local, &["-- look for the local rows of the extent"]),
    (Local, &["-- plan the changes"]),
    (Local, &["-- update meters"]),
    (Local, &["-- log the end of a run"]),
];

/// A writer of the site's, who needs the rows that a run changes, and waits for nobody.
const SITE_WRITES: &str = "set lock_timeout = '200ms'; update meter set site_note = site_note";

async fn is_frozen((side, point): (Side, &'static [&'static str])) {
    let name = format!("frozen at {point:?}");
    println!("{name}");
    let mut trial = Trial::new(40).await;
    trial.start_anew(&[]);
    trial.change().await;
    let before = trial.state().await;
    let line = &trial.database(side).line;
    let struck = line.struck();
    line.set(Fault::StallAt(point));
    let (mut frozen, _input, _output) = RunningProgram::start(programs::sync(&trial, SHORT));
    let held = async || line.struck() > struck;
    wait::until(&name, held).await;
    frozen.freeze();
    let begun = Instant::now();
    line.go_on();
    invariants::lock_is_free(&name, &trial).await;
    trial.local.run(SITE_WRITES).await;
    assert!(begun.elapsed() < LET_GO, "{name}: {:?}", begun.elapsed());
    let difference = before.difference(&trial.state().await);
    assert_eq!(difference, [], "{name}");

    let run = trial.sync().await;
    Ends::With(RunOutcome::Succeeded).hold(&name, &run);
    let log = "select outcome from meter_sync.meter_sync_log order by seq desc limit 2";
    let expected = json!([{"outcome": "succeeded"}, {"outcome": "interrupted"}]);
    assert_eq!(trial.local.rows(log).await, expected, "{name}");
    // or the connections that it has open but does not use would be counted
    frozen.kill().await;
    invariants::hold(&name, &mut trial, &before, Some(&run)).await;
}

#[test]
fn a_frozen_program_lets_go_of_rows_and_lock_and_another_run_converges() {
    side_by_side(POINTS, async |point| is_frozen(*point).await);
}
