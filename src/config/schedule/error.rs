//! The errors of cron lines.

/// Why a text is not a valid cron line. The message says what is wrong and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The line does not have 5, 6 or 7 fields.
    #[error(
        "a schedule has 5 fields (minute, hour, day of month, month, weekday), 6 (seconds first) or 7 (year last), this one has {found}; for every hour write `0 * * * *`"
    )]
    FieldCount {
        /// How many fields the line has.
        found: usize,
    },
    /// An `@name` that is not supported.
    #[error(
        "`{name}` is not a known schedule; write @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, or five fields such as `0 * * * *`"
    )]
    Nickname {
        /// The name that was written.
        name: String,
    },
    /// A part of a field that is not a value, a range or a step.
    #[error(
        "`{text}` in the {field} field is not understood; write `*`, a value from {low} to {high}{names}, a range such as `{low}-{high}`, a step such as `*/2`, or several of these with commas"
    )]
    NotUnderstood {
        /// The name of the field in which the error is.
        field: &'static str,
        /// The part of the field that is not understood.
        text: String,
        /// The field's lowest value.
        low: u32,
        /// The field's highest value.
        high: u32,
        /// The words of the message that offer names as values, such as ` or JAN to DEC`; empty if the field has no
        /// names.
        names: &'static str,
    },
    /// A value outside the field's range.
    #[error("{value} in the {field} field is out of range; write a value from {low} to {high}")]
    OutOfRange {
        /// The name of the field in which the error is.
        field: &'static str,
        /// The value that is out of range.
        value: String,
        /// The field's lowest value.
        low: u32,
        /// The field's highest value.
        high: u32,
    },
    /// A range whose start is after its end.
    #[error("the range `{text}` in the {field} field runs backwards; write `{instead}`")]
    Backwards {
        /// The name of the field in which the error is.
        field: &'static str,
        /// The range as it was written.
        text: String,
        /// The two ranges that were probably meant, such as `22-23,0-5` for `22-5`.
        instead: String,
    },
    /// A step of zero.
    #[error("the step of `{text}` in the {field} field is 0; write a step of 1 or more")]
    StepOfZero {
        /// The name of the field in which the error is.
        field: &'static str,
        /// The part of the field that has the step.
        text: String,
    },
    /// A step so large that only one value is left, such as `*/60` in the hour field.
    #[error(
        "the step of `{text}` in the {field} field is larger than its range {low}-{high}, so it would fire at {field} {low} only; write `{low}` if that is meant, `*` for every {field}, or a step up to {largest}"
    )]
    StepTooLarge {
        /// The name of the field in which the error is.
        field: &'static str,
        /// The part of the field that has the step.
        text: String,
        /// The first value of the range to which the step applies.
        low: u32,
        /// The last value of the range to which the step applies.
        high: u32,
        /// The largest step that leaves two or more values.
        largest: u32,
    },
    /// The line has a `?`, as in Quartz, and numbers in the weekday field. Quartz and cron number the weekdays
    /// differently, so the meaning is unclear.
    #[error(
        "`{weekdays}` in the weekday field is ambiguous beside a `?`: Quartz counts from 1 = Sunday, cron from 0 = Sunday; write names such as MON-FRI, or `*` in place of `?`"
    )]
    AmbiguousWeekday {
        /// The text of the weekday field.
        weekdays: String,
    },
    /// No date ever matches the line, such as 30 February.
    #[error(
        "`{line}` never fires: no date matches its day of month, month, weekday and year together; correct the day of month or the month"
    )]
    NeverFires {
        /// The cron line.
        line: String,
    },
    /// The line fires only in past years.
    #[error("`{line}` fires no more: the years it names are over; write `*` for the year")]
    Over {
        /// The cron line.
        line: String,
    },
}
