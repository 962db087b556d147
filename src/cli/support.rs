//! `meter-sync support`: writes one file with all that somebody needs who is asked for help: the settings without secrets,
//! the checks, the state and the last runs.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::Context;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::CommandReport;
use super::check::CheckReport;
use crate::app::App;
use crate::arguments::bounds::HISTORY;
use crate::config::{CommandLineSettings, EffectiveSetting, Environment, list};
use crate::machine_clock;
use crate::mirrors::Mirrors;
use crate::reports::status::{Status, StatusQuery};
use crate::reports::tenant_list::TenantsQuery;

#[derive(Debug, clap::Args)]
pub(super) struct SupportArgs {
    /// The file to write; it must not exist yet [default: meter-sync-support-TIME.json in the current directory]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The content of the file.
#[derive(Debug, Serialize)]
struct SupportFile {
    written_at: DateTime<Utc>,
    version: &'static str,
    /// The operating system and the architecture that the program was built for.
    platform: String,
    settings: Vec<EffectiveSetting>,
    check: Value,
    /// The state, with the last 50 runs; of several tenants the state of all, with the first 200.
    status: Status,
}

impl SupportArgs {
    /// Writes the file, and reports its name.
    pub(super) async fn run(
        self,
        settings: &CommandLineSettings,
        app: &App,
    ) -> anyhow::Result<CommandReport> {
        let written_at = machine_clock::now();
        let findings = crate::check::run(app.mirrors().config()).await;
        let content = SupportFile {
            written_at,
            version: env!("CARGO_PKG_VERSION"),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            settings: list(settings, &Environment::of_process())?,
            check: serde_json::to_value(CheckReport::of(&findings))?,
            status: status(app.mirrors()).await?,
        };
        let path = self.output.unwrap_or_else(|| {
            let time = written_at.format("%Y%m%dT%H%M%SZ");
            PathBuf::from(format!("meter-sync-support-{time}.json"))
        });
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        file.write_all(serde_json::to_string_pretty(&content)?.as_bytes())
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(CommandReport::text(&format!(
            "Written to {}. It holds no password, token or meter; it names hosts, tables, columns, tenants and who started runs, and quotes errors, which may hold a value of a row. \
             Read it before you send it.\n",
            path.display()
        )))
    }
}

async fn status(mirrors: &Mirrors) -> anyhow::Result<Status> {
    let query = StatusQuery {
        history: HISTORY.max(),
        ..StatusQuery::default()
    };
    Ok(match mirrors.only() {
        // The deactivations held back name meters.
        Some(mirror) => Status {
            held_back: None,
            ..mirror.status(&query).await?
        },
        None => {
            let all = TenantsQuery {
                limit: 200,
                ..TenantsQuery::default()
            };
            mirrors.overview(&all).await
        }
    })
}
