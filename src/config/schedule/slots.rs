//! The local times at which a line fires, forwards and backwards, as the `cron` crate finds them; no
//! zone, no clock.
//!
//! The crate reads Quartz lines: seconds first, weekdays from 1 = Sunday, day of month and weekday
//! joined by "and", years to 2100. So the checked fields are written out for it as lists of values,
//! as two lines where a day may match either. Local times are handed to it as if they were UTC: in a
//! zone with clock changes it would drop the slots that a change skips.

use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use cron::TimeUnitSpec;

use super::fields::Fields;

/// The local times of a line: those of one Quartz line, or of two merged.
#[derive(Clone)]
pub(super) struct Slots(Vec<cron::Schedule>);

impl Slots {
    pub(super) fn new(fields: &Fields) -> Self {
        let days = list(&fields.days_of_month.set);
        let weekdays = list(fields.weekdays.set.iter().map(|from_zero| from_zero + 1));
        let either = !fields.days_of_month.starred && !fields.weekdays.starred;
        Self(if either {
            vec![quartz(fields, &days, "*"), quartz(fields, "*", &weekdays)]
        } else {
            vec![quartz(fields, &days, &weekdays)]
        })
    }

    /// Whether there is any slot at all.
    pub(super) fn any(&self) -> bool {
        let start = DateTime::UNIX_EPOCH.naive_utc() - TimeDelta::seconds(1);
        self.next(start).is_some()
    }

    /// The slots after `local`, ascending.
    pub(super) fn after(&self, local: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        std::iter::successors(self.next(local), |slot| self.next(*slot))
    }

    /// The slots before `local`, descending.
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

/// The end of the last year that `line` names up to the year of `local`. Looking back must start no
/// later: from a year that is not named, the crate (0.17.0) enters the last named one at the month,
/// day and time of the start and so overlooks the rest of that year.
fn end_of_last_year(line: &cron::Schedule, local: NaiveDateTime) -> Option<NaiveDateTime> {
    let years = line.years().range(..=u32::try_from(local.year()).ok()?);
    let end = i32::try_from(years.max()?).ok()? + 1;
    Some(NaiveDate::from_ymd_opt(end, 1, 1)?.and_time(NaiveTime::MIN))
}

#[expect(
    clippy::expect_used,
    reason = "a set out of `fields` is never empty and lies within the crate's ranges"
)]
fn quartz(fields: &Fields, days: &str, weekdays: &str) -> cron::Schedule {
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
