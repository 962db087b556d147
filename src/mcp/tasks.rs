//! Presents runs as tasks to clients that support the tasks extension
//! (<https://modelcontextprotocol.io/extensions/tasks/overview>). A run that takes longer than its call waits goes on
//! as a task with the same id, which the client can query and cancel.

use rmcp::model::{
    ClientCapabilities, CreateTaskResult, DetailedTask, GetTaskResult, Task, TaskPayload,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};

use super::page_address::PageAddress;
use super::trigger;
use crate::arguments::shorten;
use crate::mirrors::Mirror;
use crate::mirrors::run::report::RunReport;
use crate::model::{NoRunId, Outcome, RunId};

/// How often a client should query a task.
const POLL_MS: u64 = 1000;

/// Returns whether the client supports tasks.
pub(super) fn are_known(context: &RequestContext<RoleServer>) -> bool {
    let capabilities = context.client_capabilities();
    capabilities
        .as_ref()
        .is_some_and(ClientCapabilities::supports_tasks)
}

/// Returns a run that is still in progress, as a task.
pub(super) fn begun(run: &RunReport) -> CreateTaskResult {
    CreateTaskResult::new(task(run, &TaskPayload::Working))
}

/// Returns the state of a task, with the result if it is completed.
pub(super) async fn get(
    mirror: &Mirror,
    id: &str,
    page: &PageAddress,
) -> Result<GetTaskResult, ErrorData> {
    let run = report(mirror, parse(id)?).await?;
    let payload = match run.outcome {
        None => TaskPayload::Working,
        Some(Outcome::Interrupted) => TaskPayload::Cancelled,
        Some(_ended) => completed(run.clone(), page)?,
    };
    let task = task(&run, &payload);
    Ok(GetTaskResult::new(DetailedTask::new(task, payload)))
}

/// Cancels the run of a task. It is no error if the run has already ended.
pub(super) async fn cancel(mirror: &Mirror, id: &str) -> Result<(), ErrorData> {
    let run_id = parse(id)?;
    if mirror.cancel(run_id) {
        return Ok(());
    }
    match report(mirror, run_id).await?.outcome {
        Some(_ended) => Ok(()),
        None => Err(ErrorData::invalid_request(
            "The run is one of another process, which alone can cancel it.",
            None,
        )),
    }
}

async fn report(mirror: &Mirror, id: RunId) -> Result<RunReport, ErrorData> {
    mirror.report(id).await.map_err(|failure| {
        ErrorData::invalid_params(format!("{} {}", failure.message, failure.remedy), None)
    })
}

fn completed(run: RunReport, page: &PageAddress) -> Result<TaskPayload, ErrorData> {
    match serde_json::to_value(trigger::report(run, page)) {
        Ok(serde_json::Value::Object(result)) => Ok(TaskPayload::Completed { result }),
        Ok(_) | Err(_) => {
            let message = "The result could not be written as JSON.";
            Err(ErrorData::internal_error(message, None))
        }
    }
}

fn task(run: &RunReport, payload: &TaskPayload) -> Task {
    let last = run.finished_at.unwrap_or(run.started_at);
    Task::new(
        run.run_id.to_string(),
        payload.status(),
        run.started_at.to_rfc3339(),
        last.to_rfc3339(),
    )
    .with_status_message(run.summary.clone())
    .with_poll_interval_ms(POLL_MS)
}

fn parse(id: &str) -> Result<RunId, ErrorData> {
    id.parse().map_err(|_error: NoRunId| {
        ErrorData::invalid_params(format!("There is no task `{}`.", shorten(id)), None)
    })
}
