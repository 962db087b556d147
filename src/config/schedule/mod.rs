//! Parses a cron line in a named time zone, and finds the instants at which it fires.
//!
//! Fields: a line has five fields as in crontab(5) (minute, hour, day of month, month, weekday), six with seconds
//! first, or seven with the year last; or it is a nickname such as `@hourly`. In all of these, 0 and 7 are Sunday, as
//! in Node, Spring and crontab. Quartz and AWS, however, count from 1 = Sunday. A line that looks like one of theirs
//! (`?` for the day, a number for the weekday) is refused, because it would otherwise silently run a day late.
//!
//! Days: the rule is that of Vixie cron. A day field is restricted unless it starts with `*`, as `*/2` does, or is `?`.
//! If both day of month and weekday are restricted, a day matches if either field matches; otherwise both fields must
//! match.
//!
//! Clock changes: a *slot* is the local time at which a line is due to fire.
//!
//! - A slot that a clock change skips fires at the first instant after the change.
//! - A slot that a clock change repeats fires once, the first time.
//! - If the hour field starts with `*` or names every hour, a repeated slot fires both times, so that an hourly line
//!   fires each real hour. A skipped slot of such a line does not fire if the next slot follows soon after the change:
//!   within the length of the skipped time.
//!
//! The `cron` crate finds the slots. The modules here add checks with helpful messages (`parse_cron_fields`), the
//! translation into the notation of the crate (`zoneless_firing_times`), and the clock changes (this file).

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

use parse_cron_fields::CronFields;
use zoneless_firing_times::FiringTimes;

pub use error::ScheduleError;

mod zoneless_firing_times;

mod describe;
mod error;
mod parse_cron_fields;
#[cfg(test)]
mod tests;

/// A cron line in a named time zone. There is at least one time at which it fires.
#[derive(Clone)]
pub struct Schedule {
    line: String,
    zone: Tz,
    fields: CronFields,
    slots: FiringTimes,
}

/// If a clock change repeats a local time, which of the two instants is meant.
#[derive(Clone, Copy)]
enum RepeatedTimeChoice {
    First,
    Second,
}

/// Writes the cron line and the time zone, which together identify a schedule.
impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.line, self.zone)
    }
}

impl Schedule {
    /// Parses a cron line of 5, 6 (seconds first) or 7 (year last) fields, or one of `@hourly`, `@daily`, `@midnight`,
    /// `@weekly`, `@monthly`, `@yearly`, `@annually`.
    pub fn parse(line: &str, zone: Tz) -> Result<Self, ScheduleError> {
        let fields = CronFields::parse(line)?;
        let slots = FiringTimes::new(&fields);
        if !slots.any() {
            return Err(ScheduleError::NeverFires {
                line: line.trim().to_owned(),
            });
        }
        Ok(Self {
            line: line.trim().to_owned(),
            zone,
            fields,
            slots,
        })
    }

    /// Returns the schedule unchanged if it fires after `now`. Error: all years that it names are over.
    pub fn still_fires(self, now: DateTime<Utc>) -> Result<Self, ScheduleError> {
        match self.next_after(now) {
            Some(_) => Ok(self),
            None => Err(ScheduleError::Over { line: self.line }),
        }
    }

    /// Returns the first instant after `instant` at which the line fires; `None` if there is none.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let instant = within_years(instant)?;
        let (local, repeated) = self.local(instant);
        self.occurrences()
            .filter_map(|occurrence| {
                self.slots
                    .after(local - repeated)
                    .filter_map(|slot| self.fires_at(slot, occurrence))
                    .find(|firing| *firing > instant)
            })
            .min()
    }

    /// Returns the last instant, `instant` included, at which the line fired; `None` if it has not fired yet.
    pub fn latest_at_or_before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let instant = within_years(instant)?;
        let (local, repeated) = self.local(instant);
        self.occurrences()
            .filter_map(|occurrence| {
                self.slots
                    .before(local + repeated + TimeDelta::seconds(1))
                    .filter_map(|slot| self.fires_at(slot, occurrence))
                    .find(|firing| *firing <= instant)
            })
            .max()
    }

    /// Returns the cron line as it was written.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Returns the time zone of the cron line.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// Describes the schedule in words, such as `every hour at minute 0`. An unusual schedule is shown as its cron
    /// line.
    pub fn describe(&self) -> String {
        describe::in_words(&self.fields, self.zone)
            .unwrap_or_else(|| format!("cron `{}` ({})", self.line, self.zone))
    }

    /// Returns at which instants a slot fires that a clock change repeats: at both if the line fires by the hour,
    /// otherwise at the first. [`Schedule::next_after`] and [`Schedule::latest_at_or_before`] search for first and
    /// second instants separately, because only the instants of one kind are in the order of their slots.
    fn occurrences(&self) -> impl Iterator<Item = RepeatedTimeChoice> + use<> {
        let both = self.fields.runs_by_the_hour();
        [RepeatedTimeChoice::First, RepeatedTimeChoice::Second]
            .into_iter()
            .take(if both { 2 } else { 1 })
    }

    /// Returns the local time at `instant`, and by how much a clock change sets the clock back if it repeats this local
    /// time (otherwise zero).
    fn local(&self, instant: DateTime<Utc>) -> (NaiveDateTime, TimeDelta) {
        let local = instant.with_timezone(&self.zone).naive_local();
        let repeated = match self.zone.from_local_datetime(&local) {
            MappedLocalTime::Ambiguous(one, other) => (other - one).abs(),
            MappedLocalTime::Single(_) | MappedLocalTime::None => TimeDelta::zero(),
        };
        (local, repeated)
    }

    /// Returns the instant at which `slot` fires; `occurrence` chooses one of two if a clock change repeats the slot.
    /// `None` if a clock change skips the slot and it does not fire.
    fn fires_at(
        &self,
        slot: NaiveDateTime,
        occurrence: RepeatedTimeChoice,
    ) -> Option<DateTime<Utc>> {
        match (self.zone.from_local_datetime(&slot), occurrence) {
            (MappedLocalTime::Single(only), _) => Some(only.to_utc()),
            (MappedLocalTime::Ambiguous(one, other), RepeatedTimeChoice::First) => {
                Some(one.min(other).to_utc())
            }
            (MappedLocalTime::Ambiguous(one, other), RepeatedTimeChoice::Second) => {
                Some(one.max(other).to_utc())
            }
            (MappedLocalTime::None, _) => self.skipped_slot_fires_at(slot),
        }
    }

    /// Returns the instant at which a slot fires that a clock change skips: the first instant after the change. `None`
    /// if it does not fire, because the line fires soon after the change anyway.
    fn skipped_slot_fires_at(&self, slot: NaiveDateTime) -> Option<DateTime<Utc>> {
        let gap = GapInfo::new(&slot, &self.zone)?;
        let (begin, _) = gap.begin?;
        let end = gap.end?;
        let resumes = end.naive_local();
        let fires_anyway = self.fields.runs_by_the_hour()
            && self
                .slots
                .after(resumes - TimeDelta::seconds(1))
                .next()
                .is_some_and(|next| next - resumes < resumes - begin);
        (!fires_anyway).then(|| end.to_utc())
    }
}

impl std::fmt::Debug for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schedule")
            .field("line", &self.line)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

/// Cuts an instant to whole seconds, and limits it to the years that a line can name, with two days more at each end.
/// Inside this range, arithmetic cannot overflow. Outside it, no line fires.
fn within_years(instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
    const FIRST: i64 = -2 * 86_400;
    const LAST: i64 = 4_102_444_800 + 2 * 86_400; // 2100-01-03
    DateTime::from_timestamp(instant.timestamp().clamp(FIRST, LAST), 0)
}
