//! The goals beside what was measured.

use crate::format::{Table, bytes, seconds, times};
use crate::report::{milliseconds, title};
use crate::results::{Figure, Figures};

const KIB: f64 = 1024.0;
const SWEEP_SECONDS: f64 = 2.0;
const SWEEP_BYTES: f64 = 64.0 * KIB;
const TIMES_GROUPED: f64 = 2.0;
const TIMES_FASTER: f64 = 100.0;
const OVERVIEW_SECONDS: f64 = 0.005;
const RESIDENT_BYTES: f64 = 64.0 * KIB * KIB;

/// A goal, and what was measured at one size.
struct Goal {
    text: String,
    measured: String,
    is_met: bool,
}

/// A row for each goal, with two columns for each size.
pub(crate) fn table(all: &[Figures]) -> String {
    let sizes = all
        .iter()
        .flat_map(|figures| [title(figures.size), "met".to_owned()]);
    let mut table = Table::new(std::iter::once("goal".to_owned()).chain(sizes));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for figures in all {
        for (n, goal) in goals(figures).into_iter().enumerate() {
            let met = if goal.is_met { "yes" } else { "**no**" };
            let cells = [goal.measured, met.to_owned()];
            match rows.get_mut(n) {
                Some(row) => row.extend(cells),
                None => rows.push(std::iter::once(goal.text).chain(cells).collect()),
            }
        }
    }
    for row in rows {
        table.row(row);
    }
    table.finish()
}

fn goals(figures: &Figures) -> [Goal; 6] {
    let below = |text: &str, measured: f64, limit: f64, shown: fn(f64) -> String| Goal {
        text: format!("{text}: under {}", shown(limit)),
        measured: shown(measured),
        is_met: measured < limit,
    };
    let of = |figure| figures.median(figure);
    let faster = figures.times_faster();
    [
        below(
            "a sweep that finds all tenants unchanged",
            of(Figure::Unchanged),
            SWEEP_SECONDS,
            |time| format!("{} s", seconds(time)),
        ),
        below(
            "what the remote sends for it",
            of(Figure::UnchangedBytes),
            SWEEP_BYTES,
            bytes,
        ),
        below(
            "times one grouped statement on each side at the same time",
            figures.times_both(),
            TIMES_GROUPED,
            times,
        ),
        Goal {
            text: format!(
                "times faster than a single run of each tenant: at least {}",
                times(TIMES_FASTER)
            ),
            measured: times(faster),
            is_met: faster >= TIMES_FASTER,
        },
        below(
            "a status of all tenants, median",
            of(Figure::Overview),
            OVERVIEW_SECONDS,
            milliseconds,
        ),
        below(
            "resident memory of `serve` after sweeps",
            of(Figure::Swept),
            RESIDENT_BYTES,
            bytes,
        ),
    ]
}
