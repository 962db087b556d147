//! Whose results are correct, and what was left out.

use std::collections::BTreeMap;

use crate::case::Case;
use crate::options::LineKind;
use crate::oracle::WrongRows;
use crate::peer::Peer;
use crate::results::Results;

use super::format::{Table, count, line};

/// By peer and case, over all sizes and rounds: what was wrong at most.
pub(super) fn table(results: &Results) -> String {
    let mut worst: BTreeMap<(Peer, Case), WrongRows> = BTreeMap::new();
    for (key, samples) in &results.samples {
        for sample in samples {
            let cell = worst.entry((key.peer, key.case)).or_default();
            *cell = cell.or(sample.wrong);
        }
    }
    let mut table = Table::new([
        "",
        "right",
        "wrong in",
        "missing",
        "stale",
        "gone, still active",
        "wrongly deleted",
        "other tenants'",
    ]);
    for peer in Peer::ALL {
        let of_peer = worst.iter().filter(|((of, _), _)| *of == peer);
        let wrong = of_peer.clone().filter(|(_, wrong)| !wrong.is_right());
        let mut rows: Vec<[String; 8]> = wrong
            .map(|((_, case), wrong)| row("no", &case.to_string(), *wrong, peer))
            .collect();
        if rows.is_empty() && of_peer.clone().next().is_some() {
            rows.push(row("yes", "", WrongRows::default(), peer));
        }
        rows.into_iter().for_each(|row| table.row(row));
    }
    table.finish()
}

fn row(right: &str, case: &str, wrong: WrongRows, peer: Peer) -> [String; 8] {
    [
        peer.title().to_owned(),
        right.to_owned(),
        case.to_owned(),
        count(wrong.missing),
        count(wrong.stale),
        count(wrong.missed_deletes),
        count(wrong.deleted),
        count(wrong.foreign),
    ]
}

/// What is not in the tables, and why.
pub(super) fn left_out(results: &Results) -> String {
    let mut text = String::new();
    for (peer, why) in &results.absent {
        line(
            &mut text,
            format!("- {}: not installed: {why}", peer.title()),
        );
    }
    line(
        &mut text,
        "- pgsync (a Ruby gem): in none of the package registries of Python, JavaScript, Rust and Debian; the `pgsync` on PyPI is another program.",
    );
    // one line for what is left out of a size for one reason
    let mut cases: BTreeMap<(Peer, LineKind, u64, &str), Vec<String>> = BTreeMap::new();
    for (key, why) in &results.left_out {
        let group = (key.peer, key.line, key.size, why.as_str());
        cases.entry(group).or_default().push(key.case.to_string());
    }
    for ((peer, over, size, why), cases) in cases {
        let over = match over {
            LineKind::Lan => "",
            LineKind::Thin => " over the thin line",
        };
        line(
            &mut text,
            format!(
                "- {} at {} meters{over}, {}: {why}",
                peer.title(),
                count(size),
                cases.join(", ")
            ),
        );
    }
    text
}
