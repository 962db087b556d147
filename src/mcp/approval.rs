//! Asks the user whether a sync that the brake held back may go on.
//!
//! Only an accepted answer counts, and only for the deactivations it was asked about: these or fewer pass, and one more is
//! asked about again. Clients up to 2025-11-25 are asked while their call waits; since
//! 2026-07-28 the call is answered with the question and made again with the answer, and a sealed state
//! carries what was asked (<https://modelcontextprotocol.io/specification/2026-07-28/basic/utilities/mrtr>).

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

use crate::meter::{HeldBack, RunId};
use crate::visible;

use super::caller_token;

/// The field of the form, and the question's name.
const GO_ON: &str = "deactivate";
/// What a user knows the remote as.
pub(super) const CENTRAL: &str = "the central database";
/// How long the answer to a question counts that the client carries.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How the client can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElicitationStyle {
    /// Not at all.
    None,
    /// While its call waits.
    Meanwhile,
    /// By a second call.
    SecondCall,
}

impl ElicitationStyle {
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Self {
        let elicitation = context
            .client_capabilities()
            .and_then(|capabilities| capabilities.elicitation);
        // Without a mode, forms are meant.
        let fills_forms =
            elicitation.is_some_and(|modes| modes.form.is_some() || modes.url.is_none());
        let modern = ProtocolVersion::V_2026_07_28;
        let is_modern = context
            .protocol_version()
            .is_some_and(|version| version.as_str() >= modern.as_str());
        match (fills_forms, is_modern) {
            (false, _) => Self::None,
            (true, false) => Self::Meanwhile,
            (true, true) => Self::SecondCall,
        }
    }
}

/// What the user says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The sync may go on.
    Yes,
    /// It may not.
    No,
    /// Nothing: the question was put away, or nobody saw it.
    Nothing,
}

/// A question that nobody answered is taken back so long before its call is answered: clients that look for one message at
/// a time take the question off the screen, and then see how the call ended.
const TAKEN_BACK_BEFORE: Duration = Duration::from_millis(300);

/// Asks while the call waits, which it does until `end`: clients give a call up after a minute.
pub(super) async fn ask(
    context: &RequestContext<RoleServer>,
    held: &HeldBack,
    end: Instant,
) -> Answer {
    let left = end.saturating_duration_since(Instant::now());
    let left = left.saturating_sub(TAKEN_BACK_BEFORE);
    let asked = context
        .peer
        .create_elicitation_with_timeout(question(held), Some(left));
    let answered = tokio::select! {
        answered = asked => answered,
        // Who gave the call up is not there to be heard.
        () = context.ct.cancelled() => return Answer::Nothing,
    };
    match answered {
        Ok(result) => read(&result),
        Err(error) => {
            tracing::debug!(%error, "the user was not asked, or did not answer");
            if matches!(error, ServiceError::Timeout { .. }) {
                tokio::time::sleep_until(end.into()).await;
            }
            Answer::Nothing
        }
    }
}

fn read(result: &ElicitResult) -> Answer {
    let content = result.content.as_ref();
    let is_checked = content.is_some_and(|content| content[GO_ON] == true);
    match result.action {
        ElicitationAction::Accept if is_checked => Answer::Yes,
        ElicitationAction::Accept | ElicitationAction::Decline => Answer::No,
        ElicitationAction::Cancel | _ => Answer::Nothing,
    }
}

fn question(held: &HeldBack) -> ElicitRequestParams {
    let message = visible::lines(&format!("{} Go on?", held.in_words(CENTRAL)));
    let field = BooleanSchema::new()
        .title(format!("Deactivate {} meters", held.deactivated))
        .description("They keep their rows and readings, and become active again when the central database has them active.")
        .with_default(false);
    let schema = ElicitationSchema::builder()
        .required_bool_property(GO_ON, |_empty| field)
        .build_unchecked();
    ElicitRequestParams::FormElicitationParams {
        meta: None,
        message,
        requested_schema: schema,
    }
}

/// The questions that are open, sealed so that a client can carry them.
pub(super) struct Approvals {
    codec: RequestStateCodec,
    /// The states that came back, till they expire: each counts once.
    used: Mutex<HashMap<Uuid, Instant>>,
}

impl std::fmt::Debug for Approvals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Approvals").finish_non_exhaustive()
    }
}

/// What a state says.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    id: Uuid,
    /// The run whose deactivations the user was asked about.
    run: RunId,
}

/// What came back of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// No question was asked: this is a first call.
    Nothing,
    /// The user lets the deactivations pass that this run showed.
    Yes(RunId),
    /// The user does not.
    No,
    /// The user did not say, of the deactivations that this run showed.
    Undecided(RunId),
}

impl Default for Approvals {
    fn default() -> Self {
        // Questions of a process end with it.
        let key = [Uuid::new_v4(), Uuid::new_v4()]
            .map(Uuid::into_bytes)
            .concat();
        Self {
            codec: RequestStateCodec::new_unchecked(key),
            used: Mutex::default(),
        }
    }
}

impl Approvals {
    /// The question about what a run held back, as the answer to the call.
    pub(super) fn question(
        &self,
        (run, held): (RunId, &HeldBack),
        context: &RequestContext<RoleServer>,
        call: &CallToolRequestParams,
    ) -> Result<InputRequiredResult, ErrorData> {
        let asked = Asked {
            id: Uuid::new_v4(),
            run,
        };
        let bound = bound(context, call);
        let options = SealOptions::new().associated_data(&bound).ttl(PATIENCE);
        let state = self.codec.seal_json_with(&asked, &options);
        let state = state.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let request = InputRequest::Elicitation(ElicitRequest::new(question(held)));
        let requests = BTreeMap::from([(GO_ON.to_owned(), request)]);
        Ok(InputRequiredResult::new(Some(requests), Some(state)))
    }

    /// What a call brings back. An error if it is not what was asked, comes too late or a second time.
    pub(super) fn returned(
        &self,
        context: &RequestContext<RoleServer>,
        call: &CallToolRequestParams,
    ) -> Result<Returned, ErrorData> {
        let Some(state) = &call.request_state else {
            return Ok(Returned::Nothing);
        };
        let opened = self
            .codec
            .open_json_with::<Asked>(state, &bound(context, call));
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
            Answer::Yes => Returned::Yes(asked.run),
            Answer::No => Returned::No,
            Answer::Nothing => Returned::Undecided(asked.run),
        })
    }

    /// Whether the state had not been used before.
    fn use_up(&self, id: Uuid) -> bool {
        let now = Instant::now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, when| now - *when <= PATIENCE);
        used.insert(id, now).is_none()
    }
}

fn answer(responses: Option<&InputResponses>) -> Answer {
    let response = responses.and_then(|responses| responses.get(GO_ON));
    let result = response.and_then(|response| serde_json::from_value(response.clone()).ok());
    result.map_or(Answer::Nothing, |result: ElicitResult| read(&result))
}

/// Who asks for what: a state counts for the same caller and the same call only.
fn bound(context: &RequestContext<RoleServer>, call: &CallToolRequestParams) -> Vec<u8> {
    let token = caller_token(context).map(crate::config::Token::identity);
    let arguments: BTreeMap<_, _> = call.arguments.iter().flatten().collect();
    format!("{token:?} {} {}", call.name, serde_json::json!(arguments)).into_bytes()
}
