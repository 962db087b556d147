//! Completes tenant ids, run ids and meter keys while a person types the address of a resource or the argument of a
//! prompt.

use rmcp::ErrorData;
use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference};

use crate::mirrors::{Mirror, Mirrors};
use crate::reports::status::StatusQuery;
use crate::reports::tenant_list::TenantsQuery;

use super::caller::Caller;
use super::resources::{
    METER_TEMPLATE, RUN_TEMPLATE, TENANT_METER_TEMPLATE, TENANT_RUN_TEMPLATE,
    TENANT_STATUS_TEMPLATE,
};
use super::tool_result;

/// The most values that MCP allows in the answer to one completion request.
const OFFERED: usize = 100;
const TENANT_ID: &str = "tenant_id";

/// Returns the values that begin with the typed text. If nothing matches or the database cannot be read, returns an
/// empty list instead of an error, because the person is still typing.
pub(super) async fn complete(
    mirrors: &Mirrors,
    request: &CompleteRequestParams,
    caller: &Caller,
) -> Result<CompleteResult, ErrorData> {
    let typed = request.argument.value.as_str();
    let argument = request.argument.name.as_str();
    let template = match &request.r#ref {
        Reference::Resource(template) => Some(template.uri.as_str()),
        Reference::Prompt(_) => None,
        _ => Some(""),
    };
    let values = match (template, argument) {
        (
            None | Some(TENANT_STATUS_TEMPLATE | TENANT_RUN_TEMPLATE | TENANT_METER_TEMPLATE),
            TENANT_ID,
        ) => tenant_ids(mirrors, typed, caller).await,
        (Some(RUN_TEMPLATE | TENANT_RUN_TEMPLATE), "run_id")
        | (Some(METER_TEMPLATE | TENANT_METER_TEMPLATE), "key") => {
            let given = request.context.as_ref();
            let given = given.and_then(|context| context.get_argument(TENANT_ID));
            match caller.find(mirrors, given.map(String::as_str)).await {
                Ok(target) if argument == "run_id" => run_ids(&target.mirror, typed).await,
                Ok(target) => keys(&target.mirror, typed).await,
                Err(_no_such_tenant) => Vec::new(),
            }
        }
        _ => Vec::new(),
    };
    let info = CompletionInfo::with_all_values(values);
    let info = info.map_err(tool_result::internal)?;
    Ok(CompleteResult::new(info))
}

/// Returns the ids of at most [`OFFERED`] tenants whose id or name begins with `typed`, ignoring case. The tenants with
/// the worst health come first.
async fn tenant_ids(mirrors: &Mirrors, typed: &str, caller: &Caller) -> Vec<String> {
    let query = caller.limit(TenantsQuery {
        limit: u32::MAX, // matches that do not begin with the text are filtered out below
        search: Some(typed.to_owned()),
        ..TenantsQuery::default()
    });
    let tenants = mirrors.overview(&query).await.tenants;
    let typed = typed.to_lowercase();
    let begins = |text: &str| text.to_lowercase().starts_with(&typed);
    let all = tenants.into_iter().flat_map(|tenants| tenants.list);
    let found = all
        .filter(|tenant| begins(&tenant.tenant_id) || tenant.name.as_deref().is_some_and(begins));
    found.map(|tenant| tenant.tenant_id).take(OFFERED).collect()
}

/// Returns at most [`OFFERED`] keys of meters that begin with `typed`. Returns none if the key has several columns, or
/// if the keys cannot be read.
async fn keys(mirror: &Mirror, typed: &str) -> Vec<String> {
    if typed.contains('\0') {
        return Vec::new();
    }
    let keys = mirror.meter_keys(typed, OFFERED as i64).await;
    keys.unwrap_or_default()
}

/// Returns those of the ids of the latest 50 runs that begin with `typed`, newest first. Returns none if the runs
/// cannot be read.
async fn run_ids(mirror: &Mirror, typed: &str) -> Vec<String> {
    let query = StatusQuery {
        history: 50,
        ..StatusQuery::default()
    };
    let Ok(status) = mirror.status(&query).await else {
        return Vec::new();
    };
    let ids = status.history.iter().map(|run| run.run_id.to_string());
    ids.filter(|id| id.starts_with(typed)).collect()
}
