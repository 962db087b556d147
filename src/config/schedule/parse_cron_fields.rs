//! Parses the fields of a cron line into sets of numbers.

use std::collections::BTreeSet;

use super::ScheduleError;

/// The first year that a cron line can name. The last is [`LAST_YEAR`]. Quartz has the same bounds.
const FIRST_YEAR: i32 = 1970;
pub(super) const LAST_YEAR: i32 = 2099;

/// A parsed cron line: the values that each field allows.
#[derive(Clone)]
pub(super) struct CronFields {
    pub(super) seconds: AllowedValues,
    pub(super) minutes: AllowedValues,
    pub(super) hours: AllowedValues,
    pub(super) days_of_month: AllowedValues,
    pub(super) months: AllowedValues,
    pub(super) weekdays: AllowedValues,
    pub(super) years: AllowedValues,
}

/// The values that one field of a cron line allows.
#[derive(Clone)]
pub(super) struct AllowedValues {
    pub(super) set: BTreeSet<u32>,
    /// Whether the field starts with `*` (or is `?`). Then a day field counts as unrestricted, even as `*/2`, and an
    /// hour field counts as if it named every hour (see [`CronFields::runs_by_the_hour`]).
    pub(super) starred: bool,
    /// Whether every value of the field is allowed.
    pub(super) all: bool,
}

/// The name of a field of a cron line, its range, and the names of its values, such as `january`.
struct FieldDefinition {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
    /// The words of an error message that offer these names, such as ` or JAN to DEC`; empty without names.
    names_offered: &'static str,
    /// Whether the value 7 means the same as 0, as in the weekday field.
    seven_is_zero: bool,
}

impl CronFields {
    pub(super) fn parse(line: &str) -> Result<Self, ScheduleError> {
        let line = match line.trim() {
            name if name.starts_with('@') => spelt_out(name)?,
            fields => fields,
        };
        let parts: Vec<&str> = line.split_whitespace().collect();
        match *parts.as_slice() {
            [minute, hour, day, month, weekday] => {
                Self::read(["0", minute, hour, day, month, weekday, "*"])
            }
            [second, minute, hour, day, month, weekday] => {
                Self::read([second, minute, hour, day, month, weekday, "*"])
            }
            [second, minute, hour, day, month, weekday, year] => {
                Self::read([second, minute, hour, day, month, weekday, year])
            }
            _ => Err(ScheduleError::FieldCount { found: parts.len() }),
        }
    }

    fn read(
        [second, minute, hour, day, month, weekday, year]: [&str; 7],
    ) -> Result<Self, ScheduleError> {
        if day == "?" && weekday.contains(|c: char| c.is_ascii_digit()) {
            return Err(ScheduleError::AmbiguousWeekday {
                weekdays: weekday.to_owned(),
            });
        }
        Ok(Self {
            seconds: SECOND.read(second)?,
            minutes: MINUTE.read(minute)?,
            hours: HOUR.read(hour)?,
            days_of_month: DAY_OF_MONTH.read(or_star(day))?,
            months: MONTH.read(month)?,
            weekdays: WEEKDAY.read(or_star(weekday))?,
            years: YEAR.read(year)?,
        })
    }

    /// Whether the hour field starts with `*` or allows every hour. Such a line counts as one that fires by the hour,
    /// and not at fixed times of the day. The difference matters when the clock changes.
    pub(super) fn runs_by_the_hour(&self) -> bool {
        self.hours.starred || self.hours.all
    }
}

fn spelt_out(nickname: &str) -> Result<&'static str, ScheduleError> {
    match nickname.to_ascii_lowercase().as_str() {
        "@hourly" => Ok("0 * * * *"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@monthly" => Ok("0 0 1 * *"),
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        _ => Err(ScheduleError::Nickname {
            name: nickname.to_owned(),
        }),
    }
}

/// Replaces the field `?` by `*`. In Quartz, `?` stands for a day field without a restriction.
fn or_star(field: &str) -> &str {
    if field == "?" { "*" } else { field }
}

const SECOND: FieldDefinition = FieldDefinition::numbers("second", 0, 59);
const MINUTE: FieldDefinition = FieldDefinition::numbers("minute", 0, 59);
const HOUR: FieldDefinition = FieldDefinition::numbers("hour", 0, 23);
const DAY_OF_MONTH: FieldDefinition = FieldDefinition::numbers("day of month", 1, 31);
const YEAR: FieldDefinition =
    FieldDefinition::numbers("year", FIRST_YEAR.unsigned_abs(), LAST_YEAR.unsigned_abs());
const MONTH: FieldDefinition = FieldDefinition {
    names: &[
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ],
    names_offered: " or JAN to DEC",
    ..FieldDefinition::numbers("month", 1, 12)
};
const WEEKDAY: FieldDefinition = FieldDefinition {
    names: &[
        "sunday",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
    ],
    names_offered: " or SUN to SAT",
    seven_is_zero: true,
    ..FieldDefinition::numbers("weekday", 0, 6)
};

impl FieldDefinition {
    const fn numbers(name: &'static str, low: u32, high: u32) -> Self {
        Self {
            name,
            low,
            high,
            names: &[],
            names_offered: "",
            seven_is_zero: false,
        }
    }

    fn read(&self, text: &str) -> Result<AllowedValues, ScheduleError> {
        let mut set = BTreeSet::new();
        for part in text.split(',') {
            set.extend(self.part(part)?.into_iter().map(|value| self.fold(value)));
        }
        Ok(AllowedValues {
            starred: text.starts_with('*'),
            all: (self.low..=self.high).all(|value| set.contains(&value)),
            set,
        })
    }

    /// Parses one part of a field: `*`, `a` or `a-b`, each with or without `/step`. Returns the values that it allows.
    /// `a/step` means from `a` to the end of the field's range.
    fn part(&self, text: &str) -> Result<Vec<u32>, ScheduleError> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(self.step(text, step)?)),
            None => (text, None),
        };
        let (low, high) = match (range, range.split_once('-'), step) {
            ("*", _, _) => (self.low, self.high),
            (_, Some((start, end)), _) => self.range(text, start, end)?,
            (value, None, Some(_)) => (self.fold(self.value(text, value)?), self.high),
            (value, None, None) => {
                let value = self.value(text, value)?;
                (value, value)
            }
        };
        let step = step.unwrap_or(1);
        if step > 1 && step > high - low {
            return Err(ScheduleError::StepTooLarge {
                field: self.name,
                text: text.to_owned(),
                low,
                high,
                largest: (high - low).max(1),
            });
        }
        Ok((low..=high).step_by(step as usize).collect())
    }

    fn range(&self, text: &str, start: &str, end: &str) -> Result<(u32, u32), ScheduleError> {
        let start = self.value(text, start)?;
        let end = self.value(text, end)?;
        if start <= end {
            return Ok((start, end));
        }
        // Sunday is both 0 and 7, so FRI-SUN and 7-2 are ranges, too.
        if self.fold(start) <= end {
            return Ok((self.fold(start), end));
        }
        if self.seven_is_zero && end == 0 {
            return Ok((start, 7));
        }
        Err(ScheduleError::Backwards {
            field: self.name,
            text: text.to_owned(),
            instead: format!("{start}-{},{}-{end}", self.high, self.low),
        })
    }

    fn step(&self, text: &str, step: &str) -> Result<u32, ScheduleError> {
        match number(step) {
            Some(0) => Err(ScheduleError::StepOfZero {
                field: self.name,
                text: text.to_owned(),
            }),
            Some(step) => Ok(step),
            None => Err(self.not_understood(text)),
        }
    }

    fn value(&self, text: &str, value: &str) -> Result<u32, ScheduleError> {
        if let Some(number) = number(value) {
            let known = (self.low..=self.high).contains(&number);
            return if known || (self.seven_is_zero && number == 7) {
                Ok(number)
            } else {
                Err(ScheduleError::OutOfRange {
                    field: self.name,
                    value: value.to_owned(),
                    low: self.low,
                    high: self.high,
                })
            };
        }
        let name = value.to_ascii_lowercase();
        (self.low..)
            .zip(self.names)
            .find(|(_, full)| name.len() >= 3 && full.starts_with(&name))
            .map(|(number, _)| number)
            .ok_or_else(|| self.not_understood(text))
    }

    /// Changes 7 to 0 in the weekday field, and returns every other value as it is.
    fn fold(&self, value: u32) -> u32 {
        if self.seven_is_zero { value % 7 } else { value }
    }

    fn not_understood(&self, text: &str) -> ScheduleError {
        ScheduleError::NotUnderstood {
            field: self.name,
            text: text.to_owned(),
            low: self.low,
            high: self.high,
            names: self.names_offered,
        }
    }
}

/// Parses a number that consists of digits only; `None` for another text (`str::parse` alone would accept `+5`). A
/// number that does not fit becomes `u32::MAX`, which is out of range in every field.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}
