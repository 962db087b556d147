//! Tests slots that a clock change skips or repeats.

use chrono::{DateTime, NaiveDate, NaiveTime, Offset, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use quickcheck::QuickCheck;

use super::{BERLIN, LORD_HOWE, NEW_YORK, ZONES, at, firings, schedule};

#[test]
fn around_a_clock_change_a_line_by_the_hour_fires_whenever_the_wall_clock_matches() {
    fn property(minute: u8, zone: u8, year: u8, index: bool) -> bool {
        let zone = ZONES[usize::from(zone) % ZONES.len()];
        let schedule = schedule(&format!("{} * * * *", minute % 60), zone);
        let change = clock_change(zone, 2020 + i32::from(year % 30), usize::from(index));
        (-240..240).all(|minutes| {
            let instant = change + TimeDelta::minutes(minutes);
            let matches = instant.with_timezone(&zone).minute() == u32::from(minute % 60);
            let fires = schedule.latest_at_or_before(instant) == Some(instant);
            // a slot in the half hour that Lord Howe skips fires right after the change
            fires == matches || (fires && instant == change && zone == LORD_HOWE)
        })
    }
    QuickCheck::new()
        .tests(100)
        .quickcheck(property as fn(u8, u8, u8, bool) -> bool);
}

#[test]
fn a_fixed_time_fires_once_each_day_of_the_year() {
    fn property(hour: u8, minute: u8, zone: u8, year: u8) -> bool {
        let zone = ZONES[usize::from(zone) % ZONES.len()];
        let line = format!("{} {} * * *", minute % 60, hour % 24);
        let schedule = schedule(&line, zone);
        let mut day = NaiveDate::from_ymd_opt(2020 + i32::from(year % 30), 1, 1).unwrap();
        let mut last = (day.and_time(NaiveTime::MIN))
            .and_local_timezone(zone)
            .unwrap()
            .to_utc();
        last -= TimeDelta::seconds(1);
        (0..365).all(|_| {
            last = schedule.next_after(last).unwrap();
            let fired_on = last.with_timezone(&zone).date_naive();
            let on_its_day = fired_on == day;
            day = day.succ_opt().unwrap();
            on_its_day
        })
    }
    QuickCheck::new()
        .tests(100)
        .quickcheck(property as fn(u8, u8, u8, u8) -> bool);
}

#[test]
fn a_fixed_time_that_the_spring_skips_fires_when_the_clock_resumes() {
    assert_eq!(
        local_firings("30 2 * * *", BERLIN, "2026-03-28T00:00:00Z", 3),
        ["28 02:30 +01:00", "29 03:00 +02:00", "30 02:30 +02:00"]
    );
    assert_eq!(
        local_firings("0,30 2,3 * * *", NEW_YORK, "2026-03-08T05:00:00Z", 3),
        ["08 03:00 -04:00", "08 03:30 -04:00", "09 02:00 -04:00"]
    );
    assert_eq!(
        local_firings("15 2 * * *", LORD_HOWE, "2026-10-03T00:00:00Z", 2),
        ["04 02:30 +11:00", "05 02:15 +11:00"]
    );
    assert_eq!(
        local_firings("@daily", Tz::Africa__Cairo, "2026-04-23T00:00:00Z", 2),
        ["24 01:00 +03:00", "25 00:00 +03:00"]
    );
}

#[test]
fn a_fixed_time_that_the_autumn_repeats_fires_once() {
    assert_eq!(
        local_firings("30 2 * * *", BERLIN, "2026-10-24T22:00:00Z", 2),
        ["25 02:30 +02:00", "26 02:30 +01:00"]
    );
    assert_eq!(
        local_firings("0,45 1 * * *", NEW_YORK, "2026-11-01T04:00:00Z", 3),
        ["01 01:00 -04:00", "01 01:45 -04:00", "02 01:00 -05:00"]
    );
    assert_eq!(
        local_firings("45 1 * * *", LORD_HOWE, "2026-04-04T12:00:00Z", 2),
        ["05 01:45 +11:00", "06 01:45 +10:30"]
    );
    let berlin = schedule("30 2 * * *", BERLIN);
    let second_half_past_two = at("2026-10-25T01:30:00Z");
    assert_eq!(
        berlin.latest_at_or_before(second_half_past_two),
        Some(at("2026-10-25T00:30:00Z"))
    );
}

#[test]
fn an_hourly_line_fires_every_real_hour_across_clock_changes() {
    for zone in [BERLIN, NEW_YORK] {
        for line in ["0 * * * *", "30 * * * *", "30 0-23 * * *", "59 59 * * * *"] {
            let schedule = schedule(line, zone);
            let year = firings(&schedule, "2026-01-01T00:00:00Z", 24 * 365);
            let hourly = year
                .windows(2)
                .all(|pair| pair[1] - pair[0] == TimeDelta::hours(1));
            assert!(hourly, "{line} in {zone}");
        }
    }
}

#[test]
fn an_hourly_line_follows_the_wall_clock_where_half_an_hour_is_skipped_or_repeated() {
    assert_eq!(
        local_firings("0 * * * *", LORD_HOWE, "2026-10-03T14:00:00Z", 3),
        ["04 01:00 +10:30", "04 02:30 +11:00", "04 03:00 +11:00"]
    );
    assert_eq!(
        local_firings("45 * * * *", LORD_HOWE, "2026-04-04T13:30:00Z", 4),
        [
            "05 00:45 +11:00",
            "05 01:45 +11:00",
            "05 01:45 +10:30",
            "05 02:45 +10:30"
        ]
    );
}

#[test]
fn a_line_of_every_second_hour_loses_nothing_to_a_clock_change() {
    assert_eq!(
        local_firings("0 */2 * * *", BERLIN, "2026-03-28T22:00:00Z", 3),
        ["29 00:00 +01:00", "29 03:00 +02:00", "29 04:00 +02:00"]
    );
    assert_eq!(
        local_firings("0 */2 * * *", BERLIN, "2026-10-24T21:00:00Z", 4),
        [
            "25 00:00 +02:00",
            "25 02:00 +02:00",
            "25 02:00 +01:00",
            "25 04:00 +01:00"
        ]
    );
}

#[test]
fn a_day_that_a_zone_skipped_whole_is_made_up_once() {
    // Samoa had no 30 December 2011
    assert_eq!(
        local_firings("0 12 * * *", Tz::Pacific__Apia, "2011-12-29T00:00:00Z", 3),
        ["29 12:00 -10:00", "31 00:00 +14:00", "31 12:00 +14:00"]
    );
}

/// Returns the first `count` firings after an instant, as local times with their UTC offsets.
fn local_firings(line: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
    firings(&schedule(line, zone), after, count)
        .iter()
        .map(|firing| {
            firing
                .with_timezone(&zone)
                .format("%d %H:%M %:z")
                .to_string()
        })
        .collect()
}

/// Returns the instant of a clock change. `index` is its number within the year, from 0.
fn clock_change(zone: Tz, year: i32, index: usize) -> DateTime<Utc> {
    let offset = |instant: DateTime<Utc>| instant.with_timezone(&zone).offset().fix();
    let start = at(&format!("{year}-01-01T00:00:00Z"));
    (0..366 * 48)
        .map(|half_hours| start + TimeDelta::minutes(30 * half_hours))
        .filter(|instant| offset(*instant) != offset(*instant - TimeDelta::minutes(30)))
        .nth(index)
        .unwrap()
}
