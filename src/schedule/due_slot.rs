//! Decides which slot (scheduled time) is due, when its run starts and when it is retried. The functions read no clock:
//! they take the current time as an argument.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, TimeDelta, Utc};

use crate::config::Schedule;

/// The longest delay before a retry, without its random part. The random part is at most as long again, so two tries
/// are at most ten minutes apart.
const LONGEST_RETRY: Duration = Duration::from_secs(5 * 60);
/// How far before the start of the current slot the clock may be set back without leaving the slot. A smaller step is
/// taken for a correction of the clock. After a larger step, the clock shows a time in another slot.
const CORRECTION: TimeDelta = TimeDelta::minutes(1);

/// A slot of the schedule: a scheduled time, and the time from then until the next scheduled time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DueSlot {
    /// The scheduled time at which the slot starts. It identifies the slot in the local database.
    pub(super) starts: DateTime<Utc>,
    /// The next scheduled time, at which the slot ends; `None` if there is none.
    ends: Option<DateTime<Utc>>,
}

/// Returns the slot that contains `now`; `None` if there is none, or if this process has already handled it. `handled`
/// is the start of the slot that this process handled last.
///
/// Slots between `handled` and `now` are skipped. If the clock was set back, the result is an earlier slot than
/// `handled`; the attempt to claim it then shows whether some process has served it already.
pub(super) fn due(
    schedule: &Schedule,
    handled: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<DueSlot> {
    let starts = schedule.latest_at_or_before(now)?;
    (handled != Some(starts)).then(|| DueSlot {
        starts,
        ends: schedule.next_after(starts),
    })
}

/// Returns the endless sequence of delays between the attempts to run a slot. Each has a random part. The average
/// delays are 45 s, 90 s, 3 min, 6 min, and then always 7.5 min if `first` is 30 s.
pub(super) fn retry_delays(first: Duration) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(first)
        .with_factor(2.0)
        .with_max_delay(LONGEST_RETRY)
        .with_jitter()
        .without_max_times()
        .build()
}

impl DueSlot {
    /// Returns the start of the slot plus a random delay: at most `longest`, and at most half the slot, so that a retry
    /// still fits. The same slot and seed always give the same delay.
    pub(super) fn delayed_start(&self, longest: Duration, seed: &RandomState) -> DateTime<Utc> {
        let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let half_ms = self.ends.map_or(u64::MAX, |ends| {
            (ends - self.starts).num_milliseconds().unsigned_abs() / 2
        });
        let choices = longest_ms.min(half_ms).saturating_add(1);
        let delay = Duration::from_millis(seed.hash_one(self.starts) % choices);
        TimeDelta::from_std(delay)
            .ok()
            .and_then(|delay| self.starts.checked_add_signed(delay))
            .unwrap_or(self.starts)
    }

    /// Whether the slot is the current one at `now`: `now` is in the slot, or at most [`CORRECTION`] before its start.
    pub(super) fn holds(&self, now: DateTime<Utc>) -> bool {
        self.starts - CORRECTION <= now && self.ends.is_none_or(|ends| now < ends)
    }

    /// Whether the slot began more than `limit` before `now`. Without a limit, it did not.
    pub(super) fn is_later_than(&self, limit: Option<Duration>, now: DateTime<Utc>) -> bool {
        let late = (now - self.starts).to_std().unwrap_or_default();
        limit.is_some_and(|limit| late > limit)
    }

    /// Returns the time of the next attempt to run the slot, `delay` after `now`. Returns `None` if that time is in the
    /// next slot, which has a run of its own.
    pub(super) fn next_try(&self, now: DateTime<Utc>, delay: Duration) -> Option<DateTime<Utc>> {
        let next = now.checked_add_signed(TimeDelta::from_std(delay).ok()?)?;
        self.ends.is_none_or(|ends| next < ends).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use chrono_tz::Tz;
    use quickcheck::quickcheck;

    use super::*;

    const NINE: &str = "2026-11-23T09:00:00Z";
    const TEN: &str = "2026-11-23T10:00:00Z";
    const ELEVEN: &str = "2026-11-23T11:00:00Z";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn hourly() -> Schedule {
        Schedule::parse("@hourly", Tz::UTC).unwrap()
    }

    fn slot_of_ten() -> DueSlot {
        DueSlot {
            starts: at(TEN),
            ends: Some(at(ELEVEN)),
        }
    }

    #[test]
    fn a_process_that_starts_makes_up_the_latest_slot_only() {
        assert_eq!(
            due(&hourly(), None, at("2026-11-23T10:59:59Z")),
            Some(slot_of_ten())
        );
    }

    #[test]
    fn a_slot_is_due_at_its_very_instant_and_once() {
        let schedule = hourly();
        assert_eq!(
            due(
                &schedule,
                Some(at(NINE)),
                at(TEN) - TimeDelta::milliseconds(1)
            ),
            None
        );
        assert_eq!(due(&schedule, Some(at(NINE)), at(TEN)), Some(slot_of_ten()));
        assert_eq!(
            due(&schedule, Some(at(TEN)), at("2026-11-23T10:59:59Z")),
            None
        );
    }

    #[test]
    fn after_a_suspend_over_several_slots_only_the_latest_is_due() {
        let handled = Some(at("2026-11-20T03:00:00Z"));
        assert_eq!(
            due(&hourly(), handled, at("2026-11-23T10:07:00Z")),
            Some(slot_of_ten())
        );
    }

    #[test]
    fn a_clock_that_was_years_ahead_does_not_stop_the_schedule() {
        let handled = Some(at("2037-01-01T00:00:00Z"));
        assert_eq!(
            due(&hourly(), handled, at("2026-11-23T10:07:00Z")),
            Some(slot_of_ten())
        );
    }

    #[test]
    fn a_schedule_of_a_coming_year_is_not_due_yet() {
        let schedule = Schedule::parse("0 0 * * * * 2030", Tz::UTC).unwrap();
        assert_eq!(due(&schedule, None, at(TEN)), None);
    }

    #[test]
    fn a_slot_ends_where_the_next_begins_and_stands_a_corrected_clock() {
        let slot = slot_of_ten();
        assert!(slot.holds(at(TEN)));
        assert!(slot.holds(at("2026-11-23T09:59:58Z")));
        assert!(!slot.holds(at("2026-11-23T09:30:00Z")));
        assert!(!slot.holds(at(ELEVEN)));
    }

    #[test]
    fn a_retry_that_would_reach_the_next_slot_is_left_to_it() {
        let slot = slot_of_ten();
        let now = at("2026-11-23T10:59:00Z");
        let half_a_minute = Duration::from_secs(30);
        assert_eq!(
            slot.next_try(now, half_a_minute),
            Some(at("2026-11-23T10:59:30Z"))
        );
        assert_eq!(slot.next_try(now, half_a_minute * 2), None);
        assert_eq!(slot.next_try(now, Duration::MAX), None);
    }

    #[test]
    fn retries_start_within_a_minute_and_go_on_at_most_ten_minutes_apart() {
        let delays: Vec<Duration> = retry_delays(Duration::from_secs(30)).take(50).collect();
        assert!((30..=60).contains(&delays[0].as_secs()), "{delays:?}");
        assert!((60..=120).contains(&delays[1].as_secs()), "{delays:?}");
        assert!(
            delays
                .iter()
                .all(|delay| *delay <= Duration::from_secs(600)),
            "{delays:?}"
        );
        assert_eq!(delays.len(), 50);
    }

    #[test]
    fn a_slot_is_made_up_within_the_limit_only() {
        let hour = Duration::from_secs(3600);
        for (now, limit, is_late) in [
            ("2026-11-23T10:59:59Z", None, false),
            ("2026-11-23T10:59:59Z", Some(hour), false),
            ("2026-11-23T10:20:00Z", Some(hour / 3), false),
            ("2026-11-23T10:20:01Z", Some(hour / 3), true),
            ("2026-11-23T09:59:59Z", Some(hour / 3), false),
        ] {
            assert_eq!(
                slot_of_ten().is_later_than(limit, at(now)),
                is_late,
                "{now}"
            );
        }
    }

    #[test]
    fn without_jitter_a_slot_starts_on_time() {
        let slot = slot_of_ten();
        let start = slot.delayed_start(Duration::ZERO, &RandomState::new());
        assert_eq!(start, slot.starts);
    }

    #[test]
    fn processes_draw_different_delays() {
        let ten_minutes = Duration::from_secs(600);
        let starts: HashSet<DateTime<Utc>> = (0..20)
            .map(|_| slot_of_ten().delayed_start(ten_minutes, &RandomState::new()))
            .collect();
        assert!(starts.len() > 10, "{starts:?}");
    }

    quickcheck! {
        fn a_delay_stays_within_its_setting_and_half_the_slot(longest: u64, last: bool) -> bool {
            let bounds = [Duration::from_millis(longest % 7_200_000), Duration::from_millis(longest)];
            let mut slot = slot_of_ten();
            if last {
                slot.ends = None;
            }
            bounds.into_iter().all(|longest| {
                let seed = RandomState::new();
                let start = slot.delayed_start(longest, &seed);
                let delay = (start - slot.starts).to_std().unwrap();
                start == slot.delayed_start(longest, &seed)
                    && delay <= longest
                    && (last || delay <= Duration::from_secs(30 * 60))
            })
        }
    }
}
