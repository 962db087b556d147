//! `meter-sync verify`: compares all meters of both sides and changes none, or prints the SQL with which anyone can do so.

use serde::Serialize;

use super::{CommandReport, exit_codes, find_mirror};
use crate::app::App;
use crate::mirrors::VerifyRequest;
use crate::model::RunTrigger;
use crate::reports::verify_report::VerifyReport;

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// Also compare every value, by a dry run, and not only digests of the contents
    #[arg(long, conflicts_with = "sql")]
    every_value: bool,
    /// Print the SQL that returns the number of meters and the digest of a side, to paste into psql there
    #[arg(long)]
    sql: bool,
    /// Print the result as one JSON object
    #[arg(long, env = "METER_SYNC_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
}

/// What `verify --sql --json` prints.
#[derive(Debug, Serialize)]
struct SqlReport<'a> {
    /// The statement for the remote.
    remote: &'a str,
    /// The statement for the local side; the same if one statement serves both sides.
    local: &'a str,
}

impl VerifyArgs {
    /// Reports whether both sides are equal; the exit code is 1 if they differ. With `--sql`, reports the statements.
    pub(super) async fn run(self, app: &App) -> anyhow::Result<CommandReport> {
        let mirror = find_mirror(app.mirrors()).await?;
        if self.sql {
            let sql = mirror.verification_sql().await?;
            let (remote, local) = (sql.remote.as_str(), sql.local.as_str());
            return Ok(match self.json {
                true => CommandReport::json(&SqlReport { remote, local }),
                false => CommandReport::text(&sql_text(remote, local)),
            });
        }
        let request = VerifyRequest {
            every_value: self.every_value,
            trigger: RunTrigger::Cli,
            actor: None,
        };
        let verified = mirror.verify(&request).await?;
        let report = match self.json {
            true => CommandReport::json(&verified),
            false => CommandReport::text(&in_words(&verified)),
        };
        Ok(match verified.are_equal {
            true => report,
            false => report.with_code(exit_codes::FAILED),
        })
    }
}

fn sql_text(remote: &str, local: &str) -> String {
    match remote == local {
        true => format!("-- On either side. Equal results mean equal meters.\n{remote}\n"),
        false => format!(
            "-- On the remote. A result equal to that of the local side means equal meters.\n{remote}\n\n\
             -- On the local side.\n{local}\n"
        ),
    }
}

fn in_words(verified: &VerifyReport) -> String {
    let VerifyReport { remote, local, .. } = verified;
    let at = verified.verified_at.format("%Y-%m-%d %H:%M:%S UTC");
    let took_s = verified.duration_ms / 1000;
    format!(
        "{}\n{}\nremote     {} meters, digest {}\nlocal      {} meters, digest {}\nverified   {at}, in {took_s} s\n",
        verified.summary,
        verified.next_step,
        remote.meters,
        remote.digest,
        local.meters,
        local.digest,
    )
}
