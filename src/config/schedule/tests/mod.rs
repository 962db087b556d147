//! Tests single cron lines. `properties` tests random lines, and `clock_changes` tests clock changes.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{Schedule, ScheduleError};

mod clock_changes;
mod properties;

const UTC: Tz = Tz::UTC;
const BERLIN: Tz = Tz::Europe__Berlin;
const NEW_YORK: Tz = Tz::America__New_York;
const LORD_HOWE: Tz = Tz::Australia__Lord_Howe;
const ZONES: [Tz; 3] = [BERLIN, NEW_YORK, LORD_HOWE];

fn schedule(line: &str, zone: Tz) -> Schedule {
    Schedule::parse(line, zone).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refusal(line: &str) -> ScheduleError {
    match Schedule::parse(line, UTC) {
        Ok(schedule) => panic!("`{line}` was read as: {}", schedule.describe()),
        Err(error) => error,
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn firings(schedule: &Schedule, after: &str, count: usize) -> Vec<DateTime<Utc>> {
    std::iter::successors(schedule.next_after(at(after)), |last| {
        schedule.next_after(*last)
    })
    .take(count)
    .collect()
}

#[test]
fn the_ends_of_time_are_answered() {
    let schedule = schedule("@hourly", BERLIN);
    assert_eq!(schedule.next_after(DateTime::<Utc>::MAX_UTC), None);
    assert_eq!(schedule.latest_at_or_before(DateTime::<Utc>::MIN_UTC), None);
    assert!(schedule.next_after(DateTime::<Utc>::MIN_UTC).is_some());
    assert!(
        schedule
            .latest_at_or_before(DateTime::<Utc>::MAX_UTC)
            .is_some()
    );
}

#[test]
fn the_hourly_default_fires_each_hour_in_every_notation() {
    for line in [
        "0 * * * *",
        "0 0 * * * *",
        "0 0 * * * * *",
        "@hourly",
        "  0  *\t* * * ",
    ] {
        let firings = firings(&schedule(line, UTC), "2026-11-23T10:00:00Z", 3);
        let expected = [
            "2026-11-23T11:00:00Z",
            "2026-11-23T12:00:00Z",
            "2026-11-23T13:00:00Z",
        ];
        assert_eq!(firings, expected.map(at), "{line}");
    }
}

#[test]
fn weekday_numbers_mean_the_same_day_in_every_notation() {
    // 2026-11-23 is a Monday
    for (weekday, day) in [
        ("0", "2026-11-29"),
        ("7", "2026-11-29"),
        ("sun", "2026-11-29"),
        ("1", "2026-11-23"),
        ("MONDAY", "2026-11-23"),
        ("6", "2026-11-28"),
        ("5-7", "2026-11-27"),
        ("fri-sun", "2026-11-27"),
        ("6-0", "2026-11-28"),
        ("7-1", "2026-11-23"),
        ("*/2", "2026-11-24"),
        ("3/2", "2026-11-25"),
    ] {
        for line in [
            format!("0 6 * * {weekday}"),
            format!("0 0 6 * * {weekday}"),
            format!("0 0 6 * * {weekday} *"),
        ] {
            let next = schedule(&line, UTC).next_after(at("2026-11-23T00:00:00Z"));
            assert_eq!(next, Some(at(&format!("{day}T06:00:00Z"))), "{line}");
        }
    }
}

#[test]
fn a_range_that_ends_on_sunday_holds_sunday() {
    let days: Vec<String> = firings(&schedule("0 0 * * 5-7", UTC), "2026-11-23T00:00:00Z", 4)
        .iter()
        .map(|firing| firing.format("%a").to_string())
        .collect();
    assert_eq!(days, ["Fri", "Sat", "Sun", "Fri"]);
}

#[test]
fn restricted_day_and_weekday_match_either_and_a_starred_one_restricts_nothing() {
    let days = |line: &str| -> Vec<String> {
        firings(&schedule(line, UTC), "2026-11-01T12:00:00Z", 4)
            .iter()
            .map(|firing| firing.format("%d").to_string())
            .collect()
    };
    assert_eq!(days("0 0 13 * 5"), ["06", "13", "20", "27"]);
    assert_eq!(days("0 0 12 * 5"), ["06", "12", "13", "20"]);
    assert_eq!(days("0 0 */2 * 5"), ["13", "27", "11", "25"]);
    assert_eq!(days("0 0 1-7 * *"), ["02", "03", "04", "05"]);
    assert_eq!(days("0 0 0 ? * FRI"), ["06", "13", "20", "27"]);
}

#[test]
fn a_leap_day_line_waits_for_the_leap_year() {
    let schedule = schedule("0 0 29 2 *", UTC);
    let expected = ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"].map(at);
    assert_eq!(firings(&schedule, "2026-11-23T00:00:00Z", 2), expected);
    assert_eq!(
        schedule.latest_at_or_before(at("2026-11-23T00:00:00Z")),
        Some(at("2024-02-29T00:00:00Z"))
    );
}

#[test]
fn a_year_that_is_over_is_found_looking_back_and_refused_looking_ahead() {
    let schedule = schedule("0 0 0 1 6 * 2020", UTC);
    let now = at("2026-03-01T00:00:00Z");
    assert_eq!(
        schedule.latest_at_or_before(now),
        Some(at("2020-06-01T00:00:00Z"))
    );
    let error = schedule.still_fires(now).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`0 0 0 1 6 * 2020` fires no more: the years it names are over; write `*` for the year"
    );
}

#[test]
fn a_date_that_does_not_exist_is_refused() {
    for line in [
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "0 0 0 29 2 * 2027",
        "0 0 30 2 */2",
    ] {
        assert!(
            matches!(refusal(line), ScheduleError::NeverFires { .. }),
            "{line}"
        );
    }
    // Accepted: either the date or the weekday may match, so it fires on Mondays in February.
    schedule("0 0 30 2 1", UTC);
}

#[test]
fn refusals_name_the_field_and_what_to_write() {
    for (line, message) in [
        (
            "0 */60 * * *",
            "the step of `*/60` in the hour field is larger than its range 0-23, so it would fire at hour 0 only; write `0` if that is meant, `*` for every hour, or a step up to 23",
        ),
        (
            "0 24 * * *",
            "24 in the hour field is out of range; write a value from 0 to 23",
        ),
        (
            "0 0 * * 8",
            "8 in the weekday field is out of range; write a value from 0 to 6",
        ),
        (
            "0 22-4 * * *",
            "the range `22-4` in the hour field runs backwards; write `22-23,0-4`",
        ),
        (
            "0 0 * * fri-mon",
            "the range `fri-mon` in the weekday field runs backwards; write `5-6,0-1`",
        ),
        (
            "*/0 * * * *",
            "the step of `*/0` in the minute field is 0; write a step of 1 or more",
        ),
    ] {
        assert_eq!(refusal(line).to_string(), message, "{line}");
    }
}

#[test]
fn refusals_of_what_is_not_cron_say_what_is() {
    for (line, message) in [
        (
            "0 0 L * *",
            "`L` in the day of month field is not understood; write `*`, a value from 1 to 31, a range such as `1-31`, a step such as `*/2`, or several of these with commas",
        ),
        (
            "0 0 * * FUN",
            "`FUN` in the weekday field is not understood; write `*`, a value from 0 to 6 or SUN to SAT, a range such as `0-6`, a step such as `*/2`, or several of these with commas",
        ),
        (
            "0 0 6 ? * 2-6",
            "`2-6` in the weekday field is ambiguous beside a `?`: Quartz counts from 1 = Sunday, cron from 0 = Sunday; write names such as MON-FRI, or `*` in place of `?`",
        ),
        (
            "hourly",
            "a schedule has 5 fields (minute, hour, day of month, month, weekday), 6 (seconds first) or 7 (year last), this one has 1; for every hour write `0 * * * *`",
        ),
        (
            "@reboot",
            "`@reboot` is not a known schedule; write @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, or five fields such as `0 * * * *`",
        ),
        (
            "0 0 30 2 *",
            "`0 0 30 2 *` never fires: no date matches its day of month, month, weekday and year together; correct the day of month or the month",
        ),
    ] {
        assert_eq!(refusal(line).to_string(), message, "{line}");
    }
    for line in [
        "",
        "* * * *",
        "1,,2 * * * *",
        "+5 * * * *",
        "1- * * * *",
        "0 0 * * * * * *",
    ] {
        refusal(line);
    }
}

#[test]
fn a_zone_off_by_a_quarter_hour_fires_by_its_own_clock() {
    assert_eq!(
        firings(
            &schedule("0 6 * * *", Tz::Asia__Kathmandu),
            "2026-11-23T00:00:00Z",
            1
        ),
        [at("2026-11-23T00:15:00Z")]
    );
}

#[test]
fn common_schedules_are_told_in_words() {
    for (line, words) in [
        ("0 * * * *", "every hour at minute 0"),
        ("@hourly", "every hour at minute 0"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0,30 * * * *", "every 30 minutes"),
        ("5 */6 * * *", "every 6 hours at minute 5"),
        ("30 2 * * *", "every day at 02:30 (Europe/Berlin)"),
        (
            "0 6,18 * * *",
            "every day at 06:00 and 18:00 (Europe/Berlin)",
        ),
        (
            "0 6 * * 1-5",
            "every Monday to Friday at 06:00 (Europe/Berlin)",
        ),
        (
            "0 6 * * 7,3",
            "every Sunday and Wednesday at 06:00 (Europe/Berlin)",
        ),
        ("@weekly", "every Sunday at 00:00 (Europe/Berlin)"),
        (
            "@monthly",
            "on day 1 of every month at 00:00 (Europe/Berlin)",
        ),
        ("@yearly", "cron `@yearly` (Europe/Berlin)"),
        ("*/45 * * * *", "cron `*/45 * * * *` (Europe/Berlin)"),
        ("30 * * * * *", "cron `30 * * * * *` (Europe/Berlin)"),
        ("0 0 13 * 5", "cron `0 0 13 * 5` (Europe/Berlin)"),
    ] {
        assert_eq!(schedule(line, BERLIN).describe(), words, "{line}");
    }
}
