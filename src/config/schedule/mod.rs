//! A cron line in a named time zone, checked and turned into instants.
//!
//! **Fields.** Five as in crontab(5) (minute, hour, day of month, month, weekday), six with seconds
//! first, seven with the year last, or a nickname such as `@hourly`. Weekdays are numbered alike in
//! all of them: 0 and 7 are Sunday. Node, Spring and crontab number so; only Quartz and AWS count
//! from 1 = Sunday, and a line that looks like theirs (`?` for the day, a number for the weekday) is
//! refused instead of running a day late in silence.
//!
//! **Days.** As in Vixie cron: when both day of month and weekday are restricted, a day that matches
//! either will do; otherwise both must match. A field that starts with `*` (or `?`) is not
//! restricted, `*/2` included.
//!
//! **Clock changes.** A slot is a local time. One that a change skips fires at the first instant
//! after the change. One that a change repeats fires once, the first time, unless the hour field
//! starts with `*` or names every hour: then it fires both times, so that an hourly line fires each
//! real hour. Such a line does not make up a skipped slot when it fires anyway within the skipped
//! length after the change.
//!
//! The `cron` crate finds the slots; what it does not do is done around it: the checks with messages
//! that name the field (`fields`), the translation into its notation (`slots`), the clock changes (here).

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

use fields::Fields;
use slots::Slots;

pub use error::ScheduleError;

mod describe;
mod error;
mod fields;
mod slots;
#[cfg(test)]
mod tests;

/// A schedule that fires: a cron line in a named time zone.
#[derive(Clone)]
pub struct Schedule {
    line: String,
    zone: Tz,
    fields: Fields,
    slots: Slots,
}

/// Which of two equal local times is meant where a clock change repeats one.
#[derive(Clone, Copy)]
enum Pass {
    First,
    Second,
}

/// What tells it from another: its line and its zone.
impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.line, self.zone)
    }
}

impl Schedule {
    /// Reads a cron line of 5, 6 (seconds first) or 7 (year last) fields, or one of `@hourly`,
    /// `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`.
    pub fn parse(line: &str, zone: Tz) -> Result<Self, ScheduleError> {
        let fields = Fields::parse(line)?;
        let slots = Slots::new(&fields);
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

    /// The same schedule, or an error when its years are over at `now`.
    pub fn still_fires(self, now: DateTime<Utc>) -> Result<Self, ScheduleError> {
        match self.next_after(now) {
            Some(_) => Ok(self),
            None => Err(ScheduleError::Over { line: self.line }),
        }
    }

    /// The first firing after `instant`; `None` once the last year is over.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let instant = within_years(instant)?;
        let (local, repeated) = self.local(instant);
        self.passes()
            .filter_map(|pass| {
                self.slots
                    .after(local - repeated)
                    .filter_map(|slot| self.fires_at(slot, pass))
                    .find(|firing| *firing > instant)
            })
            .min()
    }

    /// The last firing at or before `instant`; `None` before the first year.
    pub fn latest_at_or_before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let instant = within_years(instant)?;
        let (local, repeated) = self.local(instant);
        self.passes()
            .filter_map(|pass| {
                self.slots
                    .before(local + repeated + TimeDelta::seconds(1))
                    .filter_map(|slot| self.fires_at(slot, pass))
                    .find(|firing| *firing <= instant)
            })
            .max()
    }

    /// The line as it was written.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The zone it is read in.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The schedule in words, such as `every hour at minute 0`; an unusual one as its line.
    pub fn describe(&self) -> String {
        describe::in_words(&self.fields, self.zone)
            .unwrap_or_else(|| format!("cron `{}` ({})", self.line, self.zone))
    }

    /// Within one pass, later slots never fire earlier: the two searches above rely on it.
    fn passes(&self) -> impl Iterator<Item = Pass> + use<> {
        let both = self.fields.runs_by_the_hour();
        [Pass::First, Pass::Second]
            .into_iter()
            .take(if both { 2 } else { 1 })
    }

    /// The local time at `instant`, and how much of local time is being repeated there.
    fn local(&self, instant: DateTime<Utc>) -> (NaiveDateTime, TimeDelta) {
        let local = instant.with_timezone(&self.zone).naive_local();
        let repeated = match self.zone.from_local_datetime(&local) {
            MappedLocalTime::Ambiguous(one, other) => (other - one).abs(),
            MappedLocalTime::Single(_) | MappedLocalTime::None => TimeDelta::zero(),
        };
        (local, repeated)
    }

    /// When the local time `slot` fires; `None` if it is skipped and not made up.
    fn fires_at(&self, slot: NaiveDateTime, pass: Pass) -> Option<DateTime<Utc>> {
        match (self.zone.from_local_datetime(&slot), pass) {
            (MappedLocalTime::Single(only), _) => Some(only.to_utc()),
            (MappedLocalTime::Ambiguous(one, other), Pass::First) => Some(one.min(other).to_utc()),
            (MappedLocalTime::Ambiguous(one, other), Pass::Second) => Some(one.max(other).to_utc()),
            (MappedLocalTime::None, _) => self.made_up_at(slot),
        }
    }

    /// When a slot skipped by a clock change fires instead.
    fn made_up_at(&self, slot: NaiveDateTime) -> Option<DateTime<Utc>> {
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

/// Brings an instant to whole seconds and to within two days of the years a line can name, where
/// arithmetic on it cannot overflow and no firing lies beyond.
fn within_years(instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
    const FIRST: i64 = -2 * 86_400;
    const LAST: i64 = 4_102_444_800 + 2 * 86_400; // 2100-01-03
    DateTime::from_timestamp(instant.timestamp().clamp(FIRST, LAST), 0)
}
