//! The errors of a cron line.

/// Why a cron line is not a schedule. The message names the field and says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The line does not have 5, 6 or 7 fields.
    #[error(
        "a schedule has 5 fields (minute, hour, day of month, month, weekday), 6 (seconds first) or 7 (year last), this one has {found}; for every hour write `0 * * * *`"
    )]
    FieldCount {
        /// How many there are.
        found: usize,
    },
    /// An `@name` that is not supported.
    #[error(
        "`{name}` is not a known schedule; write @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, or five fields such as `0 * * * *`"
    )]
    Nickname {
        /// What was written.
        name: String,
    },
    /// A part of a field that is no value, range or step.
    #[error(
        "`{text}` in the {field} field is not understood; write `*`, a value from {low} to {high}{names}, a range such as `{low}-{high}`, a step such as `*/2`, or several of these with commas"
    )]
    NotUnderstood {
        /// The field.
        field: &'static str,
        /// The part.
        text: String,
        /// The field's lowest value.
        low: u32,
        /// The field's highest value.
        high: u32,
        /// The names that the field accepts, as an addition to the values in the message; empty if there are none.
        names: &'static str,
    },
    /// A value outside the field's range.
    #[error("{value} in the {field} field is out of range; write a value from {low} to {high}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The value.
        value: String,
        /// The field's lowest value.
        low: u32,
        /// The field's highest value.
        high: u32,
    },
    /// A range whose start is after its end.
    #[error("the range `{text}` in the {field} field runs backwards; write `{instead}`")]
    Backwards {
        /// The field.
        field: &'static str,
        /// The range.
        text: String,
        /// The two ranges that were probably meant.
        instead: String,
    },
    /// A step of zero.
    #[error("the step of `{text}` in the {field} field is 0; write a step of 1 or more")]
    StepOfZero {
        /// The field.
        field: &'static str,
        /// The part with the step.
        text: String,
    },
    /// A step so large that one value is left, such as `*/60` in the hour field.
    #[error(
        "the step of `{text}` in the {field} field is larger than its range {low}-{high}, so it would fire at {field} {low} only; write `{low}` if that is meant, `*` for every {field}, or a step up to {largest}"
    )]
    StepTooLarge {
        /// The field.
        field: &'static str,
        /// The part with the step.
        text: String,
        /// The start of the range the step is taken in.
        low: u32,
        /// The end of that range.
        high: u32,
        /// The largest step that leaves two values.
        largest: u32,
    },
    /// A line in the style of Quartz (with a `?`) that has weekday numbers. Quartz numbers weekdays differently from
    /// cron.
    #[error(
        "`{weekdays}` in the weekday field is ambiguous beside a `?`: Quartz counts from 1 = Sunday, cron from 0 = Sunday; write names such as MON-FRI, or `*` in place of `?`"
    )]
    AmbiguousWeekday {
        /// The weekday field.
        weekdays: String,
    },
    /// No date matches, such as 30 February.
    #[error(
        "`{line}` never fires: no date matches its day of month, month, weekday and year together; correct the day of month or the month"
    )]
    NeverFires {
        /// The line.
        line: String,
    },
    /// The last year that the line names is over.
    #[error("`{line}` fires no more: the years it names are over; write `*` for the year")]
    Over {
        /// The line.
        line: String,
    },
}
