//! The targets beside what was measured.

use crate::case::Case;
use crate::options::{LineKind, TARGET_SIZE};
use crate::peer::Peer;
use crate::results::{BareStatement, Key, Results, Sample};

use super::format::{Table, bytes, count, times};

const KIB: f64 = 1024.0;
/// Unchanged: what may come from the remote, and what may be written here.
const UNCHANGED_BYTES: f64 = 32.0 * KIB;
/// What a run may hold in memory, at any size.
const MEMORY: f64 = 24.0 * KIB * KIB;
/// The size of the target that is about a digest of all rows.
const DIGEST_SIZE: u64 = 1_000_000;

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
    let relay = [
        (Case::First, 0.75),
        (Case::Unchanged, 0.12),
        (Case::Hundredth, 0.25),
    ];
    let others = [
        (Case::First, 2.0),
        (Case::Unchanged, 5.0),
        (Case::Hundredth, 5.0),
    ];
    let mut targets: Vec<Target> = relay
        .into_iter()
        .map(|(case, most)| against_relay(results, case, most))
        .collect();
    targets.extend(
        others
            .into_iter()
            .map(|(case, least)| against_others(results, case, least)),
    );
    targets.push(unchanged(results, "from the remote", |sample| {
        sample.received
    }));
    targets.push(unchanged(results, "of local WAL", |sample| sample.wal));
    targets.push(against_digest(results));
    targets.push(memory(results));
    targets
}

fn of(peer: Peer, case: Case) -> Key {
    Key {
        line: LineKind::Lan,
        size: TARGET_SIZE,
        peer,
        case,
    }
}

fn wall(results: &Results, peer: Peer, case: Case) -> Option<f64> {
    results.median(of(peer, case), |sample| sample.wall)
}

fn against_relay(results: &Results, case: Case, most: f64) -> Target {
    let ours = wall(results, Peer::Ours, case);
    let ratio = ours.zip(wall(results, Peer::PsqlRelay, case));
    let ratio = ratio.map(|(ours, relay)| ours / relay);
    Target {
        text: format!(
            "{} meters, {case}: at most {most} of the psql relay's time",
            count(TARGET_SIZE)
        ),
        measured: ratio.map(|ratio| (format!("{ratio:.3}"), ratio <= most)),
    }
}

fn against_others(results: &Results, case: Case, least: f64) -> Target {
    let ours = wall(results, Peer::Ours, case);
    let others = Peer::ALL
        .into_iter()
        .filter(|peer| !matches!(peer, Peer::Ours | Peer::PsqlRelay) && results.is_right(*peer));
    let ratios: Vec<(f64, Peer)> = others
        .filter_map(|peer| Some((wall(results, peer, case)? / ours?, peer)))
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

fn unchanged(results: &Results, what: &str, take: fn(&Sample) -> f64) -> Target {
    let sizes = results.sizes(LineKind::Lan).into_iter();
    let medians = sizes.filter_map(|size| {
        let key = Key {
            size,
            ..of(Peer::Ours, Case::Unchanged)
        };
        results.median(key, take)
    });
    let most = medians.max_by(f64::total_cmp);
    Target {
        text: format!("unchanged, at every size: under 32 KiB {what}"),
        measured: most.map(|most| (bytes(most), most < UNCHANGED_BYTES)),
    }
}

fn against_digest(results: &Results) -> Target {
    let key = Key {
        size: DIGEST_SIZE,
        ..of(Peer::Ours, Case::Unchanged)
    };
    let sides = [BareStatement::DigestRemote, BareStatement::DigestLocal];
    let slower = sides
        .into_iter()
        .filter_map(|side| results.bare_statement(DIGEST_SIZE, side))
        .max_by(f64::total_cmp);
    let ratio = results
        .median(key, |sample| sample.wall)
        .zip(slower)
        .map(|(ours, digest)| ours / digest);
    Target {
        text: format!(
            "{} meters, unchanged: at most 1.3 times `select count(*), bit_xor(hash)` on the slower server",
            count(DIGEST_SIZE)
        ),
        measured: ratio.map(|ratio| (format!("{} times", times(ratio)), ratio <= 1.3)),
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
        text: "every case, at every size: under 24 MiB resident".to_owned(),
        measured: most.map(|most| {
            let text = format!("{} at most, over {}", bytes(most), sizes.join(" / "));
            (text, most < MEMORY)
        }),
    }
}
