//! The tables of times and costs for each size.

use crate::case::Case;
use crate::options::LineKind;
use crate::peer::Peer;
use crate::results::{Key, Results, Sample};

use super::format::{Table, bytes, count, cpu, line, seconds, times};

/// All sizes over a line.
pub(super) fn all(results: &Results, of: LineKind) -> String {
    let mut text = String::new();
    for size in results.sizes(of) {
        let rounds = results.samples.iter().filter_map(|(key, samples)| {
            let is_here = key.line == of && key.size == size && key.peer == Peer::Ours;
            is_here.then_some(samples.len())
        });
        let rounds = rounds.max().unwrap_or_default();
        line(
            &mut text,
            format!(
                "### {} meters\n\nMedians of {} rounds, in seconds; in brackets how many times ours.\n",
                count(size),
                rounds
            ),
        );
        text += &walls(results, of, size);
        text += "What these runs took:\n\n";
        text += &costs(results, of, size);
    }
    text
}

fn walls(results: &Results, of: LineKind, size: u64) -> String {
    let cases: Vec<Case> = Case::SHARED
        .into_iter()
        .filter(|case| has_any(results, of, size, *case))
        .collect();
    let header = std::iter::once(String::new()).chain(cases.iter().map(ToString::to_string));
    let mut table = Table::new(header);
    for peer in Peer::ALL {
        let cells = cases.iter().map(|case| {
            let key = Key {
                line: of,
                size,
                peer,
                case: *case,
            };
            wall(results, key)
        });
        let cells: Vec<String> = cells.collect();
        if cells.iter().any(|cell| !cell.is_empty() && cell != "-") {
            table.row(std::iter::once(peer.title().to_owned()).chain(cells));
        }
    }
    table.finish()
}

fn has_any(results: &Results, of: LineKind, size: u64, case: Case) -> bool {
    let mut keys = results.samples.keys();
    keys.any(|key| key.line == of && key.size == size && key.case == case)
}

fn wall(results: &Results, key: Key) -> String {
    let Some(wall) = results.median(key, |sample| sample.wall) else {
        let first = Key {
            case: Case::First,
            ..key
        };
        let is_for = key.case.is_for(key.peer);
        let why = results.left_out.get(&key).or(results.left_out.get(&first));
        return match why {
            Some(why) if why.starts_with("failed") => "failed".to_owned(),
            Some(_) if is_for => "left out".to_owned(),
            None if results.absent.contains_key(&key.peer) => "not installed".to_owned(),
            Some(_) | None if !is_for => "-".to_owned(),
            Some(_) | None => String::new(),
        };
    };
    let is_wrong = results.wrong(key).is_some_and(|wrong| !wrong.is_right());
    let mark = if is_wrong { " *wrong*" } else { "" };
    let ours = Key {
        peer: Peer::Ours,
        ..key
    };
    match results.median(ours, |sample| sample.wall) {
        Some(ours) if key.peer != Peer::Ours => {
            format!("{} ({}){mark}", seconds(wall), times(wall / ours))
        }
        _ => format!("{}{mark}", seconds(wall)),
    }
}

/// The cases whose costs are shown.
const COSTS: [Case; 4] = [Case::First, Case::Unchanged, Case::Hundredth, Case::All];

fn costs(results: &Results, of: LineKind, size: u64) -> String {
    let mut table = Table::new([
        "",
        "case",
        "bytes from the remote",
        "local WAL",
        "CPU s: tool",
        "remote",
        "local",
        "peak memory",
    ]);
    for case in COSTS {
        for peer in Peer::ALL {
            let key = Key {
                line: of,
                size,
                peer,
                case,
            };
            let median = |take: fn(&Sample) -> f64| results.median(key, take);
            let Some(received) = median(|sample| sample.received) else {
                continue;
            };
            let memory = median(|sample| sample.memory).unwrap_or_default();
            let is_tool = memory > 0.0;
            let tool = median(|sample| sample.tool_cpu).unwrap_or_default();
            table.row([
                peer.title().to_owned(),
                case.to_string(),
                bytes(received),
                bytes(median(|sample| sample.wal).unwrap_or_default()),
                if is_tool {
                    cpu(tool)
                } else {
                    "in the server".to_owned()
                },
                cpu(median(|sample| sample.remote_cpu).unwrap_or_default()),
                cpu(median(|sample| sample.local_cpu).unwrap_or_default()),
                if is_tool {
                    bytes(memory)
                } else {
                    "in the server".to_owned()
                },
            ]);
        }
    }
    table.finish()
}

/// The runs of ours that no other peer has, beside its shared ones.
pub(super) fn of_ours(results: &Results) -> String {
    let over = |line| {
        results
            .sizes(line)
            .into_iter()
            .map(move |size| (line, size))
    };
    let columns: Vec<(LineKind, u64)> = over(LineKind::Lan).chain(over(LineKind::Thin)).collect();
    let header = columns.iter().map(|(line, size)| match line {
        LineKind::Lan => format!("{} meters", count(*size)),
        LineKind::Thin => format!("{}, thin line", count(*size)),
    });
    let mut table = Table::new(std::iter::once(String::new()).chain(header));
    for case in [
        Case::AfterLoad,
        Case::Unchanged,
        Case::FullCompare,
        Case::AfterRestart,
    ] {
        let cells = columns.iter().map(|(line, size)| {
            let key = Key {
                line: *line,
                size: *size,
                peer: Peer::Ours,
                case,
            };
            let wall = results.median(key, |sample| sample.wall);
            let received = results.median(key, |sample| sample.received);
            match (wall, received) {
                (Some(wall), Some(received)) => format!("{} s, {}", seconds(wall), bytes(received)),
                _ => String::new(),
            }
        });
        let cells: Vec<String> = cells.collect();
        table.row(std::iter::once(case.to_string()).chain(cells));
    }
    table.finish()
}
