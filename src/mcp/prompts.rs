//! The MCP prompts: common questions that a user can pick. Each tells the language model which tool calls answer the
//! question.

use rmcp::ErrorData;
use rmcp::model::{
    GetPromptRequestParams, GetPromptResult, Prompt, PromptArgument, PromptMessage, Role,
};

use serde_json::{Value, json};

use super::caller::Caller;
use super::{status_tool, trigger_tool};
use crate::arguments::bounds::TENANT_CHARS;
use crate::arguments::{Arguments, BadArgument, nearest, one_line, shorten};
use crate::error::ErrorCode;
use crate::mirrors::Mirrors;

const TENANT_ID: &str = "tenant_id";
const SINCE: &str = "since";
const SINCE_CHARS: usize = 100;

/// Added to the text of a prompt that names no tenant, if this process syncs several tenants.
const SEVERAL: &str = " Several tenants are kept in sync here: without `tenant_id` meter_sync_status lists them, the \
    worst first. Ask about one with `tenant_id`, and ask me which one I mean if it matters.";

/// A prompt: how it is listed, and the text that it sends to the language model.
struct PromptQuestion {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// Whether the prompt takes the argument `since`.
    has_date: bool,
    /// Whether the answer needs the trigger tool, for a dry run.
    takes_trigger: bool,
    /// Returns the prompt's text. The argument is the value of `since`, empty if the prompt takes none.
    words: fn(&str) -> String,
}

const QUESTIONS: [PromptQuestion; 4] = [
    PromptQuestion {
        name: "in_sync",
        title: "Are my meters in sync?",
        description: "Whether the local meters can be relied on, since when, and what to do if not.",
        has_date: false,
        takes_trigger: false,
        words: in_sync,
    },
    PromptQuestion {
        name: "last_failure",
        title: "Why did the last sync fail?",
        description: "What failed, on which side, and the remedy.",
        has_date: false,
        takes_trigger: false,
        words: last_failure,
    },
    PromptQuestion {
        name: "changes_since",
        title: "What changed since a date?",
        description: "Which meters came, changed, were switched off or came back since a day or time.",
        has_date: true,
        takes_trigger: false,
        words: changes_since,
    },
    PromptQuestion {
        name: "preview",
        title: "What would a sync do now?",
        description: "The changes that a sync would make now, without making them.",
        has_date: false,
        takes_trigger: true,
        words: preview,
    },
];

fn in_sync(_: &str) -> String {
    format!(
        "Are this site's meters in sync with the central database? Call {} once. Answer yes or no first, by `health` \
         and `summary`, and as of when; then how many meters are active, and when the next sync \
         is due. If `next_step` asks for something, say what and who can do it. Start no sync.",
        status_tool::NAME
    )
}

fn last_failure(_: &str) -> String {
    format!(
        "Why did the last sync of this site's meters fail? Call {} once. If `last_run` failed, was refused or was \
         interrupted, say in plain words what failed and on which side (remote or local), give the remedy of its \
         `error` as it stands, say since when no sync has succeeded, and whether the schedule will try again by itself. \
         If it rejected rows, call again with its `run_id` and `include_changes` and name them with their reasons. \
         If it succeeded, say so. Start no sync.",
        status_tool::NAME
    )
}

fn changes_since(since: &str) -> String {
    format!(
        "What changed among this site's meters since {since}? Call {name} with `since` set to that time (`7d`, or `2026-01-31T08:00Z`); while the answer has \
         `next_before`, call again with it as `before`, five times at most. Say how many meters are new, changed, switched off \
         and back, and name them with the old and new fields and the times. If the log does not reach back so far, or changes \
         were left out, say so.",
        name = status_tool::NAME
    )
}

fn preview(_: &str) -> String {
    format!(
        "What would a sync of this site's meters do now? Call {} with `dry_run` true, which writes to no meter. Say how \
         many meters would be new, changed, switched off and back, name the first ones with their old and new fields, \
         and say whether the sync would be refused and why. Start no real sync unless I ask for it.",
        trigger_tool::NAME
    )
}

/// Returns the prompts. Without `may_trigger`, leaves out those that need the trigger tool. With `takes_tenant`, each
/// prompt has the argument `tenant_id`.
pub(super) fn list(may_trigger: bool, takes_tenant: bool) -> Vec<Prompt> {
    let listed = QUESTIONS
        .iter()
        .filter(|question| may_trigger || !question.takes_trigger);
    listed
        .map(|question| question.prompt(takes_tenant))
        .collect()
}

/// Returns all prompts in the format of the bundle manifest.
pub(super) fn for_manifest() -> Vec<Value> {
    let listed = QUESTIONS.iter().map(|question| {
        let arguments: &[&str] = if question.has_date { &[SINCE] } else { &[] };
        json!({
            "name": question.name,
            "description": question.description,
            "arguments": arguments,
            "text": (question.words)("${arguments.since}"),
        })
    });
    listed.collect()
}

impl PromptQuestion {
    fn prompt(&self, takes_tenant: bool) -> Prompt {
        let tenant = PromptArgument::new(TENANT_ID)
            .with_title("Tenant id")
            .with_description("The tenant to ask about, by its id; all of them when left out.")
            .with_required(false);
        let since = PromptArgument::new(SINCE)
            .with_title("Since")
            .with_description("A day or time, such as 2026-01-31, yesterday or last Monday.")
            .with_required(true);
        let since = self.has_date.then_some(since);
        let tenant = takes_tenant.then_some(tenant);
        let arguments: Vec<_> = since.into_iter().chain(tenant).collect();
        let arguments = (!arguments.is_empty()).then_some(arguments);
        Prompt::new(self.name, Some(self.description), arguments).with_title(self.title)
    }
}

/// Returns the text of one prompt. Returns an error if there is no such prompt, if an argument is missing or invalid,
/// or if the caller may not see the tenant.
pub(super) async fn get(
    mirrors: &Mirrors,
    request: &GetPromptRequestParams,
    may_trigger: bool,
    caller: &Caller,
) -> Result<GetPromptResult, ErrorData> {
    let known = QUESTIONS
        .iter()
        .filter(|question| may_trigger || !question.takes_trigger);
    let Some(question) = known.clone().find(|question| question.name == request.name) else {
        let names = known.map(|question| question.name);
        let hint = nearest(&request.name, names)
            .map(|known| format!(" Did you mean `{known}`?"))
            .unwrap_or_default();
        let message = format!("There is no prompt `{}`.{hint}", shorten(&request.name));
        return Err(ErrorData::invalid_params(message, None));
    };
    let since = match question.has_date {
        true => since(request)?,
        false => String::new(),
    };
    let mut text = (question.words)(&since);
    if let Some(tenant) = tenant(request)? {
        match caller.find(mirrors, Some(&tenant)).await {
            Err(failure) if failure.code == ErrorCode::TenantUnknown => {
                return Err(failure.into());
            }
            // Any other failure does not matter here: the tools will report it.
            Ok(_) | Err(_) => {
                text.push_str(&format!(
                    " Ask about one tenant alone: give `{TENANT_ID}` {tenant} in each call."
                ));
            }
        }
    } else if mirrors.only().is_none() {
        text.push_str(SEVERAL);
    }
    let message = PromptMessage::new_text(Role::User, text);
    Ok(GetPromptResult::new(vec![message]).with_description(question.description))
}

fn tenant(request: &GetPromptRequestParams) -> Result<Option<String>, ErrorData> {
    Arguments::new(request.arguments.clone())
        .id(TENANT_ID, TENANT_CHARS)
        .map_err(|BadArgument(message)| ErrorData::invalid_params(message, None))
}

fn since(request: &GetPromptRequestParams) -> Result<String, ErrorData> {
    let given = request
        .arguments
        .as_ref()
        .and_then(|given| given.get(SINCE));
    let text = given.and_then(|value| value.as_str()).map(one_line);
    text.filter(|text| !text.is_empty() && text.chars().count() <= SINCE_CHARS)
        .ok_or_else(|| {
            let message = format!(
                "The prompt needs `{SINCE}`, a day or time of at most {SINCE_CHARS} characters, such as 2026-01-31."
            );
            ErrorData::invalid_params(message, None)
        })
}
