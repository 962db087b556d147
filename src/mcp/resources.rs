//! The MCP resources: the status, each run and each meter as JSON, and the card.

use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::Failure;
use crate::mirrors::Mirror;
use crate::mirrors::history::meters::KeyText;
use crate::mirrors::state::status::{RunRecord, StatusQuery};
use crate::model::{Change, Rejection, RunId};

use super::page_address::PageAddress;
use super::{app, status};
use crate::arguments::shorten;

const STATUS: &str = "meter-sync://status";
const RUNS: &str = "meter-sync://runs/";
const METERS: &str = "meter-sync://meters/";
/// The address template of a run.
pub(super) const RUN_TEMPLATE: &str = "meter-sync://runs/{run_id}";
/// The address template of a meter. If the key has several columns, their values are separated by commas.
pub(super) const METER_TEMPLATE: &str = "meter-sync://meters/{key}";
const JSON: &str = "application/json";
/// The longest address in bytes. The percent-encoded key of any meter is shorter.
const LONGEST: usize = 2048;
/// How many changes and rejected rows of a run are listed at most.
const CHANGES: u32 = 200;

/// The resource that an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Status,
    Run(RunId),
    Meter(KeyText),
}

impl Address {
    /// Parses an address; `None` if it names neither the status nor a run nor a meter.
    pub(super) fn parse(uri: &str) -> Option<Self> {
        if uri.len() > LONGEST {
            return None;
        }
        if uri == STATUS {
            return Some(Self::Status);
        }
        if let Some(id) = uri.strip_prefix(RUNS) {
            return id.parse().ok().map(Self::Run);
        }
        uri.strip_prefix(METERS)
            .and_then(KeyText::parse)
            .map(Self::Meter)
    }
}

/// Returns the resources that have a fixed address: the status and the card.
pub(super) fn list() -> Vec<Resource> {
    vec![
        Resource::new(STATUS, "status")
            .with_title("Meter sync status")
            .with_description(
                "Whether the local meters can be relied on, the last runs and the next, as meter_sync_status answers it.",
            )
            .with_mime_type(JSON),
        app::resource(),
    ]
}

/// Returns the address templates of runs and meters.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new(RUN_TEMPLATE, "run")
            .with_title("A sync run")
            .with_description(
                "One run of the log: counts, error and remedy, its changes with old and new fields, and the rows it rejected.",
            )
            .with_mime_type(JSON),
        ResourceTemplate::new(METER_TEMPLATE, "meter")
            .with_title("A meter and its history")
            .with_description(
                "One meter by its key: its local row, and what each run changed of it and when. The values of a key of several columns are separated by commas.",
            )
            .with_mime_type(JSON),
    ]
}

/// A run as `meter-sync://runs/{run_id}` gives it.
#[derive(Debug, Serialize, JsonSchema)]
struct Run {
    run: RunRecord,
    changes: Vec<Change>,
    changes_total: i64,
    truncated: bool,
    rejected: Vec<Rejection>,
}

/// Reads the resource at an address. An error if there is none, or if it cannot be read.
pub(super) async fn read(
    mirror: &Mirror,
    uri: &str,
    page: &PageAddress,
) -> Result<ReadResourceResult, ErrorData> {
    if uri == app::URI {
        return Ok(app::read());
    }
    let json = match Address::parse(uri) {
        Some(Address::Status) => {
            let status = status::plain(mirror, page).await;
            text(&status.map_err(|failure| unreadable(&failure))?)
        }
        Some(Address::Run(id)) => text(&run(mirror, id, uri).await?),
        Some(Address::Meter(key)) => {
            let meter = mirror
                .meter(&key)
                .await
                .map_err(|failure| unreadable(&failure))?;
            text(&meter.ok_or_else(|| not_found(uri))?)
        }
        None => return Err(not_found(uri)),
    };
    let contents = ResourceContents::text(json?, uri).with_mime_type(JSON);
    Ok(ReadResourceResult::new(vec![contents]))
}

async fn run(mirror: &Mirror, id: RunId, uri: &str) -> Result<Run, ErrorData> {
    let query = StatusQuery {
        run_id: Some(id),
        include_changes: true,
        changes_limit: CHANGES,
        ..StatusQuery::default()
    };
    let status = mirror.status(&query).await;
    let status = status.map_err(|_no_such_run| not_found(uri))?;
    let run = status.history.into_iter().find(|run| run.run_id == id);
    let Some(run) = run else {
        // While the local database is down, only the last run of this process is known.
        return Err(ErrorData::internal_error(status.warnings.join(" "), None));
    };
    let changes = status.changes.unwrap_or_default();
    let total = run.counts.changes_to_list(changes.len());
    Ok(Run {
        changes_total: total,
        truncated: i64::try_from(changes.len()).is_ok_and(|listed| listed < total),
        run,
        changes,
        rejected: status.rejected.unwrap_or_default(),
    })
}

fn text(value: &impl Serialize) -> Result<String, ErrorData> {
    serde_json::to_string(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn not_found(uri: &str) -> ErrorData {
    let message = format!(
        "There is nothing at `{}`. Addresses are {STATUS}, {RUN_TEMPLATE} and {METER_TEMPLATE}.",
        shorten(uri)
    );
    ErrorData::resource_not_found(message, Some(serde_json::json!({"uri": shorten(uri)})))
}

fn unreadable(failure: &Failure) -> ErrorData {
    let Failure {
        code,
        message,
        remedy,
    } = failure;
    ErrorData::internal_error(format!("{message} Remedy: {remedy} [{code}]"), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(key: &[&str]) -> Option<Address> {
        let values = key.iter().map(|&part| part.to_owned()).collect();
        Some(Address::Meter(KeyText::Ordered(values)))
    }

    #[test]
    fn an_address_is_read_as_it_was_written() {
        let id = "0190c2f1-7a00-7000-8000-000000000001";
        for (uri, address) in [
            ("meter-sync://status", Some(Address::Status)),
            (
                "meter-sync://runs/0190c2f1-7a00-7000-8000-000000000001",
                id.parse().ok().map(Address::Run),
            ),
            ("meter-sync://meters/42", meter(&["42"])),
            ("meter-sync://meters/a%2Fb%2Cc", meter(&["a/b,c"])),
            (
                "meter-sync://meters/7,Main%20hall",
                meter(&["7", "Main hall"]),
            ),
            ("meter-sync://meters/", None),
            ("meter-sync://meters/%00", None),
            ("meter-sync://meters/%ff", None),
            ("meter-sync://runs/latest", None),
            ("meter-sync://statu", None),
            ("https://status", None),
        ] {
            assert_eq!(Address::parse(uri), address, "{uri}");
        }
        let long = format!("meter-sync://meters/{}", "9".repeat(LONGEST));
        assert_eq!(Address::parse(&long), None);
    }
}
