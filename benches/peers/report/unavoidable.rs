//! What a run of ours cannot leave out, and how much of its time that takes.

use crate::case::Case;
use crate::options::LineKind;
use crate::peer::Peer;
use crate::results::{BareStatement, Key, Results};
use crate::servers::Side;
use crate::time_by_statement::Profile;

use super::bare_statements::sentence;
use super::format::{count, line, seconds, times};

/// One line for each case whose time is mostly that of such statements.
pub(super) fn told(results: &Results) -> String {
    let mut text = String::new();
    let lines = [
        first_load(results),
        some_changed(results, Case::Hundredth),
        some_changed(results, Case::Tenth),
        all_changed(results),
        contents(results, Case::FullCompare),
        contents(results, Case::AfterRestart),
    ];
    for told in lines.into_iter().flatten() {
        line(&mut text, format!("- {told}"));
    }
    text
}

fn first_load(results: &Results) -> Option<String> {
    let profile = smallest_profile(results, Case::First)?;
    let [record, create, stage] = [
        "record the load",
        "create the sync tables",
        "stage the meters",
    ]
    .map(|name| local_ms(profile, name));
    let relay = relay(results, profile)?;
    Some(format!(
        "A first load of {} meters: of {:.0} ms, {record:.0} record each meter in the log of changes and {create:.0} create \
         our tables, which no other peer does, and {stage:.0} copy the meters. The relay takes {:.0} ms in all.",
        count(profile.size),
        profile.wall_ms,
        relay * 1000.0
    ))
}

fn some_changed(results: &Results, case: Case) -> Option<String> {
    let profile = results
        .profiles
        .iter()
        .find(|profile| profile.case == case)?;
    let sums = [Side::Remote, Side::Local].map(|side| ms(profile, side, "sum up the versions"));
    let record = local_ms(profile, "record the changes");
    Some(format!(
        "{} of {} meters: of {:.0} ms, the slower server needs {:.0} to sum the versions of all rows, since no query tells \
         which rows are new without reading all of them, and {record:.0} record the changes.",
        sentence(case),
        count(profile.size),
        profile.wall_ms,
        sums.into_iter().fold(0.0, f64::max)
    ))
}

fn all_changed(results: &Results) -> Option<String> {
    let profile = results
        .profiles
        .iter()
        .find(|profile| profile.case == Case::All)?;
    let needed = local_ms(profile, "update meters") + local_ms(profile, "stage the meters");
    let relay = relay(results, profile)?;
    Some(format!(
        "All of {} meters changed: to copy the new rows and to update as many takes {} s of our {} s, and every way that \
         updates rows in one transaction needs both. That alone is {} times what the relay takes in all ({} s).",
        count(profile.size),
        seconds(needed / 1000.0),
        seconds(profile.wall_ms / 1000.0),
        times(needed / 1000.0 / relay),
        seconds(relay)
    ))
}

fn contents(results: &Results, case: Case) -> Option<String> {
    let size = results.sizes(LineKind::Lan).last().copied()?;
    let ours = results.median(Key::over_lan(size, Peer::Ours, case), |sample| sample.wall)?;
    let both = results.bare_statement(size, BareStatement::DigestBoth)?;
    Some(format!(
        "{} of {} meters: both servers must hash their rows, at the same time and on the same cores. For the sum above \
         both take {} s so; ours takes {} times that. Its hash also tells 1.0 from 1.00 in JSON, which the sum does not.",
        sentence(case),
        count(size),
        seconds(both),
        times(ours / both)
    ))
}

fn smallest_profile(results: &Results, case: Case) -> Option<&Profile> {
    let of_case = results
        .profiles
        .iter()
        .filter(|profile| profile.case == case);
    of_case.min_by_key(|profile| profile.size)
}

fn local_ms(profile: &Profile, name: &str) -> f64 {
    ms(profile, Side::Local, name)
}

fn ms(profile: &Profile, side: Side, name: &str) -> f64 {
    let statement = profile.statements.get(&(side, name.to_owned()));
    statement.map_or(0.0, |(_, ms)| *ms)
}

fn relay(results: &Results, profile: &Profile) -> Option<f64> {
    let key = Key::over_lan(profile.size, Peer::PsqlRelay, profile.case);
    results.median(key, |sample| sample.wall)
}
