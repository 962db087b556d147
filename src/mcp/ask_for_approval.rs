//! Asks the user whether a sync that was refused because it would deactivate too many meters may go on.
//!
//! Only an accepted form with its box ticked counts as approval, and only for the deactivations that the question
//! was about. If the next run would make any other deactivation, the user is asked again. The protocol version decides
//! how the question is asked:
//!
//! - Up to 2025-11-25, the server sends the question as a request to the client while the tool call waits.
//! - Since 2026-07-28, the result of the tool call is the question, and the client repeats the call with the user's
//!   answer. The signed `requestState` in the result and in the repeated call says what was asked
//!   (<https://modelcontextprotocol.io/specification/2026-07-28/basic/utilities/mrtr>).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rmcp::model::{
    BooleanSchema, CallToolRequestParams, ElicitRequest, ElicitRequestParams, ElicitResult,
    ElicitationAction, ElicitationSchema, InputRequest, InputRequiredResult, InputResponses,
    ProtocolVersion, RequestStateCodec, SealOptions,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServiceError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::make_printable;
use crate::model::{HeldDeactivations, RunId};

use super::caller::{TargetMirror, caller_token};
use super::tool_result;

/// The name of the only field of the form in which the user approves, and the key of the question in the result of the
/// call.
const APPROVAL_FIELD: &str = "deactivate";
/// The name of the remote database in texts for users.
pub(super) const CENTRAL: &str = "the central database";
/// How long the user may take to answer a question that was sent as the result of a call.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How the server can ask the user of a client for approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApprovalMethod {
    /// The client shows no forms, so the user cannot be asked.
    None,
    /// The server sends a request to the client while the call waits.
    DuringCall,
    /// The result of the call holds the question; the client answers it with a second call.
    SecondCall,
}

impl ApprovalMethod {
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Self {
        let elicitation = context
            .client_capabilities()
            .and_then(|capabilities| capabilities.elicitation);
        // A client that supports elicitation but names no mode shows forms.
        let fills_forms =
            elicitation.is_some_and(|modes| modes.form.is_some() || modes.url.is_none());
        let modern = ProtocolVersion::V_2026_07_28;
        let is_modern = context
            .protocol_version()
            .is_some_and(|version| version.as_str() >= modern.as_str());
        match (fills_forms, is_modern) {
            (false, _) => Self::None,
            (true, false) => Self::DuringCall,
            (true, true) => Self::SecondCall,
        }
    }
}

/// The user's answer to the question whether the sync may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApprovalAnswer {
    /// The sync may go on.
    Yes,
    /// The sync may not go on.
    No,
    /// The user did not decide: dismissed the question, did not answer in time, or never saw it.
    Nothing,
}

/// How long before the end of the tool call an unanswered question is withdrawn. Clients that handle one message at a
/// time need this time to remove the question from the screen before they show the result of the call.
const WITHDRAW_BEFORE_END: Duration = Duration::from_millis(300);

/// A question to the user: whether the sync may make the deactivations for which a run was refused.
#[derive(Debug)]
pub(super) struct ApprovalQuestion(ElicitRequestParams);

impl ApprovalQuestion {
    /// Builds the question from the deactivations that were refused. Names the tenant if the process keeps several
    /// mirrors.
    pub(super) async fn new(held: &HeldDeactivations, target: &TargetMirror) -> Self {
        let tenant = target.named().await;
        let tenant = tenant.map_or_else(String::new, |named| format!("Tenant {named}: "));
        let text = format!("{tenant}{} Go on?", held.in_words(CENTRAL));
        let field = BooleanSchema::new()
            .title(format!("Deactivate {} meters", held.deactivated))
            .description("They keep their rows and readings, and become active again when the central database has them active.")
            .with_default(false);
        let schema = ElicitationSchema::builder()
            .required_bool_property(APPROVAL_FIELD, |_empty| field)
            .build_unchecked();
        Self(ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: make_printable::lines(&text),
            requested_schema: schema,
        })
    }
}

/// Sends the question to the client during a tool call, and waits for the answer until shortly before `end`, when the
/// call ends.
pub(super) async fn ask(
    context: &RequestContext<RoleServer>,
    ApprovalQuestion(question): ApprovalQuestion,
    end: Instant,
) -> ApprovalAnswer {
    let left = end.saturating_duration_since(Instant::now());
    let left = left.saturating_sub(WITHDRAW_BEFORE_END);
    let asked = context
        .peer
        .create_elicitation_with_timeout(question, Some(left));
    let answered = tokio::select! {
        answered = asked => answered,
        // The client has cancelled the call and expects no answer.
        () = context.ct.cancelled() => return ApprovalAnswer::Nothing,
    };
    match answered {
        Ok(result) => read(&result),
        Err(error) => {
            tracing::debug!(%error, "the user was not asked, or did not answer");
            if matches!(error, ServiceError::Timeout { .. }) {
                tokio::time::sleep_until(end.into()).await;
            }
            ApprovalAnswer::Nothing
        }
    }
}

fn read(result: &ElicitResult) -> ApprovalAnswer {
    let content = result.content.as_ref();
    let is_checked = content.is_some_and(|content| content[APPROVAL_FIELD] == true);
    match result.action {
        ElicitationAction::Accept if is_checked => ApprovalAnswer::Yes,
        ElicitationAction::Accept | ElicitationAction::Decline => ApprovalAnswer::No,
        ElicitationAction::Cancel | _ => ApprovalAnswer::Nothing,
    }
}

/// Signs the `requestState` that goes with each question and comes back with the answer, and remembers which ones came
/// back.
pub(super) struct QuestionSigner {
    codec: RequestStateCodec,
    /// The ids of the `requestState` values that came back, and when they came. Each one is accepted only once. Expired
    /// ones are removed.
    used: Mutex<HashMap<Uuid, Instant>>,
}

impl std::fmt::Debug for QuestionSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuestionSigner").finish_non_exhaustive()
    }
}

/// The content of a signed `requestState`.
#[derive(Debug, Serialize, Deserialize)]
struct SignedQuestion {
    id: Uuid,
    /// The run whose deactivations the user was asked about.
    run: RunId,
}

/// The user's answer to a question of an earlier tool call. The client sends it by repeating that call with the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReturnedAnswer {
    /// The call carries no answer, because it is the first one.
    Nothing,
    /// The user approves the deactivations for which this run was refused.
    Yes(RunId),
    /// The user refuses the deactivations.
    No,
    /// The user has not decided about the deactivations for which this run was refused.
    Undecided(RunId),
}

impl Default for QuestionSigner {
    fn default() -> Self {
        // The key is random, so no question of this process can be answered after the process has ended.
        let key = [Uuid::new_v4(), Uuid::new_v4()]
            .map(Uuid::into_bytes)
            .concat();
        Self {
            codec: RequestStateCodec::new_unchecked(key),
            used: Mutex::default(),
        }
    }
}

impl QuestionSigner {
    /// Builds the result of a call that asks the user about the deactivations for which `run` was refused. The client
    /// sends the user's answer by repeating the call.
    pub(super) fn question(
        &self,
        run: RunId,
        ApprovalQuestion(question): ApprovalQuestion,
        context: &RequestContext<RoleServer>,
        call: &CallToolRequestParams,
    ) -> Result<InputRequiredResult, ErrorData> {
        let asked = SignedQuestion {
            id: Uuid::new_v4(),
            run,
        };
        let bound = bound(context, call);
        let options = SealOptions::new().associated_data(&bound).ttl(PATIENCE);
        let state = self.codec.seal_json_with(&asked, &options);
        let state = state.map_err(tool_result::internal)?;
        let request = InputRequest::Elicitation(ElicitRequest::new(question));
        let requests = BTreeMap::from([(APPROVAL_FIELD.to_owned(), request)]);
        Ok(InputRequiredResult::new(Some(requests), Some(state)))
    }

    /// Reads the user's answer from the call. Returns an error if the `requestState` of the call was made for another
    /// caller or other arguments, has expired, or was used before.
    pub(super) fn returned(
        &self,
        context: &RequestContext<RoleServer>,
        call: &CallToolRequestParams,
    ) -> Result<ReturnedAnswer, ErrorData> {
        let Some(state) = &call.request_state else {
            return Ok(ReturnedAnswer::Nothing);
        };
        let opened = self
            .codec
            .open_json_with::<SignedQuestion>(state, &bound(context, call));
        let asked = opened.map_err(|error| {
            let message =
                format!("The `requestState` does not count: {error}. Call again without it.");
            ErrorData::invalid_params(message, None)
        })?;
        if !self.use_up(asked.id) {
            let message = "The `requestState` was used already. Call again without it.";
            return Err(ErrorData::invalid_params(message, None));
        }
        Ok(match answer(call.input_responses.as_ref()) {
            ApprovalAnswer::Yes => ReturnedAnswer::Yes(asked.run),
            ApprovalAnswer::No => ReturnedAnswer::No,
            ApprovalAnswer::Nothing => ReturnedAnswer::Undecided(asked.run),
        })
    }

    /// Marks the `requestState` with this id as used. Returns `false` if it was used before.
    fn use_up(&self, id: Uuid) -> bool {
        let now = Instant::now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, when| now - *when <= PATIENCE);
        used.insert(id, now).is_none()
    }
}

fn answer(responses: Option<&InputResponses>) -> ApprovalAnswer {
    let response = responses.and_then(|responses| responses.get(APPROVAL_FIELD));
    let result = response.and_then(|response| serde_json::from_value(response.clone()).ok());
    result.map_or(ApprovalAnswer::Nothing, |result: ElicitResult| {
        read(&result)
    })
}

/// Returns the data that a `requestState` is bound to: the caller's token, the tool and the arguments. The state is
/// valid only for the same caller and the same call.
fn bound(context: &RequestContext<RoleServer>, call: &CallToolRequestParams) -> Vec<u8> {
    let token = caller_token(context).map(crate::config::Token::identity);
    let arguments: BTreeMap<_, _> = call.arguments.iter().flatten().collect();
    format!("{token:?} {} {}", call.name, serde_json::json!(arguments)).into_bytes()
}
