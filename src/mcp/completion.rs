//! Completes what is being typed into the address of a run or a meter.

use rmcp::ErrorData;
use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference};

use crate::runs::Runs;
use crate::runs::status::StatusQuery;

use super::resources::{METER_TEMPLATE, RUN_TEMPLATE};

/// The most that the protocol lets us offer.
const OFFERED: i64 = 100;

/// What the argument may become. That nothing is found, or that the database cannot be asked, offers nothing:
/// a person is typing.
pub(super) async fn complete(
    runs: &Runs,
    request: &CompleteRequestParams,
) -> Result<CompleteResult, ErrorData> {
    let typed = request.argument.value.as_str();
    let template = match &request.r#ref {
        Reference::Resource(template) => template.uri.as_str(),
        Reference::Prompt(_) | _ => "",
    };
    let values = match (template, request.argument.name.as_str()) {
        (RUN_TEMPLATE, "run_id") => run_ids(runs, typed).await,
        (METER_TEMPLATE, "key") if !typed.contains('\0') => {
            runs.meter_keys(typed, OFFERED).await.unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let info = CompletionInfo::with_all_values(values);
    let info = info.map_err(|error| ErrorData::internal_error(error, None))?;
    Ok(CompleteResult::new(info))
}

/// The latest runs, the latest first.
async fn run_ids(runs: &Runs, typed: &str) -> Vec<String> {
    let query = StatusQuery {
        history: 50,
        ..StatusQuery::default()
    };
    let Ok(status) = runs.status(&query).await else {
        return Vec::new();
    };
    let ids = status.history.iter().map(|run| run.run_id.to_string());
    ids.filter(|id| id.starts_with(typed)).collect()
}
