//! Describes common schedules in words.

use std::collections::BTreeSet;

use chrono_tz::Tz;

use super::parse_cron_fields::{AllowedValues, CronFields};

/// Returns the schedule in words, such as `every day at 06:00 (UTC)`; `None` if it is too unusual. The time zone is
/// named only together with a time of day.
pub(super) fn in_words(fields: &CronFields, zone: Tz) -> Option<String> {
    let sole_second = fields.seconds.set.iter().eq([&0]);
    if !sole_second || !fields.months.all || !fields.years.all {
        return None;
    }
    let every_day = fields.days_of_month.all && fields.weekdays.all;
    if every_day && let Some(words) = by_the_clock(fields) {
        return Some(words);
    }
    let days = if every_day {
        "every day".to_owned()
    } else if fields.days_of_month.starred && fields.days_of_month.all {
        format!("every {}", weekdays(&fields.weekdays)?)
    } else if fields.weekdays.starred && fields.weekdays.all {
        format!("on day {} of every month", sole(&fields.days_of_month)?)
    } else {
        return None;
    };
    Some(format!("{days} at {} ({zone})", times(fields)?))
}

fn by_the_clock(fields: &CronFields) -> Option<String> {
    let each_minute = every(&fields.minutes, 60);
    let each_hour = every(&fields.hours, 24);
    match (each_minute, sole(&fields.minutes), each_hour) {
        (Some(1), _, Some(1)) => Some("every minute".to_owned()),
        (Some(step), _, Some(1)) => Some(format!("every {step} minutes")),
        (None, Some(minute), Some(1)) => Some(format!("every hour at minute {minute}")),
        (None, Some(minute), Some(step)) => Some(format!("every {step} hours at minute {minute}")),
        _ => None,
    }
}

/// Returns the distance between the values if they start at 0 and are evenly spaced over a whole cycle of `round` units
/// (60 minutes or 24 hours); otherwise `None`.
fn every(values: &AllowedValues, round: u32) -> Option<u32> {
    let mut set = values.set.iter();
    let step = match (set.next(), set.next()) {
        (Some(0), Some(second)) => *second,
        _ => return None,
    };
    let even: BTreeSet<u32> = (0..round).step_by(step as usize).collect();
    (round.is_multiple_of(step) && even == values.set).then_some(step)
}

fn sole(values: &AllowedValues) -> Option<u32> {
    let mut set = values.set.iter();
    set.next().copied().filter(|_| set.next().is_none())
}

/// Returns the times of day at which the line fires, in words; `None` if the line allows more than four hours, or more
/// than one minute.
fn times(fields: &CronFields) -> Option<String> {
    let minute = sole(&fields.minutes)?;
    let hours = &fields.hours.set;
    (hours.len() <= 4).then(|| {
        let times: Vec<String> = hours
            .iter()
            .map(|hour| format!("{hour:02}:{minute:02}"))
            .collect();
        listed(&times)
    })
}

fn weekdays(values: &AllowedValues) -> Option<String> {
    const NAMES: [&str; 7] = [
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
    ];
    if values.set.iter().eq([1, 2, 3, 4, 5].iter()) {
        return Some("Monday to Friday".to_owned());
    }
    let names: Option<Vec<String>> = values
        .set
        .iter()
        .map(|day| Some((*NAMES.get(*day as usize)?).to_owned()))
        .collect();
    names.map(|names| listed(&names))
}

fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
