//! The tool `meter_sync_status`: reports whether the local meters are in sync, and what recent runs did. It changes
//! nothing and does not wait for a run.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};

use super::caller::{Caller, TargetMirror};
use super::json_schema_helpers::SharedJsonSchema;
use super::page_address::PageAddress;
use super::{
    CallToolResult, build_status_of_many, output_schema, shorten_tool_result, status_arguments,
    status_card, tool_result,
};
use crate::arguments::BadArgument;
use crate::error::Failure;
use crate::history::answer_history_question::HistoryQuestion;
use crate::make_printable;
use crate::mirrors::Mirrors;
use crate::model::RunId;
use crate::reports::status::{Status, StatusQuery};
use crate::reports::tenant_list::TenantsQuery;

/// The tool's name.
pub(super) const NAME: &str = "meter_sync_status";

const TITLE: &str = "Meter sync status";
const DESCRIPTION: &str = "Says whether this site's local copy of its meters can be relied on, \
    when it was last synced from the central database, what failed and what to do. One call \
    answers why a meter is inactive (`meter`), what changed since a time (`since`), and what one \
    run changed (`run_id`, `include_changes`). Use it before and after meter_sync_trigger, and \
    when anything seems wrong: it answers with both databases down. It changes nothing, and \
    knows nothing of what meters measure. Act on `next_step`.";

/// Returns the complete schema of the tool's results.
pub(super) fn output() -> SharedJsonSchema {
    output_schema::of::<Status>()
}

/// Returns the description of the tool for clients. `output` is the schema of its results, either complete or as an
/// outline.
pub(super) fn tool(output: SharedJsonSchema) -> Tool {
    Tool::new(NAME, DESCRIPTION, status_arguments::input_schema())
        .with_title(TITLE)
        .with_raw_output_schema(output)
        .with_meta(status_card::shows_results())
        .with_annotations(
            ToolAnnotations::with_title(TITLE)
                .read_only(true)
                .destructive(false)
                .idempotent(true)
                .open_world(false),
        )
}

/// Handles one call of the tool. A failure becomes an error result.
pub(super) async fn call(
    mirrors: &Mirrors,
    arguments: Option<JsonObject>,
    caller: &Caller,
) -> CallToolResult {
    let mut call = match status_arguments::read(arguments, mirrors.now()) {
        Ok(call) => call,
        Err(error) => return tool_result::bad_argument(&error),
    };
    if mirrors.only().is_none() && call.is_about_all() {
        let query = TenantsQuery {
            limit: call.question.status.changes_limit,
            before: call.before,
            ..TenantsQuery::default()
        };
        return tool_result::structured(&build_status_of_many::read(mirrors, caller, query).await);
    }
    let target = match caller.find(mirrors, call.tenant.take().as_deref()).await {
        Ok(target) => target,
        Err(failure) => return tool_result::failure(&failure, None),
    };
    match call.question() {
        Ok(question) => tell(&target, &question).await,
        Err(error) => tool_result::bad_argument(&error),
    }
}

async fn tell(
    TargetMirror { mirror, page, .. }: &TargetMirror,
    asked: &HistoryQuestion,
) -> CallToolResult {
    match mirror.answer(asked).await {
        Ok(status) => tool_result::structured(&for_model(status, &asked.status, page)),
        // Reading the status fails only if the call names a run that is not in the log.
        Err(no_such_run) => tool_result::bad_argument(&BadArgument(format!(
            "{} {}",
            no_such_run.message, no_such_run.remedy
        ))),
    }
}

/// Returns the status of one tenant, as a call with no other argument than the tenant returns it.
pub(super) async fn plain(
    TargetMirror { mirror, page, .. }: &TargetMirror,
) -> Result<Status, Failure> {
    let asked = HistoryQuestion::default();
    let status = mirror.answer(&asked).await?;
    Ok(for_model(status, &asked.status, page))
}

/// Prepares a status for a language model: adds the address at which a person decides about a refused run, replaces a
/// repeated error by the id of the run that has it, and shortens the result.
fn for_model(mut status: Status, asked: &StatusQuery, page: &PageAddress) -> Status {
    status.summary = make_printable::lines(&status.summary);
    if let (Some(_), Some(run), None) = (&status.held_back, &status.last_run, &status.running) {
        status.next_step = format!(
            "{} {}",
            status.next_step,
            page.decision_sentence(run.run_id)
        );
    }
    let mut known: Vec<(Failure, RunId)> = Vec::new();
    for run in &mut status.history {
        let Some(error) = run.error.take() else {
            continue;
        };
        match known.iter().find(|(known, _)| *known == error) {
            Some((_, same)) => run.same_error_as = Some(*same),
            None => {
                known.push((error.clone(), run.run_id));
                run.error = Some(error);
            }
        }
    }
    let unasked = StatusQuery::default();
    let is_more = asked.history > unasked.history || asked.changes_limit > unasked.changes_limit;
    shorten_tool_result::status(
        status,
        if is_more {
            shorten_tool_result::MORE_BYTES
        } else {
            shorten_tool_result::BYTES
        },
    )
}
