//! Cron lines: what is taken fires again and again, each time later, and however the line is written.

use bolero::{Driver, TypeGenerator, check};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use meter_sync::config::Schedule;

use super::draw::{below, edited, once_in, pick};
use super::inputs;

const ZONES: [Tz; 5] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::Australia__Lord_Howe,
    Tz::Asia__Kathmandu,
];

/// When clocks change, in spring and in autumn.
const CHANGES: [(Tz, i64); 6] = [
    (Tz::Europe__Berlin, 1_774_746_000),       // 2026-03-29T01:00Z
    (Tz::Europe__Berlin, 1_792_890_000),       // 2026-10-25T01:00Z
    (Tz::America__New_York, 1_772_953_200),    // 2026-03-08T07:00Z
    (Tz::America__New_York, 1_793_512_800),    // 2026-11-01T06:00Z
    (Tz::Australia__Lord_Howe, 1_775_314_800), // 2026-04-04T15:00Z
    (Tz::Australia__Lord_Howe, 1_791_041_400), // 2026-10-03T15:30Z
];

const PIECES: &[&str] = &[
    "*",
    "/",
    "-",
    ",",
    " ",
    "0",
    "7",
    "31",
    "59",
    "60",
    "?",
    "L",
    "W",
    "#2",
    "@daily",
    "@hourly",
    "MON",
    "feb",
    "29 2",
    "2024",
    "2099",
    "2100",
    "99999999999",
    "/0",
    "+5",
];

/// Each field of a line of seven, with the values that it takes.
const FIELDS: [(u32, u32); 7] = [
    (0, 59),
    (0, 59),
    (0, 23),
    (1, 31),
    (1, 12),
    (0, 7),
    (2020, 2099),
];

#[derive(Clone, Debug)]
struct Case {
    line: String,
    zone: Tz,
    from: DateTime<Utc>,
}

impl TypeGenerator for Case {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        let fields = match below(driver, 4)? {
            0 => FIELDS.as_slice(),
            1 => FIELDS.get(..6)?,
            _ => FIELDS.get(1..6)?,
        };
        let fields: Option<Vec<_>> = fields.iter().map(|range| field(driver, *range)).collect();
        let line = fields?.join(" ");
        let (zone, seconds) = match once_in(driver, 2)? {
            true => {
                let seconds = 1_577_836_800 + i64::try_from(below(driver, 1_000_000_000)?).ok()?;
                (*pick(driver, &ZONES)?, seconds)
            }
            // From two hours before a change to one after it.
            false => {
                let (zone, change) = pick(driver, &CHANGES)?;
                let before = i64::try_from(below(driver, 3 * 3600)?).ok()?;
                (*zone, change + 3600 - before)
            }
        };
        Some(Self {
            line: match once_in(driver, 3)? {
                true => edited(driver, &line, PIECES)?,
                false => line,
            },
            zone,
            from: DateTime::from_timestamp(seconds, 0)?,
        })
    }
}

fn field<D: Driver>(driver: &mut D, (low, high): (u32, u32)) -> Option<String> {
    let mut value = || Some(low + u32::try_from(below(driver, (high - low + 1) as usize)?).ok()?);
    let (one, other) = (value()?, value()?);
    let (one, other) = (one.min(other), one.max(other));
    Some(match below(driver, 6)? {
        0..3 => "*".to_owned(),
        3 => one.to_string(),
        4 => format!("{one}-{other}"),
        _ => format!("{one},{other}"),
    })
}

/// The next few firings, in their order.
fn firings(schedule: &Schedule, from: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let firings =
        std::iter::successors(schedule.next_after(from), |last| schedule.next_after(*last));
    firings.take(6).collect()
}

#[test]
fn a_line_agrees_with_itself() {
    check!()
        .with_iterations(inputs(400))
        .with_type::<Case>()
        .for_each(|Case { line, zone, from }| {
            let schedule = match Schedule::parse(line, *zone) {
                Ok(schedule) => schedule,
                Err(error) => return assert!(error.to_string().len() > 10, "{error}"),
            };
            let next = firings(&schedule, *from);
            let mut last = *from;
            for firing in &next {
                assert!(*firing > last, "{last} {firing}");
                assert_eq!(schedule.latest_at_or_before(*firing), Some(*firing));
                let just_before = *firing - TimeDelta::seconds(1);
                assert_eq!(schedule.next_after(just_before), Some(*firing));
                last = *firing;
            }
            let written = line.to_ascii_lowercase().replace(' ', " \t ");
            let again = Schedule::parse(&written, *zone)
                .unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(firings(&again, *from), next, "{written}");
            assert!(!schedule.describe().is_empty());
        });
}
