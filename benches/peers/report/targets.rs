//! The targets beside what was measured.

use crate::case::Case;
use crate::options::{LineKind, TARGET_SIZE};
use crate::peer::Peer;
use crate::results::{Key, Results, Sample};

use super::format::{Table, bytes, count, times};

const KIB: f64 = 1024.0;
/// A run that changes nothing: what may come from the remote, and what may be written here.
const FEW_BYTES: f64 = 32.0 * KIB;
/// What a run may hold in memory, at any size.
const MEMORY: f64 = 20.0 * KIB * KIB;
/// Sizes that targets are about, beside `TARGET_SIZE`.
const SMALL: u64 = 10_000;
const MILLION: u64 = 1_000_000;

/// How many times the relay's time ours may take at most, by size and case.
const TIMES_THE_RELAY: [(u64, Case, f64); 10] = [
    (SMALL, Case::First, 0.6),
    (TARGET_SIZE, Case::First, 0.75),
    (TARGET_SIZE, Case::Unchanged, 0.12),
    (MILLION, Case::Thousandth, 0.09),
    (TARGET_SIZE, Case::Hundredth, 0.15),
    (MILLION, Case::Hundredth, 0.15),
    (TARGET_SIZE, Case::Tenth, 0.4),
    (MILLION, Case::Tenth, 0.4),
    (TARGET_SIZE, Case::All, 0.8),
    (MILLION, Case::All, 0.8),
];
/// How many times faster than any other peer ours is at least.
const TIMES_FASTER: [(Case, f64); 3] = [
    (Case::First, 2.0),
    (Case::Unchanged, 5.0),
    (Case::Hundredth, 5.0),
];
/// The cases that are compared with a sum of all rows.
const AGAINST_THE_SUM: [(u64, Case); 5] = [
    (MILLION, Case::Unchanged),
    (TARGET_SIZE, Case::FullCompare),
    (MILLION, Case::FullCompare),
    (TARGET_SIZE, Case::AfterRestart),
    (MILLION, Case::AfterRestart),
];
/// How many times its time they may take at most.
const TIMES_THE_SUM: f64 = 1.3;

/// A target, what was measured, and whether it is met; nothing where it was not measured.
struct Target {
    text: String,
    measured: Option<(String, bool)>,
}

pub(super) fn table(results: &Results) -> String {
    let mut table = Table::new(["target", "measured", "met"]);
    for target in all(results) {
        let (measured, met) = match target.measured {
            Some((measured, true)) => (measured, "yes"),
            Some((measured, false)) => (measured, "**no**"),
            None => ("not in this run".to_owned(), "-"),
        };
        table.row([target.text.as_str(), &measured, met]);
    }
    table.finish()
}

fn all(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    for (size, case, most) in TIMES_THE_RELAY {
        let ours = Key::over_lan(size, Peer::Ours, case);
        let time = |sample: &Sample| sample.wall;
        targets.push(against_relay(results, ours, most, "time", time));
    }
    for size in [TARGET_SIZE, MILLION] {
        let ours = Key::over_lan(size, Peer::Ours, Case::All);
        let wal = |sample: &Sample| sample.wal;
        targets.push(against_relay(results, ours, 1.0, "local WAL", wal));
    }
    for (case, least) in TIMES_FASTER {
        targets.push(against_others(results, case, least));
    }
    for (size, case) in AGAINST_THE_SUM {
        targets.push(against_sum(results, size, case));
    }
    for case in [Case::Unchanged, Case::FullCompare, Case::AfterRestart] {
        let received = |sample: &Sample| sample.received;
        targets.push(few_bytes(results, case, "from the remote", received));
    }
    let wal = |sample: &Sample| sample.wal;
    targets.push(few_bytes(results, Case::Unchanged, "of local WAL", wal));
    targets.push(memory(results));
    targets
}

fn wall(results: &Results, size: u64, peer: Peer, case: Case) -> Option<f64> {
    results.median(Key::over_lan(size, peer, case), |sample| sample.wall)
}

fn against_relay(
    results: &Results,
    ours: Key,
    most: f64,
    what: &str,
    take: fn(&Sample) -> f64,
) -> Target {
    let relay = Key {
        peer: Peer::PsqlRelay,
        ..ours
    };
    let ratio = results.median(ours, take).zip(results.median(relay, take));
    let ratio = ratio.map(|(ours, relay)| ours / relay);
    Target {
        text: format!(
            "{} meters, {}: at most {most:.2} times the psql relay's {what}",
            count(ours.size),
            ours.case
        ),
        measured: ratio.map(|ratio| (format!("{ratio:.3}"), ratio <= most)),
    }
}

fn against_others(results: &Results, case: Case, least: f64) -> Target {
    let wall = |peer| wall(results, TARGET_SIZE, peer, case);
    let ours = wall(Peer::Ours);
    let others = Peer::ALL
        .into_iter()
        .filter(|peer| !matches!(peer, Peer::Ours | Peer::PsqlRelay) && results.is_right(*peer));
    let ratios: Vec<(f64, Peer)> = others
        .filter_map(|peer| Some((wall(peer)? / ours?, peer)))
        .collect();
    let nearest = ratios.iter().min_by(|a, b| a.0.total_cmp(&b.0)).copied();
    Target {
        text: format!(
            "{} meters, {case}: at least {least:.0} times faster than every other peer that is right",
            count(TARGET_SIZE)
        ),
        measured: nearest.map(|(ratio, peer)| {
            let text = format!("{} times ({} comes nearest)", times(ratio), peer.title());
            (text, ratio >= least)
        }),
    }
}

fn against_sum(results: &Results, size: u64, case: Case) -> Target {
    let ours = wall(results, size, Peer::Ours, case);
    let ratio = ours.zip(results.slower_sum(size));
    let ratio = ratio.map(|(ours, sum)| ours / sum);
    Target {
        text: format!(
            "{} meters, {case}: at most {TIMES_THE_SUM} times `select count(*), bit_xor(hash)` on the slower server",
            count(size)
        ),
        measured: ratio.map(|ratio| {
            let text = format!("{} times", times(ratio));
            (text, ratio <= TIMES_THE_SUM)
        }),
    }
}

fn few_bytes(results: &Results, case: Case, what: &str, take: fn(&Sample) -> f64) -> Target {
    let sizes = results.sizes(LineKind::Lan).into_iter();
    let medians =
        sizes.filter_map(|size| results.median(Key::over_lan(size, Peer::Ours, case), take));
    let most = medians.max_by(f64::total_cmp);
    Target {
        text: format!("{case}, at every size: under 32 KiB {what}"),
        measured: most.map(|most| (bytes(most), most < FEW_BYTES)),
    }
}

fn memory(results: &Results) -> Target {
    let samples = results.samples.iter();
    let ours = samples.filter(|(key, _)| key.peer == Peer::Ours);
    let peaks = ours.flat_map(|(_, samples)| samples.iter().map(|sample| sample.memory));
    let most = peaks.max_by(f64::total_cmp);
    let sizes: Vec<String> = results
        .sizes(LineKind::Lan)
        .into_iter()
        .map(count)
        .collect();
    Target {
        text: "every case, at every size: at most 20 MiB resident".to_owned(),
        measured: most.map(|most| {
            let text = format!("{} at most, over {}", bytes(most), sizes.join(" / "));
            (text, most <= MEMORY)
        }),
    }
}
