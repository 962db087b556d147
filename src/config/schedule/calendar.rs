//! Local times that match the fields of a cron line, forwards and backwards; no zone, no clock.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike};

use super::fields::{self, Fields, Values};

/// The local times at which a line fires.
#[derive(Clone)]
pub(super) struct Calendar {
    /// The seconds of the day, ascending; at most 86,400.
    times: Vec<u32>,
    days_of_month: Values,
    months: BTreeSet<u32>,
    weekdays: Values,
    years: BTreeSet<u32>,
}

impl Calendar {
    pub(super) fn new(fields: &Fields) -> Self {
        let mut times = Vec::new();
        for hour in &fields.hours.set {
            for minute in &fields.minutes.set {
                let start = (hour * 60 + minute) * 60;
                times.extend(fields.seconds.set.iter().map(|second| start + second));
            }
        }
        Self {
            times,
            days_of_month: fields.days_of_month.clone(),
            months: fields.months.set.clone(),
            weekdays: fields.weekdays.clone(),
            years: fields.years.set.clone(),
        }
    }

    /// Whether there is any matching local time at all.
    pub(super) fn has_slots(&self) -> bool {
        let start = DateTime::UNIX_EPOCH.naive_utc() - TimeDelta::seconds(1);
        self.next(start).is_some()
    }

    /// The matching local times after `local`, ascending.
    pub(super) fn after(&self, local: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        std::iter::successors(self.next(local), |slot| self.next(*slot))
    }

    /// The matching local times before `local`, descending.
    pub(super) fn before(&self, local: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        std::iter::successors(self.previous(local), |slot| self.previous(*slot))
    }

    fn next(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let today = local.date();
        let now = local.num_seconds_from_midnight();
        let later = self.times.partition_point(|time| *time <= now);
        match self.times.get(later) {
            Some(time) if self.has_day(today) => at(today, *time),
            _ => {
                let day = today
                    .succ_opt()?
                    .iter_days()
                    .take_while(|day| day.year() <= fields::LAST_YEAR)
                    .find(|day| self.has_day(*day))?;
                at(day, *self.times.first()?)
            }
        }
    }

    fn previous(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let today = local.date();
        let now = local.num_seconds_from_midnight();
        let earlier = self
            .times
            .partition_point(|time| *time < now)
            .checked_sub(1);
        match earlier.and_then(|index| self.times.get(index)) {
            Some(time) if self.has_day(today) => at(today, *time),
            _ => {
                let day = today
                    .pred_opt()?
                    .iter_days()
                    .rev()
                    .take_while(|day| day.year() >= fields::FIRST_YEAR)
                    .find(|day| self.has_day(*day))?;
                at(day, *self.times.last()?)
            }
        }
    }

    fn has_day(&self, day: NaiveDate) -> bool {
        let month_day = self.days_of_month.set.contains(&day.day());
        let weekday = self
            .weekdays
            .set
            .contains(&day.weekday().num_days_from_sunday());
        let either = !self.days_of_month.starred && !self.weekdays.starred;
        self.months.contains(&day.month())
            && u32::try_from(day.year()).is_ok_and(|year| self.years.contains(&year))
            && if either {
                month_day || weekday
            } else {
                month_day && weekday
            }
    }
}

fn at(day: NaiveDate, second_of_day: u32) -> Option<NaiveDateTime> {
    day.and_hms_opt(0, 0, 0)?
        .checked_add_signed(TimeDelta::seconds(second_of_day.into()))
}
