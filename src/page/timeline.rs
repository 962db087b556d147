//! The timeline of the last runs: a strip with a bar for each run, and a chart of what the runs changed.
//!
//! A bar's height shows the run's duration; its colour and icon show the outcome. A dashed bar stands for one or more
//! slots of the schedule that no process claimed. The table of runs has the same facts in words.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

use super::changes_chart;
use super::format::{counted, duration, number};
use super::page_paths::MirrorPaths;
use crate::clock;
use crate::config::{Config, Schedule};
use crate::looks;
use crate::looks::icons::Icon;
use crate::mirrors::ClaimedSlot;
use crate::mirrors::state::status::RunRecord;
use crate::model::saturating_i64;

/// The height of the highest bar, in SVG units.
pub(super) const HEIGHT: i64 = 48;
/// The width of a bar and its gap, in SVG units.
pub(super) const STEP: i64 = 14;
/// How many missed slots in a row are counted at most. The text then says that there are more.
const MOST_MISSED: usize = 100;
/// How long a slot may stay unclaimed before it counts as missed. The jitter of the schedule is added to it.
const GRACE: TimeDelta = TimeDelta::minutes(10);

/// A bar of the strip.
pub(super) enum Bar<'a> {
    Run(&'a RunRecord),
    Missed(Missed),
}

/// Consecutive slots that no process claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    first: DateTime<Utc>,
    count: usize,
    /// Whether more slots were missed than `count` says.
    and_more: bool,
}

/// Renders the strip and the chart. `history` is newest first.
pub(super) fn show(
    history: &[RunRecord],
    claimed: &[ClaimedSlot],
    config: &Config,
    base: &MirrorPaths,
    now: DateTime<Utc>,
) -> Markup {
    let oldest = history.iter().map(|run| run.started_at).min();
    let missed = match (&config.schedule, oldest) {
        (Some(schedule), Some(oldest)) => {
            missed(schedule, claimed, (oldest, over(now, config.jitter)))
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

/// Returns the latest time at which an unclaimed slot already counts as missed.
fn over(now: DateTime<Utc>, jitter: Duration) -> DateTime<Utc> {
    now - GRACE - TimeDelta::from_std(jitter).unwrap_or_default()
}

/// Returns the slots between `from` and `to` that no process claimed, in groups: one group for each claimed slot that
/// they follow. Gaps next to a slot that was claimed under another schedule are left out, because the slots of that
/// schedule are unknown.
fn missed(
    schedule: &Schedule,
    claimed: &[ClaimedSlot],
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Vec<Vec<DateTime<Utc>>> {
    let name = schedule.to_string();
    let is_ours = |slot: &ClaimedSlot| slot.schedule.as_ref() == Some(&name);
    let ends = claimed.iter().skip(1).map(Some).chain([None]);
    let gaps = claimed.iter().zip(ends);
    let ours = gaps.filter(|(slot, next)| is_ours(slot) && next.is_none_or(is_ours));
    let gap = |(slot, next): (&ClaimedSlot, Option<&ClaimedSlot>)| {
        let first = schedule.next_after(slot.at.max(from - TimeDelta::seconds(1)));
        let slots = std::iter::successors(first, |slot| schedule.next_after(*slot));
        let is_between = |slot: &DateTime<Utc>| next.map_or(*slot <= to, |next| *slot < next.at);
        slots.take_while(is_between).take(MOST_MISSED + 1).collect()
    };
    ours.map(gap).collect()
}

/// Returns the bars, oldest first: the runs, with the missed slots between them. A run that is dated in the future
/// stays before the run that followed it.
fn bars<'a>(
    history: &'a [RunRecord],
    gaps: &[Vec<DateTime<Utc>>],
    now: DateTime<Utc>,
) -> Vec<Bar<'a>> {
    let is_by =
        |run: &RunRecord, slot| run.started_at <= slot || clock::lies_ahead(run.started_at, now);
    let mut bars = Vec::new();
    let mut runs = history.iter().rev().peekable();
    for gap in gaps {
        let mut rest = gap.as_slice();
        while let Some(first) = rest.first() {
            while let Some(run) = runs.next_if(|run| is_by(run, *first)) {
                bars.push(Bar::Run(run));
            }
            let next = runs.peek().map(|run| run.started_at);
            let count = rest.partition_point(|slot| next.is_none_or(|next| *slot < next));
            let (here, later) = rest.split_at(count);
            bars.push(Bar::Missed(Missed {
                first: *first,
                count: here.len().min(MOST_MISSED),
                and_more: later.is_empty() && gap.len() > MOST_MISSED,
            }));
            rest = later;
        }
    }
    bars.extend(runs.map(Bar::Run));
    bars
}

fn strip(bars: &[Bar<'_>], base: &MirrorPaths, now: DateTime<Utc>) -> Markup {
    let last = bars
        .iter()
        .rposition(|bar| matches!(bar, Bar::Run(_)))
        .unwrap_or(0);
    html! {
        ol #strip .strip aria-label="Runs, oldest first; arrow keys go from one to the next" {
            @for (index, bar) in bars.iter().enumerate() {
                @match bar {
                    Bar::Run(run) => li {
                        a href=(base.run(run.run_id)) tabindex=(if index == last { "0" } else { "-1" })
                            aria-label=(said(run, now)) title=(said(run, now)) { (drawn(run, now)) }
                    },
                    Bar::Missed(missed) => {
                        @let text = missed.said();
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

impl Missed {
    /// The id of the HTML element. It stays the same when later runs are added.
    fn name(&self) -> String {
        format!("missed-{}", self.first.timestamp())
    }

    fn said(&self) -> String {
        let count = saturating_i64(self.count);
        let more = if self.and_more { " or more" } else { "" };
        let slots = if self.count == 1 { "slot" } else { "slots" };
        let first = self.first.format("%Y-%m-%d %H:%M UTC");
        format!("{}{more} {slots} missed from {first}", number(count))
    }
}

fn said(run: &RunRecord, now: DateTime<Utc>) -> String {
    let took = run.finished_at.unwrap_or(now) - run.started_at;
    let word = looks::outcome(run.outcome).word;
    let changes = counted(run.counts.changes(), "change", "changes");
    let started = run.started_at.format("%Y-%m-%d %H:%M UTC");
    format!(
        "{word}, {started}, {}, {changes}",
        duration(took.num_milliseconds())
    )
}

fn drawn(run: &RunRecord, now: DateTime<Utc>) -> Markup {
    let look = looks::outcome(run.outcome);
    let took = (run.finished_at.unwrap_or(now) - run.started_at).num_milliseconds();
    let height = height(took);
    html! {
        svg .(look.tone) width=(STEP) height=(HEIGHT + STEP) aria-hidden="true" {
            rect.bar x="2" y=(HEIGHT - height) width=(STEP - 4) height=(height) rx="1" {}
            (small(look.icon))
        }
    }
}

fn small(icon: Icon) -> Markup {
    html! { use href=(format!("#{}", icon.name())) x="1" y=(HEIGHT + 2) width=(STEP - 2) height=(STEP - 2) {} }
}

/// The height of a bar. The scale is logarithmic, so that 10 ms are visible beside 10 min.
fn height(milliseconds: i64) -> i64 {
    let doublings = i64::from(milliseconds.max(1).ilog2());
    (4 + doublings * (HEIGHT - 4) / 20).min(HEIGHT)
}

fn legend() -> Markup {
    let outcomes = crate::model::Outcome::ALL
        .iter()
        .map(|outcome| looks::outcome(Some(*outcome)));
    html! {
        p.legend {
            @for look in outcomes { span.badge .(look.tone) { (look.icon.markup()) " " (look.word) } " " }
            span.badge.calm { svg.icon viewBox="0 0 24 24" aria-hidden="true" { rect.gap x="6" y="2" width="12" height="20" {} } " Missed slot" }
            " " span.soft { "Height shows duration (10 ms to 15 min)." }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(trigger: &str, started: &str) -> RunRecord {
        let counts = json!({"inserted": 0, "updated": 0, "deactivated": 0, "reactivated": 0, "unchanged": 1, "rejected": 0});
        let at = format!("2026-11-26T{started}Z");
        serde_json::from_value(json!({
            "run_id": "0190c2f1-7a00-7000-8000-000000000001", "trigger": trigger, "dry_run": false, "outcome": "no_change",
            "started_at": at, "finished_at": at, "counts": counts, "remote_bytes": 0, "changes_truncated": false,
        }))
        .expect("a run")
    }

    fn at(time: &str) -> DateTime<Utc> {
        format!("2026-11-26T{time}Z").parse().expect("a time")
    }

    fn hourly() -> Schedule {
        Schedule::parse("0 * * * *", chrono_tz::UTC).expect("a schedule")
    }

    /// Returns the texts of the strip's bars for these runs, and for slots that were claimed under the schedule `by`.
    fn seen(history: &[RunRecord], claimed: &[&str], by: &str, now: &str) -> Vec<String> {
        let slot = |time: &&str| ClaimedSlot {
            at: at(&format!("{time}:00")),
            schedule: Some(by.to_owned()),
        };
        let claimed: Vec<ClaimedSlot> = claimed.iter().map(slot).collect();
        let from = history
            .iter()
            .map(|run| run.started_at)
            .min()
            .expect("a run");
        let to = over(at(now), Duration::from_secs(30));
        let missed = missed(&hourly(), &claimed, (from, to));
        let bars = bars(history, &missed, at(now));
        let seen = bars.iter().map(|bar| match bar {
            Bar::Run(run) => run.started_at.format("%H:%M").to_string(),
            Bar::Missed(missed) => {
                format!("{} from {}", missed.count, missed.first.format("%H:%M"))
            }
        });
        seen.collect()
    }

    const HOURLY: &str = "0 * * * * UTC";

    #[test]
    fn a_run_that_is_dated_in_the_future_hides_no_gap() {
        let history = [
            run("schedule", "14:00:12"),
            run("schedule", "11:00:05"),
            run("schedule", "23:00:00"),
        ];
        assert_eq!(
            seen(&history, &["11:00", "14:00"], HOURLY, "14:30:00"),
            ["23:00", "11:00", "2 from 12:00", "14:00"]
        );
    }

    #[test]
    fn a_slot_that_nobody_claimed_is_a_gap_among_the_runs_of_its_time() {
        let history = [
            run("schedule", "14:00:12"),
            run("page", "12:30:00"),
            run("schedule", "11:00:05"),
            run("schedule", "10:00:07"),
        ];
        assert_eq!(
            seen(&history, &["10:00", "11:00", "14:00"], HOURLY, "14:30:00"),
            [
                "10:00",
                "11:00",
                "1 from 12:00",
                "12:30",
                "1 from 13:00",
                "14:00"
            ]
        );
    }

    #[test]
    fn a_slot_is_missed_only_when_its_grace_is_over() {
        let history = [run("schedule", "10:00:07")];
        assert_eq!(seen(&history, &["10:00"], HOURLY, "11:10:00"), ["10:00"]);
        assert_eq!(
            seen(&history, &["10:00"], HOURLY, "11:11:00"),
            ["10:00", "1 from 11:00"]
        );
    }

    #[test]
    fn a_catch_up_leaves_the_slots_before_its_own_missed() {
        let history = [run("startup", "14:20:00"), run("schedule", "10:00:07")];
        assert_eq!(
            seen(&history, &["10:00", "14:00"], HOURLY, "14:21:00"),
            ["10:00", "3 from 11:00", "14:20"]
        );
    }

    #[test]
    fn slots_are_missed_also_where_no_run_that_is_shown_was_scheduled() {
        let history = [
            run("page", "14:20:00"),
            run("page", "14:10:00"),
            run("page", "12:50:00"),
        ];
        assert_eq!(
            seen(&history, &["10:00"], HOURLY, "14:30:00"),
            ["12:50", "2 from 13:00", "14:10", "14:20"]
        );
    }

    #[test]
    fn what_another_schedule_would_have_missed_is_not_told() {
        let history = [run("schedule", "14:00:12"), run("schedule", "10:00:07")];
        assert_eq!(
            seen(&history, &["10:00", "14:00"], "0 */4 * * * UTC", "16:30:00"),
            ["10:00", "14:00"]
        );
    }

    #[test]
    fn more_than_are_counted_are_called_more() {
        let schedule = Schedule::parse("* * * * *", chrono_tz::UTC).expect("a schedule");
        let claimed = [ClaimedSlot {
            at: at("10:00:00"),
            schedule: Some(schedule.to_string()),
        }];
        let missed = missed(&schedule, &claimed, (at("10:00:00"), at("20:00:00")));
        let history = [run("schedule", "10:00:01")];
        let bars = bars(&history, &missed, at("14:30:00"));
        let Some(Bar::Missed(missed)) = bars.last() else {
            panic!("nothing missed");
        };
        assert_eq!(
            missed.said(),
            "100 or more slots missed from 2026-11-26 10:01 UTC"
        );
    }

    #[test]
    fn a_bar_grows_with_the_duration_and_stays_within_the_strip() {
        assert!(height(10) < height(1000));
        assert!(height(1000) < height(60_000));
        assert_eq!(height(i64::MAX), HEIGHT);
    }
}
