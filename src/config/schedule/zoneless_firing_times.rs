//! Finds the local times at which a cron line fires, forwards and backwards, with the `cron` crate. This module knows
//! no time zone and no clock.
//!
//! The crate reads lines in the notation of Quartz: seconds first, weekdays from 1 = Sunday, years to 2100, and a day
//! must match both day of month and weekday. So this module writes the checked fields as lists of values in that
//! notation, and as two lines if a day may match either field. It passes local times to the crate as if they were UTC.
//! With a real time zone, the crate would drop the firing times that a clock change skips.

use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use cron::TimeUnitSpec;

use super::parse_cron_fields::CronFields;

/// The local times (*slots*) at which a cron line fires. They are stored as one line in the notation of Quartz, or as
/// two lines whose firing times are merged.
#[derive(Clone)]
pub(super) struct FiringTimes(Vec<cron::Schedule>);

impl FiringTimes {
    pub(super) fn new(fields: &CronFields) -> Self {
        let days = list(&fields.days_of_month.set);
        let weekdays = list(fields.weekdays.set.iter().map(|from_zero| from_zero + 1));
        let either = !fields.days_of_month.starred && !fields.weekdays.starred;
        Self(if either {
            vec![quartz(fields, &days, "*"), quartz(fields, "*", &weekdays)]
        } else {
            vec![quartz(fields, &days, &weekdays)]
        })
    }

    /// Whether the line fires at least once.
    pub(super) fn any(&self) -> bool {
        let start = DateTime::UNIX_EPOCH.naive_utc() - TimeDelta::seconds(1);
        self.next(start).is_some()
    }

    /// Returns the firing times after `local`, ascending.
    pub(super) fn after(&self, local: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        std::iter::successors(self.next(local), |slot| self.next(*slot))
    }

    /// Returns the firing times before `local`, descending.
    pub(super) fn before(&self, local: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        std::iter::successors(self.previous(local), |slot| self.previous(*slot))
    }

    fn next(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let lines = self.0.iter();
        let slots = lines.filter_map(|line| line.after(&local.and_utc()).next());
        slots.min().map(|slot| slot.naive_utc())
    }

    fn previous(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let lines = self.0.iter();
        let slots = lines.filter_map(|line| {
            let start = local.min(end_of_last_year(line, local)?);
            line.after(&start.and_utc()).next_back()
        });
        slots.max().map(|slot| slot.naive_utc())
    }
}

/// Returns the end of the last year in which `line` can fire, but of no year after that of `local`; `None` if there is
/// none. Backward searches start there because of an error in the crate (0.17.0): from a year that the line does not
/// name, it jumps to the last named year but keeps the month, day and time, and so misses the rest of that year.
fn end_of_last_year(line: &cron::Schedule, local: NaiveDateTime) -> Option<NaiveDateTime> {
    let years = line.years().range(..=u32::try_from(local.year()).ok()?);
    let end = i32::try_from(years.max()?).ok()? + 1;
    Some(NaiveDate::from_ymd_opt(end, 1, 1)?.and_time(NaiveTime::MIN))
}

#[expect(
    clippy::expect_used,
    reason = "a set out of `fields` is never empty and lies within the crate's ranges"
)]
fn quartz(fields: &CronFields, days: &str, weekdays: &str) -> cron::Schedule {
    let seconds = list(&fields.seconds.set);
    let minutes = list(&fields.minutes.set);
    let hours = list(&fields.hours.set);
    let months = list(&fields.months.set);
    let years = list(&fields.years.set);
    let line = format!("{seconds} {minutes} {hours} {days} {months} {weekdays} {years}");
    cron::Schedule::from_str(&line).expect("checked fields, written out, make a Quartz line")
}

fn list(values: impl IntoIterator<Item = impl ToString>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    values.join(",")
}
