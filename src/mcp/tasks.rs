//! Runs as tasks, for clients that know the tasks extension
//! (<https://modelcontextprotocol.io/extensions/tasks/overview>): a run that takes longer than it was waited
//! for goes on as a task of the same id, which can be asked for and cancelled.

use rmcp::model::{
    ClientCapabilities, CreateTaskResult, DetailedTask, GetTaskResult, Task, TaskPayload,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};

use super::page::Page;
use super::trigger;
use crate::arguments::shorten;
use crate::meter::{Outcome, RunId};
use crate::runs::Runs;
use crate::runs::report::RunReport;

/// How often a client should ask.
const POLL_MS: u64 = 1000;

/// Whether the client can be given a task.
pub(super) fn are_known(context: &RequestContext<RoleServer>) -> bool {
    let capabilities = context.client_capabilities();
    capabilities
        .as_ref()
        .is_some_and(ClientCapabilities::supports_tasks)
}

/// A run that goes on, as a task.
pub(super) fn begun(run: &RunReport) -> CreateTaskResult {
    CreateTaskResult::new(task(run, &TaskPayload::Working))
}

/// How a task stands.
pub(super) async fn get(runs: &Runs, id: &str, page: &Page) -> Result<GetTaskResult, ErrorData> {
    let run = report(runs, parse(id)?).await?;
    let payload = match run.outcome {
        None => TaskPayload::Working,
        Some(Outcome::Interrupted) => TaskPayload::Cancelled,
        Some(_ended) => completed(run.clone(), page)?,
    };
    let task = task(&run, &payload);
    Ok(GetTaskResult::new(DetailedTask::new(task, payload)))
}

/// Ends a task's run before its end. That it has ended by itself is no error.
pub(super) async fn cancel(runs: &Runs, id: &str) -> Result<(), ErrorData> {
    let run_id = parse(id)?;
    if runs.cancel(run_id) {
        return Ok(());
    }
    match report(runs, run_id).await?.outcome {
        Some(_ended) => Ok(()),
        None => Err(ErrorData::invalid_request(
            "The run is one of another process, which alone can cancel it.",
            None,
        )),
    }
}

async fn report(runs: &Runs, id: RunId) -> Result<RunReport, ErrorData> {
    runs.report(id).await.map_err(|failure| {
        ErrorData::invalid_params(format!("{} {}", failure.message, failure.remedy), None)
    })
}

fn completed(run: RunReport, page: &Page) -> Result<TaskPayload, ErrorData> {
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
    id.parse().map_err(|_no_id: uuid::Error| {
        ErrorData::invalid_params(format!("There is no task `{}`.", shorten(id)), None)
    })
}
