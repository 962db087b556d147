//! `meter-sync pause` and `meter-sync resume`: pause the syncs of a tenant's meters, and end the pause.

use chrono::{DateTime, Utc};

use super::approval_prompt::account;
use super::{CommandReport, find_mirror};
use crate::app::App;
use crate::arguments::bounds::REASON_CHARS;
use crate::arguments::{future_time, one_line};
use crate::error::{ErrorCode, Failure};
use crate::make_printable;
use crate::model::PauseRequest;
use crate::reports::pause_text;

#[derive(Debug, clap::Args)]
pub(super) struct PauseArgs {
    /// Why the syncs are paused; shown with the pause
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: String,
    /// When the pause ends by itself: how long from now (90m, 4h, 7d), or a time (2036-01-31T08:00:00Z)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl PauseArgs {
    /// Pauses the syncs, or replaces the pause that there is.
    pub(super) async fn run(self, app: &App) -> anyhow::Result<CommandReport> {
        let mirror = find_mirror(app.mirrors()).await?;
        // The pause ends by the database's clock.
        mirror.look_at_the_clock().await?;
        let until = self.until.map(|text| parse_end(&text, mirror.now()));
        let request = PauseRequest {
            by: Some(account(&mirror.site())),
            reason: self.reason,
            until: until.transpose()?,
        };
        let pause = mirror.pause(&request).await?;
        let said = pause_text::summary(&pause, None, mirror.now());
        Ok(CommandReport::text(&format!(
            "{}\nA sync in progress goes on to its end; scheduled runs are dry runs. `meter-sync resume` ends the pause.\n",
            make_printable::lines(&said)
        )))
    }
}

/// Ends the pause of the syncs.
pub(super) async fn resume(app: &App) -> anyhow::Result<CommandReport> {
    let mirror = find_mirror(app.mirrors()).await?;
    let by = account(&mirror.site());
    let text = match mirror.resume(Some(&by)).await? {
        Some(_) => {
            "The syncs go on: the next scheduled run syncs, and `meter-sync sync` syncs now.\n"
        }
        None => "The syncs were not paused.\n",
    };
    Ok(CommandReport::text(text))
}

fn parse_reason(text: &str) -> Result<String, String> {
    let reason = one_line(text);
    match reason.chars().count() {
        0 => Err("it must say why".to_owned()),
        1..=REASON_CHARS => Ok(reason),
        count => Err(format!(
            "it must have at most {REASON_CHARS} characters, not {count}"
        )),
    }
}

fn parse_end(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
    let end = future_time::parse("--until", text, now);
    end.map_err(|refused| {
        Failure::new(ErrorCode::ConfigInvalid, refused.0)
            .with_remedy("Leave it out to pause until somebody resumes.")
    })
}
