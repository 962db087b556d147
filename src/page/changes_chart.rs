//! The chart of changed meters on the status page, below the timeline's row of bars. It has a stacked column for each
//! run in that row that is not a dry run.

use maud::{Markup, html};

use super::compute_timeline_bars::{HEIGHT, STEP, TimelineBar};
use super::format_values::counted;
use crate::model::{Counts, RunRecord};

/// Renders the chart. `bars` are the bars of the timeline above it. Each bar takes the width of a column, even without
/// a column, so that columns and bars line up. Empty if no run changed a meter.
pub(super) fn show(bars: &[TimelineBar<'_>]) -> Markup {
    let changes = |bar: &TimelineBar<'_>| match bar {
        TimelineBar::Run(run) if !run.dry_run => run.counts.changes(),
        TimelineBar::Run(_) | TimelineBar::Missed(..) => 0,
    };
    let most = bars.iter().map(changes).max().unwrap_or(0);
    let width = i64::try_from(bars.len()).unwrap_or(0) * STEP;
    let title = format!(
        "Changes of each of these runs; the most is {}",
        counted(most, "meter", "meters")
    );
    html! {
        @if most > 0 {
            h3 { "Changes over time" }
            // The chart shrinks with the page. It cannot scroll, because nothing in it takes the keyboard focus.
            svg.chart role="img" aria-label=(title) width=(width) height=(HEIGHT)
                viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" {
                title { (title) }
                @for (index, bar) in (0_i64..).zip(bars) {
                    @if let TimelineBar::Run(run) = bar { @if !run.dry_run { (stack(run, index * STEP, most)) } }
                }
            }
            p.legend {
                @for (class, word) in [("insert", "Inserted"), ("update", "Updated"), ("reactivate", "Reactivated"), ("deactivate", "Deactivated")] {
                    span.badge { svg.icon viewBox="0 0 24 24" aria-hidden="true" { rect .(class) x="4" y="4" width="16" height="16" {} } " " (word) } " "
                }
                span.soft { "The highest column is " (counted(most, "meter", "meters")) "." }
            }
        }
    }
}

/// Returns the kinds of change, from the bottom of a column to its top: the CSS class of the colour, and the number of
/// meters.
fn kinds(counts: &Counts) -> [(&'static str, i64); 4] {
    [
        ("insert", counts.inserted),
        ("update", counts.updated),
        ("reactivate", counts.reactivated),
        ("deactivate", counts.deactivated),
    ]
}

fn stack(run: &RunRecord, x: i64, most: i64) -> Markup {
    let mut top = HEIGHT;
    let mut pieces = Vec::new();
    for (class, count) in kinds(&run.counts)
        .into_iter()
        .filter(|(_, count)| *count > 0)
    {
        // At least 1 unit, so that a single change among thousands is visible.
        let height = (count.saturating_mul(HEIGHT - 4) / most).max(1);
        top -= height;
        pieces.push((class, top, height));
    }
    html! { @for (class, y, height) in pieces { rect .(class) x=(x + 2) y=(y.max(0)) width=(STEP - 4) height=(height) {} } }
}
