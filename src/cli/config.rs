//! `meter-sync config`: lists every setting, its value and where the value came from.

use serde::Serialize;

use super::CommandReport;
use super::command_output::on_one_line;
use crate::config::{CommandLineSettings, EffectiveSetting, Environment, list};

#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// Print the settings as one JSON object
    #[arg(long, env = "METER_SYNC_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
}

/// What `config --json` prints.
#[derive(Debug, Serialize)]
struct ConfigReport {
    settings: Vec<EffectiveSetting>,
}

impl ConfigArgs {
    /// Returns a report with every setting, its value and where the value came from.
    pub(super) fn run(self, settings: &CommandLineSettings) -> anyhow::Result<CommandReport> {
        let settings = list(settings, &Environment::of_process())?;
        Ok(match self.json {
            true => CommandReport::json(&ConfigReport { settings }),
            false => CommandReport::text(&settings.iter().map(line).collect::<String>()),
        })
    }
}

fn line(listed: &EffectiveSetting) -> String {
    let EffectiveSetting {
        setting,
        value,
        place,
        ..
    } = listed;
    match value {
        Some(value) => {
            let place = place.as_deref().unwrap_or("default");
            let (value, place) = (on_one_line(value), on_one_line(place));
            format!("{setting:<24} {value}  [{place}]\n")
        }
        None => format!("{setting:<24} not set\n"),
    }
}
