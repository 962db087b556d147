//! Completes run ids and meter keys while a person types the address of a resource.

use rmcp::ErrorData;
use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference};

use crate::mirrors::Mirror;
use crate::mirrors::state::status::StatusQuery;

use super::resources::{METER_TEMPLATE, RUN_TEMPLATE};

/// The most values that the protocol allows in one answer.
const OFFERED: i64 = 100;

/// Returns the values that begin with what was typed. If nothing matches or the database cannot be asked, it returns
/// no values instead of an error, because a person is typing.
pub(super) async fn complete(
    mirror: &Mirror,
    request: &CompleteRequestParams,
) -> Result<CompleteResult, ErrorData> {
    let typed = request.argument.value.as_str();
    let template = match &request.r#ref {
        Reference::Resource(template) => template.uri.as_str(),
        Reference::Prompt(_) | _ => "",
    };
    let values = match (template, request.argument.name.as_str()) {
        (RUN_TEMPLATE, "run_id") => run_ids(mirror, typed).await,
        (METER_TEMPLATE, "key") if !typed.contains('\0') => {
            mirror.meter_keys(typed, OFFERED).await.unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let info = CompletionInfo::with_all_values(values);
    let info = info.map_err(|error| ErrorData::internal_error(error, None))?;
    Ok(CompleteResult::new(info))
}

/// Returns the ids of the latest runs that begin with `typed`, newest first.
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
