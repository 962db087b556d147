//! Faults leave no leaks: after each, the real program has its memory, descriptors and connections back.

use meter_sync::config::Setting;
use meter_sync::db::{Local as LocalSide, Side as _};
use reqwest::Client;
use serde_json::{Value, json};

use super::case::{Case, Ends, side_by_side};
use super::trial_site::Trial;
use super::{invariants, lines, locks, rights, row_errors};
use crate::support::process_resources::{descriptors, memory_kb};
use crate::support::program::{self, RunningProgram};

/// So many faults strike one program.
const MOST_CASES: usize = 20;

/// After so many runs what is used has settled.
const SETTLED: usize = 3;

/// More than the allocator explains, which is 2 MB. Eight runs that keep what they read take more.
const MORE_KB: i64 = 6 * 1024;

/// Some 0.8 MB that differ, besides the changes of every kind.
const LONG_NOTES: &str = "update meter set notes = repeat(md5(id || notes), 250) where id % 4 = 1";

/// The program with the settings of these cases, which serves until it is dropped.
struct Program {
    running: RunningProgram,
    address: String,
    client: Client,
}

impl Program {
    async fn start(trial: &Trial, more: &[(Setting, &str)]) -> Self {
        let settings = [
            (Setting::RemoteUrl, trial.remote.url.as_str()),
            (Setting::LocalUrl, trial.local.url.as_str()),
            (Setting::Schedule, "off"),
        ];
        let serve = program::bare(&["serve"], &[&settings, more].concat());
        let (running, address) = RunningProgram::serve(serve).await;
        Self {
            running,
            address,
            client: Client::new(),
        }
    }

    /// The end of a run: a report, or a problem.
    async fn sync(&self) -> Value {
        let url = format!("http://{}/api/v1/sync", self.address);
        let request = self.client.post(url).header("prefer", "wait=60");
        let answer = request.send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// A run that brings many bytes.
    async fn brings_changes(&self, name: &str, trial: &Trial) {
        trial.remote.run(LONG_NOTES).await;
        let ended = self.sync().await;
        assert_eq!(ended["outcome"], "succeeded", "{name}: {ended}");
    }

    fn memory_kb(&self) -> i64 {
        memory_kb(self.running.pid())
    }

    fn descriptors(&self) -> i64 {
        descriptors(self.running.pid())
    }
}

/// How the program tells the end of a run.
fn assert_ends(name: &str, ends: Ends, ended: &Value) {
    let code = ended["code"].as_str().unwrap_or_default();
    let fits = match ends {
        Ends::With(outcome) => ended["outcome"] == json!(outcome),
        Ends::Failing(expected) | Ends::Refused(expected) => code == expected.as_str(),
        Ends::FailingOn(side) => code.starts_with(side.prefix()),
    };
    assert!(fits, "{name}: is to end {ends:?}: {ended}");
}

/// One program through these cases, which have the same settings.
async fn holds_no_more(cases: &[&Case]) {
    let mut trial = Trial::new(400).await;
    trial.restart();
    let program = Program::start(&trial, cases[0].settings).await;
    for _ in 0..SETTLED {
        program.brings_changes("at first", &trial).await;
    }
    let settled = (program.memory_kb(), program.descriptors());
    for case in cases {
        let name = case.name;
        trial.change().await;
        trial.remote.run(LONG_NOTES).await;
        let ended = case.strike_run(&trial, program.sync()).await;
        assert_ends(name, case.ends, &ended);
        program.brings_changes(name, &trial).await;
        invariants::connections_are_back(name, &trial).await;
        let now = (program.memory_kb(), program.descriptors());
        println!("{name}: memory and descriptors {now:?}, at first {settled:?}");
        assert!(now.0 <= settled.0 + MORE_KB, "{name}: {now:?} {settled:?}");
        let most =
            settled.1 + i64::try_from(LocalSide::FOR_A_RUN + LocalSide::FOR_REQUESTS).expect("few");
        assert!(now.1 <= most, "{name}: {now:?} {settled:?}");
    }
}

#[test]
fn memory_and_descriptors_of_a_program_are_back_after_each_fault() {
    let all = [
        lines::LINES,
        lines::CUTS,
        locks::CASES,
        rights::CASES,
        row_errors::CASES,
    ];
    let mut groups: Vec<Vec<&Case>> = Vec::new();
    for case in all.into_iter().flatten() {
        let group = groups
            .iter_mut()
            .find(|group| group.len() < MOST_CASES && group[0].settings == case.settings);
        match group {
            Some(group) => group.push(case),
            None => groups.push(vec![case]),
        }
    }
    side_by_side(&groups, async |cases| holds_no_more(cases).await);
}
