//! Presents runs as MCP tasks, to clients that support the tasks extension
//! (<https://modelcontextprotocol.io/extensions/tasks/overview>). If a run is still in progress when its tool call
//! stops waiting, the run goes on as a task, which the client can query and cancel.
//!
//! The id of a task is the id of its run. If the process keeps several mirrors, the tenant's id is appended, so that
//! any process finds the run in the log of its mirror, even after a restart.

use rmcp::model::{
    ClientCapabilities, CreateTaskResult, DetailedTask, GetTaskResult, Task, TaskPayload,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};

use super::caller::{Caller, TargetMirror};
use super::page_address::PageAddress;
use super::run_tool_result;
use crate::arguments::shorten;
use crate::mirrors::Mirrors;
use crate::mirrors::run::cancel_run::CancelOutcome;
use crate::model::{InvalidRunId, RunId, RunOutcome};
use crate::reports::run_report::RunReport;

/// Separates the run's id from the tenant's id in the id of a task. No run id contains this character.
const OF_TENANT: char = '@';
/// How often a client should query a task, in milliseconds.
const POLL_MS: u64 = 1000;

/// Returns whether the client supports tasks.
pub(super) fn are_known(context: &RequestContext<RoleServer>) -> bool {
    let capabilities = context.client_capabilities();
    capabilities
        .as_ref()
        .is_some_and(ClientCapabilities::supports_tasks)
}

/// Returns the task that stands for a run that is still in progress.
pub(super) fn begun(run: &RunReport, target: &TargetMirror) -> CreateTaskResult {
    let id = match &target.tenant {
        Some(tenant) => format!("{}{OF_TENANT}{tenant}", run.run_id),
        None => run.run_id.to_string(),
    };
    CreateTaskResult::new(task(&id, run, &TaskPayload::Working))
}

/// Returns the state of a task, and its result if the run has ended. A run that was interrupted (cancelled, or its
/// process ended) is shown as a cancelled task.
pub(super) async fn get(
    mirrors: &Mirrors,
    id: &str,
    caller: &Caller,
) -> Result<GetTaskResult, ErrorData> {
    let (run_id, target) = find(mirrors, id, caller).await?;
    let run = target.mirror.report(run_id).await?;
    let payload = match run.outcome {
        None => TaskPayload::Working,
        Some(RunOutcome::Interrupted) => TaskPayload::Cancelled,
        Some(_ended) => completed(run.clone(), &target.page)?,
    };
    let task = task(id, &run, &payload);
    Ok(GetTaskResult::new(DetailedTask::new(task, payload)))
}

/// Cancels the run of a task, in whatever process it is. Does nothing if the run has ended or its process has died.
pub(super) async fn cancel(mirrors: &Mirrors, id: &str, caller: &Caller) -> Result<(), ErrorData> {
    let (run_id, TargetMirror { mirror, .. }) = find(mirrors, id, caller).await?;
    match mirror.cancel(run_id).await? {
        CancelOutcome::Accepted | CancelOutcome::Over(_) | CancelOutcome::Dead => Ok(()),
        CancelOutcome::Unknown => Err(no_task(id)),
    }
}

/// Splits the id of a task into the run and the tenant, and finds the tenant's mirror. Fails if the id is malformed or
/// the caller may not see the tenant. Does not check that the run exists.
async fn find(
    mirrors: &Mirrors,
    id: &str,
    caller: &Caller,
) -> Result<(RunId, TargetMirror), ErrorData> {
    let (run, tenant) = match id.split_once(OF_TENANT) {
        Some((run, tenant)) => (run, Some(tenant)),
        None => (id, None),
    };
    let run = run.parse().map_err(|_error: InvalidRunId| no_task(id))?;
    let target = caller.find(mirrors, tenant).await?;
    Ok((run, target))
}

fn completed(run: RunReport, page: &PageAddress) -> Result<TaskPayload, ErrorData> {
    match serde_json::to_value(run_tool_result::report(run, page)) {
        Ok(serde_json::Value::Object(result)) => Ok(TaskPayload::Completed { result }),
        Ok(_) | Err(_) => {
            let message = "The result could not be written as JSON.";
            Err(ErrorData::internal_error(message, None))
        }
    }
}

fn task(id: &str, run: &RunReport, payload: &TaskPayload) -> Task {
    let last = run.finished_at.unwrap_or(run.started_at);
    Task::new(
        id.to_owned(),
        payload.status(),
        run.started_at.to_rfc3339(),
        last.to_rfc3339(),
    )
    .with_status_message(run.summary.clone())
    .with_poll_interval_ms(POLL_MS)
}

fn no_task(id: &str) -> ErrorData {
    ErrorData::invalid_params(format!("There is no task `{}`.", shorten(id)), None)
}
