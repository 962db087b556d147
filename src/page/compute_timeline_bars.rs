//! Computes the bars of the timeline: the last runs, and between them the missed slots, times at which the schedule was
//! due and that no process claimed.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::format_values::number;
use crate::config::Schedule;
use crate::machine_clock;
use crate::mirrors::ClaimedSlot;
use crate::model::{RunRecord, saturating_i64};

/// The height of the highest bar, in SVG units.
pub(super) const HEIGHT: i64 = 48;
/// The width of a bar together with the space to the next bar, in SVG units.
pub(super) const STEP: i64 = 14;
/// How many missed slots (times at which the schedule was due) in a row are counted at most. The text then says that
/// there are more.
const MOST_MISSED: usize = 100;
/// How long after a slot (a time at which the schedule is due) it counts as missed if no process has claimed it. The
/// jitter of the schedule is added.
const GRACE: TimeDelta = TimeDelta::minutes(10);

/// A bar of the timeline: a run, or missed slots.
pub(super) enum TimelineBar<'a> {
    Run(&'a RunRecord),
    Missed(MissedSlots),
}

/// Consecutive slots (times at which the schedule was due) that no process claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MissedSlots {
    first: DateTime<Utc>,
    count: usize,
    /// Whether more than `count` slots were missed, because not all were counted.
    and_more: bool,
}

impl MissedSlots {
    /// Returns the id of the bar's HTML element. It depends only on the first slot, so that it stays the same when
    /// later runs are added.
    pub(super) fn name(&self) -> String {
        format!("missed-{}", self.first.timestamp())
    }

    pub(super) fn summary(&self) -> String {
        let count = saturating_i64(self.count);
        let more = if self.and_more { " or more" } else { "" };
        let slots = if self.count == 1 { "slot" } else { "slots" };
        let first = self.first.format("%Y-%m-%d %H:%M UTC");
        format!("{}{more} {slots} missed from {first}", number(count))
    }
}

/// Returns the time up to which an unclaimed slot counts as missed: `now` minus [`GRACE`] and the jitter of the
/// schedule.
pub(super) fn missed_before(now: DateTime<Utc>, jitter: Duration) -> DateTime<Utc> {
    now - GRACE - TimeDelta::from_std(jitter).unwrap_or_default()
}

/// Returns the slots between `from` and `to` that no process claimed, in groups, oldest first. Each group has the slots
/// between two claimed ones, but at most one more than [`MOST_MISSED`]. Leaves out a group next to a slot that was
/// claimed under another schedule, because it is unknown when that schedule was due.
pub(super) fn missed(
    schedule: &Schedule,
    claimed: &[ClaimedSlot],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
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

/// Returns the bars, oldest first: the runs of `history` (newest first), and between them the missed slots of `gaps`. A
/// run whose start is in the future, because a clock was wrong, keeps its position in `history`.
pub(super) fn bars<'a>(
    history: &'a [RunRecord],
    gaps: &[Vec<DateTime<Utc>>],
    now: DateTime<Utc>,
) -> Vec<TimelineBar<'a>> {
    let is_by = |run: &RunRecord, slot| {
        run.started_at <= slot || machine_clock::lies_ahead(run.started_at, now)
    };
    let mut bars = Vec::new();
    let mut runs = history.iter().rev().peekable();
    for gap in gaps {
        let mut rest = gap.as_slice();
        while let Some(first) = rest.first() {
            while let Some(run) = runs.next_if(|run| is_by(run, *first)) {
                bars.push(TimelineBar::Run(run));
            }
            let next = runs.peek().map(|run| run.started_at);
            let count = rest.partition_point(|slot| next.is_none_or(|next| *slot < next));
            let (here, later) = rest.split_at(count);
            bars.push(TimelineBar::Missed(MissedSlots {
                first: *first,
                count: here.len().min(MOST_MISSED),
                and_more: later.is_empty() && gap.len() > MOST_MISSED,
            }));
            rest = later;
        }
    }
    bars.extend(runs.map(TimelineBar::Run));
    bars
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

    /// Returns the texts of the bars for these runs, and for slots that were claimed under the schedule `by`.
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
        let to = missed_before(at(now), Duration::from_secs(30));
        let missed = missed(&hourly(), &claimed, from, to);
        let bars = bars(history, &missed, at(now));
        let seen = bars.iter().map(|bar| match bar {
            TimelineBar::Run(run) => run.started_at.format("%H:%M").to_string(),
            TimelineBar::Missed(missed) => {
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
        let missed = missed(&schedule, &claimed, at("10:00:00"), at("20:00:00"));
        let history = [run("schedule", "10:00:01")];
        let bars = bars(&history, &missed, at("14:30:00"));
        let Some(TimelineBar::Missed(missed)) = bars.last() else {
            panic!("nothing missed");
        };
        assert_eq!(
            missed.summary(),
            "100 or more slots missed from 2026-11-26 10:01 UTC"
        );
    }
}
