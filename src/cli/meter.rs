//! `meter-sync meter`: prints one meter, whether and why it is inactive, and what syncs have changed of it.

use chrono::{DateTime, Utc};
use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;

use super::command_output::on_one_line;
use super::run_text::{destination, key_text, moved, value};
use super::{CommandReport, exit_codes, find_mirror, parse_past_time};
use crate::app::App;
use crate::arguments::bounds::CHANGES_LIMIT;
use crate::history::find_meter::{FindMeterQuery, FoundMeters};
use crate::model::MeterFields;
use crate::reports::meter_report::{MeterMatch, MeterReport};

/// How many changes of the meter are listed, unless the caller sets another limit.
const CHANGES: u32 = 20;

#[derive(Debug, clap::Args)]
pub(super) struct MeterArgs {
    /// The meter's key (the values of a key of several columns with commas between; a comma within a value is %2C), or a
    /// part of its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    meter: String,
    /// Show how the meter was at this time, in place of how it is: `24h` or `7d` ago, 2026-01-31, or 2026-01-31T08:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_past_time)]
    at: Option<DateTime<Utc>>,
    /// How many changes to list, newest first
    #[arg(long, value_name = "N", default_value_t = CHANGES, value_parser = clap::value_parser!(u32).range(i64::from(CHANGES_LIMIT.min())..=CHANGES_LIMIT.max().into()))]
    limit: u32,
    /// Print the meter as one JSON object
    #[arg(long, env = "METER_SYNC_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
}

/// What `meter --json` prints if not exactly one meter is found.
#[derive(Debug, Serialize)]
struct MatchesReport<'a> {
    summary: &'a str,
    matches: &'a [MeterMatch],
}

impl MeterArgs {
    /// Reports the meter. If none or several are found, reports these, with exit code 1.
    pub(super) async fn run(self, app: &App) -> anyhow::Result<CommandReport> {
        let mirror = find_mirror(app.mirrors()).await?;
        let query = FindMeterQuery {
            at: self.at,
            since: None,
            before: None,
            limit: self.limit,
        };
        let found = mirror.find_meter(&self.meter, query).await?;
        let summary = found.in_words(&self.meter);
        Ok(match (&found, self.json) {
            (FoundMeters::One(meter), true) => CommandReport::json(meter),
            (FoundMeters::One(meter), false) => CommandReport::text(&in_words(meter, &summary)),
            (FoundMeters::Others { matches, .. }, true) => {
                let summary = summary.as_str();
                let report = CommandReport::json(&MatchesReport { summary, matches });
                report.with_code(exit_codes::FAILED)
            }
            (FoundMeters::Others { matches, .. }, false) => {
                let lines: String = matches.iter().map(match_line).collect();
                let report = CommandReport::text(&format!("{summary}\n{lines}"));
                report.with_code(exit_codes::FAILED)
            }
        })
    }
}

fn match_line(found: &MeterMatch) -> String {
    let name = on_one_line(found.name.as_deref().unwrap_or_default());
    let state = match found.active {
        Some(true) => "active",
        Some(false) => "inactive",
        None => "",
    };
    format!("  {}  {name}  {state}\n", key_text(&found.key))
}

fn in_words(meter: &MeterReport, summary: &str) -> String {
    let mut text = format!("{summary}\n");
    let shown = match &meter.past {
        Some(past) => past.meter.as_ref().map(|row| (row, moment(past.at))),
        None => meter.meter.as_ref().map(|row| (row, "now".to_owned())),
    };
    if let Some((shown, when)) = shown {
        text += &format!("\nThe row {when}:\n{}", row(shown));
    }
    if !meter.changes.is_empty() {
        text += "\nChanges by syncs, newest first:\n";
    }
    for change in &meter.changes {
        let at = moment(change.at);
        let who = match &change.actor {
            Some(actor) => format!("{}, {}", change.trigger, on_one_line(actor)),
            None => change.trigger.to_string(),
        };
        let moved = moved(&change.before, &change.after);
        let end = if moved.is_empty() { "" } else { ": " };
        text += &format!(
            "{at}  {}  {} ({who}){end}{moved}{}\n",
            change.run_id,
            change.action,
            destination(change.gone_to.as_ref())
        );
    }
    if meter.has_more {
        text += "... and older ones: --limit\n";
    }
    text
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn row(row: &MeterFields) -> String {
    let longest = row.keys().map(|column| column.chars().count()).max();
    let width = longest.unwrap_or_default().min(LONGEST_COLUMN);
    let line = |(column, held): (&String, &serde_json::Value)| {
        format!("  {:<width$}  {}\n", on_one_line(column), value(held))
    };
    row.iter().map(line).collect()
}

/// The longest name of a column after which the values still stand in one line below each other, in characters.
const LONGEST_COLUMN: usize = 30;
