//! Property tests with random cron lines. Another cron library, croner, gives the firings that are expected.

#![expect(
    clippy::needless_pass_by_value,
    reason = "quickcheck hands its cases over by value"
)]

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use chrono_tz::Tz;
use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult};

use super::super::{Schedule, parse_cron_fields};
use super::{BERLIN, UTC, ZONES};

#[test]
fn five_field_lines_fire_when_another_cron_library_says() {
    fn property(line: Line, start: u32, eastern: bool) -> TestResult {
        let text = line.text();
        // neither zone has clock changes, for which croner's rules differ from ours
        let zone = if eastern { Tz::Asia__Kathmandu } else { UTC };
        let start = DateTime::from_timestamp(1_577_836_800 + i64::from(start % 630_720_000), 0)
            .unwrap()
            .with_timezone(&zone);
        let oracle = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Disallowed)
            .dom_and_dow(line.joins_days_by_and())
            .build()
            .parse(&text)
            .unwrap_or_else(|error| panic!("croner refuses {text}: {error}"));
        let Ok(ours) = Schedule::parse(&text, zone) else {
            let never = oracle.find_next_occurrence(&start, false).is_err();
            assert!(never, "`{text}` was refused");
            return TestResult::discard();
        };
        let theirs: Vec<DateTime<Utc>> = oracle
            .iter_after(start)
            .take_while(|firing| firing.year() <= parse_cron_fields::LAST_YEAR)
            .map(|firing| firing.to_utc())
            .take(20)
            .collect();
        let ours: Vec<DateTime<Utc>> =
            std::iter::successors(ours.next_after(start.to_utc()), |last| {
                ours.next_after(*last)
            })
            .take(20)
            .collect();
        assert_eq!(ours, theirs, "`{text}` after {start}");
        TestResult::passed()
    }
    QuickCheck::new()
        .tests(300)
        .quickcheck(property as fn(Line, u32, bool) -> TestResult);
}

#[test]
fn looking_back_finds_the_firing_that_looking_ahead_found() {
    fn property(line: Line, start: u32, zone: u8) -> TestResult {
        let zone = ZONES[usize::from(zone) % ZONES.len()];
        let Ok(schedule) = Schedule::parse(&line.text(), zone) else {
            return TestResult::discard();
        };
        let mut last = DateTime::from_timestamp(1_577_836_800 + i64::from(start / 8), 0).unwrap();
        for _ in 0..20 {
            let Some(next) = schedule.next_after(last) else {
                break;
            };
            assert!(next > last);
            assert_eq!(schedule.latest_at_or_before(next), Some(next));
            let between = last + (next - last) / 2;
            assert_eq!(schedule.next_after(between), Some(next));
            let before = schedule.latest_at_or_before(next - TimeDelta::milliseconds(1));
            assert!(
                before <= Some(last),
                "{before:?} lies between {last} and {next}"
            );
            last = next;
        }
        TestResult::passed()
    }
    QuickCheck::new()
        .tests(300)
        .quickcheck(property as fn(Line, u32, u8) -> TestResult);
}

#[test]
fn no_text_whatever_makes_the_parser_panic() {
    fn property(text: String, pieces: Vec<u8>) -> bool {
        const PIECES: [&str; 16] = [
            "*",
            "/",
            "-",
            ",",
            " ",
            " ",
            "0",
            "7",
            "59",
            "99999999999",
            "?",
            "@daily",
            "MON",
            "L",
            "é",
            "#",
        ];
        let built: String = pieces
            .iter()
            .map(|piece| PIECES[usize::from(piece % 16)])
            .collect();
        for text in [text, built] {
            if let Ok(schedule) = Schedule::parse(&text, BERLIN) {
                schedule.next_after(DateTime::UNIX_EPOCH);
                schedule.describe();
            }
        }
        true
    }
    QuickCheck::new()
        .tests(2000)
        .quickcheck(property as fn(String, Vec<u8>) -> bool);
}

/// A random cron line of five fields, made of values, ranges, lists, steps and names.
#[derive(Clone, Debug)]
struct Line([String; 5]);

impl Arbitrary for Line {
    fn arbitrary(g: &mut Gen) -> Self {
        const MONTHS: [&str; 12] = [
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ];
        const WEEKDAYS: [&str; 7] = ["sun", "Mon", "TUE", "wed", "Thu", "FRI", "sat"];
        Self([
            field(g, 0, 59, &[]),
            field(g, 0, 23, &[]),
            field(g, 1, 31, &[]),
            field(g, 1, 12, &MONTHS),
            field(g, 0, 7, &WEEKDAYS),
        ])
    }
}

impl Line {
    fn text(&self) -> String {
        self.0.join(" ")
    }

    /// Whether a day must match both day fields. In Vixie cron, that is so if one of the fields starts with `*`; in
    /// croner, only if one is a bare `*`.
    fn joins_days_by_and(&self) -> bool {
        self.0[2].starts_with('*') || self.0[4].starts_with('*')
    }
}

fn field(g: &mut Gen, low: u32, high: u32, names: &[&str]) -> String {
    let parts = *g.choose(&[1, 1, 1, 2, 3]).unwrap();
    let parts: Vec<String> = (0..parts).map(|_| part(g, low, high, names)).collect();
    if parts.iter().any(|part| part.starts_with('*')) {
        return parts
            .into_iter()
            .find(|part| part.starts_with('*'))
            .unwrap();
    }
    parts.join(",")
}

fn part(g: &mut Gen, low: u32, high: u32, names: &[&str]) -> String {
    let a = low + u32::arbitrary(g) % (high - low + 1);
    let b = low + u32::arbitrary(g) % (high - low + 1);
    let (a, b) = (a.min(b), a.max(b));
    let first = u32::from(high == 12);
    let written = |value: u32, by_name: bool| match names.get((value - first) as usize) {
        Some(name) if by_name => (*name).to_owned(),
        _ => value.to_string(),
    };
    let by_name = bool::arbitrary(g);
    match u8::arbitrary(g) % 6 {
        0 | 1 => "*".to_owned(),
        2 => written(a, by_name),
        // croner reads SUN-SUN as 0-7
        3 if a < b => format!("{}-{}", written(a, by_name), written(b, by_name)),
        4 => format!("*/{}", 1 + u32::arbitrary(g) % ((high - low) / 2)),
        _ => format!("{a}-{b}/{}", 1 + u32::arbitrary(g) % (b - a).max(1)),
    }
}
