//! Where the time of one run of ours goes, by what the servers write into their logs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::Result;
use chrono::NaiveDateTime;

use crate::case::Case;
use crate::data;
use crate::options::LineKind;
use crate::oracle::Truth;
use crate::peer::Peer;
use crate::peer_run::{Expected, PeerRunner};
use crate::prepare_case::prepare;
use crate::results::Results;
use crate::say;
use crate::servers::{MAINTENANCE, Servers, Side};

/// The statements of one run.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) case: Case,
    /// How many meters there were.
    pub(crate) size: u64,
    pub(crate) wall_ms: f64,
    /// By name and side: how often, and how many milliseconds in all.
    pub(crate) statements: BTreeMap<(Side, String), (u32, f64)>,
    /// How long at least one server was at work.
    pub(crate) busy_ms: f64,
}

/// One first load of the smallest size, and one run of each case with the largest, without the first run after a load.
pub(crate) async fn all(
    servers: &mut Servers,
    results: &mut Results,
    sizes: &[u64],
    turn: u64,
) -> Result<()> {
    let (Some(least), Some(most)) = (sizes.iter().min(), sizes.iter().max()) else {
        return Ok(());
    };
    if least < most {
        of_cases(servers, results, *least, (vec![Case::First], turn)).await?;
    }
    let mut cases = Case::of_round(&Case::SHARED, LineKind::Lan);
    cases.retain(|case| *case != Case::AfterLoad);
    of_cases(servers, results, *most, (cases, turn)).await
}

/// One run of each of these cases, in order.
async fn of_cases(
    servers: &mut Servers,
    results: &mut Results,
    size: u64,
    (cases, mut turn): (Vec<Case>, u64),
) -> Result<()> {
    data::fill(servers, size).await?;
    let place = PeerRunner::of(servers, Peer::Ours, LineKind::Lan)?;
    place.empty(servers).await?;
    let mut truth = Truth::default();
    for case in cases {
        say(&format!("{size} meters, profile: {case}"));
        let changed;
        (changed, truth) = prepare(servers, case, &mut turn, truth).await?;
        let expected = Expected {
            case,
            changed,
            truth: &truth,
        };
        let profile = take(servers, &place, expected, size).await?;
        results.profiles.push(profile);
    }
    Ok(())
}

/// Runs ours once with every statement logged.
async fn take(
    servers: &Servers,
    place: &PeerRunner,
    expected: Expected<'_>,
    size: u64,
) -> Result<Profile> {
    log_statements(servers, true).await?;
    let from = [Side::Remote, Side::Local].map(|side| (side, length(servers, side)));
    let sample = place.run(servers, expected).await;
    log_statements(servers, false).await?;
    let mut profile = Profile {
        case: expected.case,
        size,
        wall_ms: sample?.wall * 1000.0,
        statements: BTreeMap::new(),
        busy_ms: 0.0,
    };
    let mut spans = Vec::new();
    for (side, from) in from {
        let entries = entries(&written_since(servers, side, from)?);
        // what belongs to a run names itself; processes where nothing does are the bench's
        let named = entries.iter().filter(|entry| entry.is_named);
        let processes: BTreeSet<String> = named.map(|entry| entry.process.clone()).collect();
        for entry in entries {
            if processes.contains(&entry.process) {
                spans.push((entry.end_ms - entry.ms, entry.end_ms));
                let statement = profile.statements.entry((side, entry.name)).or_default();
                statement.0 += u32::from(entry.is_execution);
                statement.1 += entry.ms;
            }
        }
    }
    profile.busy_ms = covered(spans);
    Ok(profile)
}

async fn log_statements(servers: &Servers, on: bool) -> Result<()> {
    let set = match on {
        true => "alter system set log_min_duration_statement = 0",
        false => "alter system reset log_min_duration_statement",
    };
    for side in [Side::Remote, Side::Local] {
        let client = servers.connect(side, MAINTENANCE).await?;
        client.batch_execute(set).await?;
        client.batch_execute("select pg_reload_conf()").await?;
        // the first process hears of it a moment later, and later processes from it
        client.batch_execute("select pg_sleep(0.2)").await?;
    }
    Ok(())
}

fn length(servers: &Servers, side: Side) -> u64 {
    let log = servers.server(side).directory().join("log");
    std::fs::metadata(log).map_or(0, |metadata| metadata.len())
}

fn written_since(servers: &Servers, side: Side, from: u64) -> Result<String> {
    let mut log = File::open(servers.server(side).directory().join("log"))?;
    log.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A statement that has ended.
struct Entry {
    process: String,
    end_ms: f64,
    ms: f64,
    /// The comment in its first line, or else its first word.
    name: String,
    is_named: bool,
    /// And not the parsing or binding of it, which is logged by itself.
    is_execution: bool,
}

/// `2026-11-26 03:20:00.123 UTC [17] LOG:  duration: 0.5 ms  execute <unnamed>: -- name`
fn entries(log: &str) -> Vec<Entry> {
    let parse = |line: &str| {
        let (stamp, rest) = line.split_once(" UTC [")?;
        let (process, rest) = rest.split_once("] LOG:  duration: ")?;
        let (ms, rest) = rest.split_once(" ms")?;
        let (kind, sql) = rest.trim_start().split_once(": ")?;
        let end = NaiveDateTime::parse_from_str(stamp, "%Y-%m-%d %H:%M:%S%.f").ok()?;
        let name = sql.trim_start().strip_prefix("-- ");
        let first_word = || sql.split([' ', ';']).next().unwrap_or_default();
        Some(Entry {
            process: process.to_owned(),
            end_ms: end.and_utc().timestamp_micros() as f64 / 1000.0,
            ms: ms.parse().ok()?,
            is_named: name.is_some(),
            name: name.map_or_else(
                || format!("`{}`", first_word().to_lowercase()),
                str::to_owned,
            ),
            is_execution: !kind.starts_with("parse") && !kind.starts_with("bind"),
        })
    };
    log.lines().filter_map(parse).collect()
}

/// The length of the union of spans.
fn covered(mut spans: Vec<(f64, f64)>) -> f64 {
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut covered = 0.0;
    let mut until = f64::NEG_INFINITY;
    for (start, end) in spans {
        covered += (end - start.max(until)).max(0.0);
        until = until.max(end);
    }
    covered
}
