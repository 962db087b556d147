//! The timeline of the last runs on the status page: a row of bars (the strip), one for each run, and a chart of what
//! the runs changed.
//!
//! A bar's height shows the run's duration; its colour and icon show the outcome. A dashed bar stands for one or more
//! missed slots: times at which the schedule was due but no process claimed the run. The table of runs has the same
//! facts in words.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::changes_chart;
use super::compute_timeline_bars::{HEIGHT, STEP, TimelineBar, bars, missed, missed_before};
use super::format_values::{counted, duration};
use super::mirror_page_paths::MirrorBasePath;
use crate::badges;
use crate::badges::icons::Icon;
use crate::config::Config;
use crate::mirrors::ClaimedSlot;
use crate::model::RunRecord;

/// Renders the timeline: the row of bars and the chart of changes. `history` has the runs, newest first. `claimed` has
/// the slots (times at which the schedule was due) that processes have claimed; other slots are shown as missed.
pub(super) fn show(
    history: &[RunRecord],
    claimed: &[ClaimedSlot],
    config: &Config,
    base: &MirrorBasePath,
    now: DateTime<Utc>,
) -> Markup {
    let oldest = history.iter().map(|run| run.started_at).min();
    let missed = match (&config.schedule, oldest) {
        (Some(schedule), Some(oldest)) => {
            missed(schedule, claimed, oldest, missed_before(now, config.jitter))
        }
        _ => Vec::new(),
    };
    let bars = bars(history, &missed, now);
    html! {
        div #run_quick data-live {
            @if !bars.is_empty() {
                section aria-labelledby="glance-head" {
                    h2 #run_quick-head { "Timeline" }
                    p.soft { "Duration and outcome of "
                        @match history.len() { 1 => "the only run so far", count => { "the last " (count) " runs" } } ". "
                        // The script writes the text of the focused bar here. Without the script, only one bar can be
                        // focused by keyboard.
                        span #pointed aria-hidden="true" {} }
                    (strip(&bars, base, now))
                    (changes_chart::show(&bars))
                }
            }
        }
    }
}

fn strip(bars: &[TimelineBar<'_>], base: &MirrorBasePath, now: DateTime<Utc>) -> Markup {
    let last = bars
        .iter()
        .rposition(|bar| matches!(bar, TimelineBar::Run(_)))
        .unwrap_or(0);
    html! {
        ol #strip .strip aria-label="Runs, oldest first; arrow keys go from one to the next" {
            @for (index, bar) in bars.iter().enumerate() {
                @match bar {
                    TimelineBar::Run(run) => li {
                        a href=(base.run(run.run_id)) tabindex=(if index == last { "0" } else { "-1" })
                            aria-label=(summary(run, now)) title=(summary(run, now)) { (drawn(run, now)) }
                    },
                    TimelineBar::Missed(missed) => {
                        @let text = missed.summary();
                        li { span.missed id=(missed.name()) role="img" tabindex="-1" aria-label=(text) title=(text) {
                            svg width=(STEP) height=(HEIGHT + STEP) aria-hidden="true" {
                                rect.gap x="2" y="2" width=(STEP - 4) height=(HEIGHT - 4) {}
                            }
                        } }
                    }
                }
            }
        }
        (legend())
    }
}

fn summary(run: &RunRecord, now: DateTime<Utc>) -> String {
    let took = run.finished_at.unwrap_or(now) - run.started_at;
    let word = badges::outcome(run.outcome).word;
    let changes = counted(run.counts.changes(), "change", "changes");
    let started = run.started_at.format("%Y-%m-%d %H:%M UTC");
    format!(
        "{word}, {started}, {}, {changes}",
        duration(took.num_milliseconds())
    )
}

fn drawn(run: &RunRecord, now: DateTime<Utc>) -> Markup {
    let badge = badges::outcome(run.outcome);
    let took = (run.finished_at.unwrap_or(now) - run.started_at).num_milliseconds();
    let height = height(took);
    html! {
        svg .(badge.tone) width=(STEP) height=(HEIGHT + STEP) aria-hidden="true" {
            rect.bar x="2" y=(HEIGHT - height) width=(STEP - 4) height=(height) rx="1" {}
            (small(badge.icon))
        }
    }
}

fn small(icon: Icon) -> Markup {
    html! { use href=(format!("#{}", icon.name())) x="1" y=(HEIGHT + 2) width=(STEP - 2) height=(STEP - 2) {} }
}

/// Returns the height of a bar in SVG units, for a run of this duration. The scale is logarithmic, so that 10 ms are
/// visible beside 10 min.
fn height(milliseconds: i64) -> i64 {
    let doublings = i64::from(milliseconds.max(1).ilog2());
    (4 + doublings * (HEIGHT - 4) / 20).min(HEIGHT)
}

fn legend() -> Markup {
    let outcomes = crate::model::RunOutcome::ALL
        .iter()
        .map(|outcome| badges::outcome(Some(*outcome)));
    html! {
        p.legend {
            @for badge in outcomes { span.badge .(badge.tone) { (badge.icon.markup()) " " (badge.word) } " " }
            span.badge.calm { svg.icon viewBox="0 0 24 24" aria-hidden="true" { rect.gap x="6" y="2" width="12" height="20" {} } " Missed slot" }
            " " span.soft { "Height shows duration (10 ms to 15 min)." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_with_the_duration_and_stays_within_the_strip() {
        assert!(height(10) < height(1000));
        assert!(height(1000) < height(60_000));
        assert_eq!(height(i64::MAX), HEIGHT);
    }
}
