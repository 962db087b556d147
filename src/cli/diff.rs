//! `meter-sync diff`: prints how the meters differ between the ends of two runs.

use super::run_text::{change_line, more};
use super::{CommandReport, find_mirror};
use crate::app::App;
use crate::arguments::bounds::{LISTED_CHANGES, LISTED_CHANGES_LIMIT};
use crate::error::ErrorCode;
use crate::model::RunId;
use crate::reports::run_difference::RunDifference;

/// What to do if a run cannot be compared.
const REMEDY: &str = "`meter-sync status --history 50` lists the latest runs with their ids.";

#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// The id of a run, as `meter-sync status` lists it
    #[arg(value_name = "RUN_ID")]
    one: RunId,
    /// The id of another run, before or after it
    #[arg(value_name = "RUN_ID")]
    other: RunId,
    /// How many meters to list at most
    #[arg(long, value_name = "N", default_value_t = LISTED_CHANGES, value_parser = clap::value_parser!(u32).range(1..=i64::from(LISTED_CHANGES_LIMIT.max())))]
    limit: u32,
    /// Print the difference as one JSON object
    #[arg(long, env = "METER_SYNC_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
}

impl DiffArgs {
    /// Reports the difference.
    pub(super) async fn run(self, app: &App) -> anyhow::Result<CommandReport> {
        let mirror = find_mirror(app.mirrors()).await?;
        let compared = mirror.compare_runs(self.one, self.other, self.limit).await;
        let difference =
            compared.map_err(|failure| match failure.code == ErrorCode::ConfigInvalid {
                true => failure.with_remedy(REMEDY),
                false => failure,
            })?;
        Ok(match self.json {
            true => CommandReport::json(&difference),
            false => CommandReport::text(&in_words(&difference)),
        })
    }
}

fn in_words(difference: &RunDifference) -> String {
    let mut text = format!("{}\n", difference.summary);
    for change in &difference.changes {
        text += &format!("  {}\n", change_line(change));
    }
    let more = difference
        .meters
        .map(|meters| more(meters, difference.changes.len()));
    if let Some(more @ 1..) = more {
        text += &format!("  ... {more} more meters: --limit\n");
    }
    text
}
