//! The MCP resources: the status of the sync, each run and each meter as JSON, and the status card as HTML.

use percent_encoding::percent_decode_str;
use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{ErrorCode, Failure};
use crate::history::parse_meter_key::MeterKeyText;
use crate::mirrors::{Mirror, Mirrors};
use crate::model::{Change, Rejection, RunId, RunRecord};
use crate::reports::status::StatusQuery;
use crate::reports::tenant_list::TenantsQuery;

use super::caller::{Caller, TargetMirror};
use super::{build_status_of_many, status_card, status_tool, tool_result};
use crate::arguments::bounds::CHANGES_LIMIT;
use crate::arguments::shorten;

/// The address of the status: of the only tenant, or of all tenants if the process syncs several.
const STATUS: &str = "meter-sync://status";
const SCHEME: &str = "meter-sync://";
/// The text between the scheme and the tenant's id in an address that names a tenant.
const TENANTS: &str = "tenants/";
/// The address template of a run.
pub(super) const RUN_TEMPLATE: &str = "meter-sync://runs/{run_id}";
/// The address template of a meter. If the key has several columns, their values are separated by commas.
pub(super) const METER_TEMPLATE: &str = "meter-sync://meters/{key}";
/// The address template of the status of one tenant, if the process keeps several mirrors.
pub(super) const TENANT_STATUS_TEMPLATE: &str = "meter-sync://tenants/{tenant_id}/status";
/// The address template of a run of one tenant.
pub(super) const TENANT_RUN_TEMPLATE: &str = "meter-sync://tenants/{tenant_id}/runs/{run_id}";
/// The address template of a meter of one tenant.
pub(super) const TENANT_METER_TEMPLATE: &str = "meter-sync://tenants/{tenant_id}/meters/{key}";
const JSON: &str = "application/json";
/// The longest address in bytes. A meter whose percent-encoded key makes its address longer cannot be read as a
/// resource.
const LONGEST: usize = 2048;

/// The parsed address of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResourceAddress {
    /// The tenant that the address names. Without one (`None`), the address is about the only tenant, or about all
    /// tenants.
    pub(super) tenant: Option<String>,
    pub(super) subject: ResourceKind,
}

/// The kind of resource that an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResourceKind {
    Status,
    Run(RunId),
    Meter(MeterKeyText),
}

impl ResourceAddress {
    /// Parses the address of a status, a run or a meter. Returns `None` for any other address.
    pub(super) fn parse(uri: &str) -> Option<Self> {
        if uri.len() > LONGEST {
            return None;
        }
        let path = uri.strip_prefix(SCHEME)?;
        let (tenant, path) = match path.strip_prefix(TENANTS) {
            Some(of_tenant) => {
                let (tenant, path) = of_tenant.split_once('/')?;
                (Some(decoded(tenant)?), path)
            }
            None => (None, path),
        };
        let subject = match path.split_once('/') {
            None if path == "status" => Some(ResourceKind::Status),
            Some(("runs", id)) => id.parse().ok().map(ResourceKind::Run),
            Some(("meters", key)) => MeterKeyText::parse(key).map(ResourceKind::Meter),
            Some(_) | None => None,
        };
        Some(Self {
            tenant,
            subject: subject?,
        })
    }
}

/// Decodes a tenant's id from an address. Returns `None` if the id is blank, or not a single line of UTF-8 text.
fn decoded(id: &str) -> Option<String> {
    let id = percent_decode_str(id).decode_utf8().ok()?.into_owned();
    let is_id = !id.trim().is_empty() && !id.contains(char::is_control);
    is_id.then_some(id)
}

/// Returns the resources that have a fixed address: the status and the status card.
pub(super) fn list() -> Vec<Resource> {
    vec![
        Resource::new(STATUS, "status")
            .with_title("Meter sync status")
            .with_description(
                "Whether the local meters can be relied on, the last runs and the next, as meter_sync_status answers it.",
            )
            .with_mime_type(JSON),
        status_card::resource(),
    ]
}

/// Returns the address templates. If the process keeps one mirror (`is_one`), these are for runs and meters; otherwise
/// for the status, runs and meters of each tenant.
pub(super) fn templates(is_one: bool) -> Vec<ResourceTemplate> {
    let template = |uri: &str, name, title, description| {
        ResourceTemplate::new(uri, name)
            .with_title(title)
            .with_description(description)
            .with_mime_type(JSON)
    };
    let run = |uri| {
        template(
            uri,
            "run",
            "A sync run",
            "One run of the log: counts, error and remedy, its changes with old and new fields, and the rows it rejected.",
        )
    };
    let meter = |uri| {
        template(
            uri,
            "meter",
            "A meter and its history",
            "One meter by its key: its local row, and what each run changed of it and when. The values of a key of several columns are separated by commas.",
        )
    };
    if is_one {
        return vec![run(RUN_TEMPLATE), meter(METER_TEMPLATE)];
    }
    let status = template(
        TENANT_STATUS_TEMPLATE,
        "tenant",
        "The status of one tenant",
        "Whether one tenant's local meters can be relied on, its last runs and the next, as meter_sync_status answers it with `tenant_id`.",
    );
    vec![
        status,
        run(TENANT_RUN_TEMPLATE),
        meter(TENANT_METER_TEMPLATE),
    ]
}

/// The content of the resource `meter-sync://runs/{run_id}`: a run with its changes and rejected rows.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Run")]
struct RunResource {
    run: RunRecord,
    changes: Vec<Change>,
    changes_total: i64,
    truncated: bool,
    rejected: Vec<Rejection>,
}

/// The protocol error for a resource that does not exist or cannot be read. It is a type of its own, because a failure
/// becomes another protocol error in other requests.
#[derive(Debug)]
pub(super) struct ResourceError(ErrorData);

impl From<ResourceError> for ErrorData {
    fn from(ResourceError(error): ResourceError) -> Self {
        error
    }
}

impl From<Failure> for ResourceError {
    /// Returns "resource not found" if the address must name a tenant but does not, or names an unknown one. Otherwise
    /// returns an internal error.
    fn from(failure: Failure) -> Self {
        let Failure {
            code,
            message,
            remedy,
        } = failure;
        let text = format!("{message} Remedy: {remedy} [{code}]");
        let is_missing = [ErrorCode::TenantRequired, ErrorCode::TenantUnknown].contains(&code);
        Self(match is_missing {
            true => ErrorData::resource_not_found(text, None),
            false => ErrorData::internal_error(text, None),
        })
    }
}

impl From<serde_json::Error> for ResourceError {
    fn from(error: serde_json::Error) -> Self {
        Self(tool_result::internal(error))
    }
}

/// Reads the resource at an address. Returns an error if there is no such resource, or if it cannot be read.
pub(super) async fn read(
    mirrors: &Mirrors,
    uri: &str,
    caller: &Caller,
) -> Result<ReadResourceResult, ResourceError> {
    if uri == status_card::URI {
        return Ok(status_card::read());
    }
    let Some(ResourceAddress { tenant, subject }) = ResourceAddress::parse(uri) else {
        return Err(not_found(uri, mirrors));
    };
    let is_of_all = tenant.is_none() && mirrors.only().is_none();
    let json = if is_of_all && subject == ResourceKind::Status {
        let status = build_status_of_many::read(mirrors, caller, TenantsQuery::default()).await;
        serde_json::to_string(&status)?
    } else {
        let target = caller.find(mirrors, tenant.as_deref()).await?;
        let found = read_of(&target, subject).await?;
        found.ok_or_else(|| not_found(uri, mirrors))?
    };
    let contents = ResourceContents::text(json, uri).with_mime_type(JSON);
    Ok(ReadResourceResult::new(vec![contents]))
}

/// Reads the status, a run or a meter of one tenant as JSON. Returns `None` if there is no such run or meter.
async fn read_of(
    target: &TargetMirror,
    subject: ResourceKind,
) -> Result<Option<String>, ResourceError> {
    let json = match subject {
        ResourceKind::Status => {
            let status = status_tool::plain(target).await?;
            Some(serde_json::to_string(&status)?)
        }
        ResourceKind::Run(id) => {
            let run = run(&target.mirror, id).await?;
            run.as_ref().map(serde_json::to_string).transpose()?
        }
        ResourceKind::Meter(key) => {
            let meter = target.mirror.meter(&key, None).await?;
            meter.as_ref().map(serde_json::to_string).transpose()?
        }
    };
    Ok(json)
}

async fn run(mirror: &Mirror, id: RunId) -> Result<Option<RunResource>, ResourceError> {
    let query = StatusQuery {
        run_id: Some(id),
        include_changes: true,
        changes_limit: CHANGES_LIMIT.max(),
        ..StatusQuery::default()
    };
    let Ok(status) = mirror.status(&query).await else {
        return Ok(None); // the log has no such run
    };
    let run = status.history.into_iter().find(|run| run.run_id == id);
    let Some(run) = run else {
        // While the local database is down, only the last run of this process is known.
        let error = ErrorData::internal_error(status.warnings.join(" "), None);
        return Err(ResourceError(error));
    };
    let changes = status.changes.unwrap_or_default();
    let total = run.counts.changes_to_list(changes.len());
    Ok(Some(RunResource {
        changes_total: total,
        truncated: i64::try_from(changes.len()).is_ok_and(|listed| listed < total),
        run,
        changes,
        rejected: status.rejected.unwrap_or_default(),
    }))
}

fn not_found(uri: &str, mirrors: &Mirrors) -> ResourceError {
    let templates = match mirrors.only() {
        Some(_) => format!("{RUN_TEMPLATE} and {METER_TEMPLATE}"),
        None => {
            format!("{TENANT_STATUS_TEMPLATE}, {TENANT_RUN_TEMPLATE} and {TENANT_METER_TEMPLATE}")
        }
    };
    let message = format!(
        "There is nothing at `{}`. Addresses are {STATUS}, {templates}.",
        shorten(uri)
    );
    let data = serde_json::json!({"uri": shorten(uri)});
    ResourceError(ErrorData::resource_not_found(message, Some(data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(key: &[&str]) -> Option<ResourceAddress> {
        let values = key.iter().map(|&part| part.to_owned()).collect();
        of_only(ResourceKind::Meter(MeterKeyText::Ordered(values)))
    }

    fn of_only(subject: ResourceKind) -> Option<ResourceAddress> {
        Some(ResourceAddress {
            tenant: None,
            subject,
        })
    }

    #[test]
    fn an_address_may_name_a_tenant() {
        let of = |tenant: &str, subject| {
            Some(ResourceAddress {
                tenant: Some(tenant.to_owned()),
                subject,
            })
        };
        let run: RunId = "0190c2f1-7a00-7000-8000-000000000001"
            .parse()
            .expect("an id");
        let key = MeterKeyText::Ordered(vec!["4".to_owned(), "A".to_owned()]);
        for (path, address) in [
            ("7/status", of("7", ResourceKind::Status)),
            ("a%2Fb%20c/status", of("a/b c", ResourceKind::Status)),
            (&format!("7/runs/{run}"), of("7", ResourceKind::Run(run))),
            ("7/meters/4,A", of("7", ResourceKind::Meter(key))),
            ("7", None),
            ("7/", None),
            ("/status", None),
            ("%20/status", None),
            ("7%0A/status", None),
            ("%ff/status", None),
            ("7/tenants/8/status", None),
            ("7/status/", None),
        ] {
            let uri = format!("meter-sync://tenants/{path}");
            assert_eq!(ResourceAddress::parse(&uri), address, "{uri}");
        }
    }

    #[test]
    fn an_address_is_read_as_it_was_written() {
        let id = "0190c2f1-7a00-7000-8000-000000000001";
        for (uri, address) in [
            ("meter-sync://status", of_only(ResourceKind::Status)),
            (
                "meter-sync://runs/0190c2f1-7a00-7000-8000-000000000001",
                of_only(ResourceKind::Run(id.parse().expect("an id"))),
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
            assert_eq!(ResourceAddress::parse(uri), address, "{uri}");
        }
        let long = format!("meter-sync://meters/{}", "9".repeat(LONGEST));
        assert_eq!(ResourceAddress::parse(&long), None);
    }
}
