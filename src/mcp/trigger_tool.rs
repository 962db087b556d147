//! The tool `meter_sync_trigger`: requests a sync and waits a limited time for its end.
//!
//! The run is a task of its [`Mirror`] and does not depend on the call. If the client cancels the call or disconnects,
//! only the waiting ends; the run goes on.

use std::time::{Duration, Instant};

use rmcp::model::{CallToolRequestParams, CallToolResponse, JsonObject, Tool, ToolAnnotations};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::json;

use super::ask_for_approval::{
    self, ApprovalAnswer, ApprovalMethod, ApprovalQuestion, QuestionSigner, ReturnedAnswer,
};
use super::caller::{Caller, TargetMirror, caller_name, caller_trace};
use super::json_schema_helpers::{SharedJsonSchema, described, literal};
use super::run_tool_result::report;
use super::{
    brake_refusal_result, output_schema, progress_notifications, status_card, tasks, tool_result,
};
use crate::arguments::bounds::{IDEMPOTENCY_KEY_CHARS, REASON_CHARS, TENANT_CHARS, WAIT_SECONDS};
use crate::arguments::{Arguments, BadArgument};
use crate::error::Failure;
use crate::mirrors::{Mirror, Mirrors, RunApprovals, RunHandle, RunRequest, RunRequestOutcome};
use crate::model::{DeactivationApproval, RunId, RunTrigger};
use crate::reports::run_report::{RunReport, RunState};

/// The tool's name.
pub(super) const NAME: &str = "meter_sync_trigger";

const TITLE: &str = "Sync meters now";
const DESCRIPTION: &str = "Syncs this site's local meters from the central database now: inserts \
    new meters, updates changed ones, and sets `active = false` on those gone there; no row is \
    ever deleted and nothing is written to the central database. The tenant is the customer \
    organisation whose meters this site mirrors. Use it when someone wants fresh meters before \
    the next scheduled sync, or with `dry_run` to see what a sync would change. Do not use it to \
    learn the state (meter_sync_status does), nor again while a sync runs. With `state` \
    `running`, follow it with meter_sync_status. A sync that would deactivate very many meters \
    is refused until a person allows it; tell the user, do not retry. Act on `next_step`.";

const WAIT_SECONDS_DEFAULT: u32 = 20;
/// The parsed arguments of a call.
#[derive(Debug)]
struct TriggerCall {
    tenant: Option<String>,
    request: RunRequest,
    wait: Duration,
}

/// Returns the complete schema of the tool's results.
pub(super) fn output() -> SharedJsonSchema {
    output_schema::of::<RunReport>()
}

/// Returns the description of the tool for clients. `output` is the schema of its results, either complete or as an
/// outline.
pub(super) fn tool(output: SharedJsonSchema) -> Tool {
    Tool::new(NAME, DESCRIPTION, input_schema())
        .with_title(TITLE)
        .with_raw_output_schema(output)
        .with_meta(status_card::shows_results())
        .with_annotations(
            ToolAnnotations::with_title(TITLE)
                .read_only(false)
                .destructive(true)
                .idempotent(true)
                .open_world(true),
        )
}

/// Appended to the reason of a run in the log, if the user approved the deactivations of the run.
const ALLOWED: &str = " (the user let the deactivations pass)";
/// How many times one call asks the user at most. The question is repeated if other meters would have to be deactivated
/// by the time the user has answered.
const QUESTIONS: u32 = 3;

/// Handles one call of the tool: reads the user's answer to an earlier question, if the call carries one, and then
/// syncs.
pub(super) async fn call(
    mirrors: &Mirrors,
    signer: &QuestionSigner,
    call: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let mut asked = match read(call.arguments.clone()) {
        Ok(asked) => asked,
        Err(error) => return Ok(tool_result::bad_argument(&error).into()),
    };
    let caller = Caller::of(context, mirrors);
    let target = match caller.find(mirrors, asked.tenant.as_deref()).await {
        Ok(target) => target,
        Err(failure) => return Ok(tool_result::failure(&failure, None).into()),
    };
    asked.request.actor = caller_name(context);
    asked.request.trace = caller_trace(context);
    match signer.returned(context, call)? {
        ReturnedAnswer::Nothing => {}
        ReturnedAnswer::Yes(shown) => asked.request = approved(asked.request, shown),
        ReturnedAnswer::No => return Ok(brake_refusal_result::declined().into()),
        ReturnedAnswer::Undecided(run) => {
            return Ok(brake_refusal_result::undecided(run, None, &target.page).into());
        }
    }
    sync(&target, asked, signer, call, context).await
}

/// Runs the sync. If it is refused because it would deactivate too many meters, asks the user, and runs it again after
/// an approval.
async fn sync(
    target: &TargetMirror,
    TriggerCall {
        mut request, wait, ..
    }: TriggerCall,
    signer: &QuestionSigner,
    call: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let page = &target.page;
    let end = Instant::now() + wait;
    for _ in 0..QUESTIONS {
        let run = match run(&target.mirror, request.clone(), wait, context).await {
            Ok(run) => run,
            Err(failure) => return Ok(tool_result::failure(&failure, None).into()),
        };
        let held = run.held_back.as_ref().filter(|_| !run.dry_run);
        match (held, ApprovalMethod::of(context)) {
            (None, _) if run.state == RunState::Running && tasks::are_known(context) => {
                return Ok(tasks::begun(&run, target).into());
            }
            (None, _) | (Some(_), ApprovalMethod::None) => return Ok(report(run, page).into()),
            (Some(held), ApprovalMethod::SecondCall) => {
                let question = ApprovalQuestion::new(held, target).await;
                let asked = signer.question(run.run_id, question, context, call)?;
                return Ok(asked.into());
            }
            (Some(held), ApprovalMethod::DuringCall) => {
                let question = ApprovalQuestion::new(held, target).await;
                match ask_for_approval::ask(context, question, end).await {
                    ApprovalAnswer::Yes => request = approved(request, run.run_id),
                    ApprovalAnswer::No => return Ok(brake_refusal_result::declined().into()),
                    ApprovalAnswer::Nothing => {
                        return Ok(
                            brake_refusal_result::undecided(run.run_id, Some(held), page).into(),
                        );
                    }
                }
            }
        }
    }
    Ok(brake_refusal_result::unsettled().into())
}

async fn run(
    mirror: &Mirror,
    request: RunRequest,
    wait: Duration,
    context: &RequestContext<RoleServer>,
) -> Result<RunReport, Failure> {
    let report = match mirror.request(request).await? {
        RunRequestOutcome::Started(ticket) => ended(ticket, wait, context).await,
        RunRequestOutcome::AlreadyRunning(running) => *running,
        RunRequestOutcome::Finished(finished) => *finished,
    };
    Ok(mirror.report_with_names(report).await)
}

/// Returns the request, now with the user's approval of the deactivations for which the run `shown` was refused.
fn approved(request: RunRequest, shown: RunId) -> RunRequest {
    let reason = request.reason.as_deref().unwrap_or_default();
    let reason = reason.strip_suffix(ALLOWED).unwrap_or(reason);
    RunRequest {
        reason: Some(format!("{reason}{ALLOWED}").trim().to_owned()),
        allow: RunApprovals {
            mass_deactivation: DeactivationApproval::OfRun(shown),
            ..request.allow
        },
        ..request
    }
}

/// Waits until the run has ended, `wait` is over, or the client has cancelled the call. Then returns the report of the
/// run. Sends progress to the client meanwhile.
async fn ended(
    mut ticket: RunHandle,
    wait: Duration,
    context: &RequestContext<RoleServer>,
) -> RunReport {
    let token = context.meta.get_progress_token();
    let told = progress_notifications::tell(ticket.progress(), &context.peer, token);
    tokio::select! {
        biased; // no progress is sent after the end
        report = ticket.wait(wait) => report,
        () = context.ct.cancelled() => ticket.wait(Duration::ZERO).await,
        never = told => match never {},
    }
}

fn read(arguments: Option<JsonObject>) -> Result<TriggerCall, BadArgument> {
    let mut given = Arguments::new(arguments);
    let tenant = given.id("tenant_id", TENANT_CHARS)?;
    let mut request = RunRequest::new(RunTrigger::Mcp);
    request.dry_run = given.boolean("dry_run", request.dry_run)?;
    let seconds = WAIT_SECONDS.read(&mut given, WAIT_SECONDS_DEFAULT)?;
    request.reason = given.text("reason", REASON_CHARS)?;
    request.idempotency_key = given.text("idempotency_key", IDEMPOTENCY_KEY_CHARS)?;
    given.refuse_unknown()?;
    Ok(TriggerCall {
        tenant,
        request,
        wait: Duration::from_secs(seconds.into()),
    })
}

fn input_schema() -> SharedJsonSchema {
    literal(json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "tenant_id": {
                "type": "string",
                "description": "The tenant's id; required where there are several.",
            },
            "dry_run": {
                "type": "boolean",
                "default": false,
                "description": "Whether only to plan: reports what would change.",
            },
            "wait_seconds": described(WAIT_SECONDS.schema(WAIT_SECONDS_DEFAULT), "How long to wait for the end; the sync goes on after that."),
            "reason": {
                "type": "string",
                "maxLength": REASON_CHARS,
                "description": "Why the sync is asked for; kept in the log.",
            },
            "idempotency_key": {
                "type": "string",
                "maxLength": IDEMPOTENCY_KEY_CHARS,
                "description": "A text of your own: a second call with it within a day gets the first call's run, unless that may be tried again.",
            },
        },
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn given(value: &Value) -> Result<TriggerCall, BadArgument> {
        read(value.as_object().cloned())
    }

    #[test]
    fn no_arguments_mean_the_defaults_of_the_contract() {
        let call = read(None).expect("no arguments");
        assert_eq!(call.wait, Duration::from_secs(20));
        assert!(!call.request.dry_run);
        assert_eq!(
            (call.request.reason, call.request.idempotency_key),
            (None, None)
        );
    }

    #[test]
    fn the_schema_names_the_arguments_that_are_read() {
        let all = json!({"dry_run": true, "idempotency_key": "k", "reason": "r", "tenant_id": "7", "wait_seconds": 0});
        given(&all).expect("every argument is known");
        let named: Vec<_> = input_schema()["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        let read: Vec<_> = all.as_object().unwrap().keys().cloned().collect();
        assert_eq!(named, read);
    }

    #[test]
    fn nothing_an_argument_says_allows_what_needs_a_person() {
        for name in ["allow_mass_deactivation", "allow", "force", "confirm"] {
            assert!(given(&json!({name: true})).is_err(), "{name}");
        }
    }
}
