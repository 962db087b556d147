//! `meter-sync schedule`: lists the next times at which a sync starts by itself.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::CommandReport;
use crate::config::{Config, Schedule};
use crate::machine_clock;

/// How many times are listed.
const LISTED: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct ScheduleArgs {
    /// Print the schedule as one JSON object
    #[arg(long, env = "METER_SYNC_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
}

/// What `schedule --json` prints.
#[derive(Debug, Serialize)]
struct ScheduleReport {
    /// The cron line, or `off`.
    line: String,
    /// The time zone of the line.
    timezone: String,
    /// The next slots (scheduled times), earliest first.
    slots: Vec<ListedSlot>,
}

/// A slot, as the clocks of both zones show it.
#[derive(Debug, Serialize)]
struct ListedSlot {
    utc: DateTime<Utc>,
    /// In the time zone of the schedule.
    local: DateTime<Tz>,
}

impl ScheduleArgs {
    /// Lists the next slots, by the clock of this machine.
    pub(super) fn run(self, config: &Config) -> CommandReport {
        let schedule = config.schedule.as_ref();
        if self.json {
            return CommandReport::json(&ScheduleReport {
                line: schedule.map_or("off", Schedule::line).to_owned(),
                timezone: schedule
                    .map_or("UTC", |schedule| schedule.zone().name())
                    .to_owned(),
                slots: schedule.map_or_else(Vec::new, next_slots),
            });
        }
        let text = schedule.map_or_else(
            || "The schedule is off: METER_SYNC_SCHEDULE.\n".to_owned(),
            |schedule| in_words(schedule, config.jitter),
        );
        CommandReport::text(&text)
    }
}

fn next_slots(schedule: &Schedule) -> Vec<ListedSlot> {
    let next = |slot: &DateTime<Utc>| schedule.next_after(*slot);
    let slots = std::iter::successors(schedule.next_after(machine_clock::now()), next);
    let listed = slots.take(LISTED).map(|utc| ListedSlot {
        utc,
        local: utc.with_timezone(&schedule.zone()),
    });
    listed.collect()
}

fn in_words(schedule: &Schedule, jitter: std::time::Duration) -> String {
    let mut text = format!("A sync starts {}", schedule.describe());
    if !jitter.is_zero() {
        text += &format!(", after a random delay of at most {jitter:?}");
    }
    text += ". A sync that is still running then is not joined by a second one: the new one follows it.\n";
    for ListedSlot { utc, local } in next_slots(schedule) {
        text += &match schedule.zone() == Tz::UTC {
            true => format!("  {}\n", utc.format("%a %Y-%m-%d %H:%M:%S UTC")),
            false => format!(
                "  {}   {}\n",
                local.format("%a %Y-%m-%d %H:%M:%S %Z"),
                utc.format("%a %H:%M:%S UTC")
            ),
        };
    }
    text
}
