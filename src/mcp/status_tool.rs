//! The tool `meter_sync_status`: reports whether the local meters are in sync, and what recent runs did. It changes
//! nothing and does not wait for a run.

use chrono::{DateTime, Utc};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::json;

use super::caller::{Caller, TargetMirror};
use super::json_schema_helpers::{SharedJsonSchema, described, literal};
use super::page_address::PageAddress;
use super::{
    CallToolResult, build_status_of_many, output_schema, shorten_tool_result, since_argument,
    status_card, tool_result,
};
use crate::arguments::bounds::{CHANGES_LIMIT, HISTORY, TENANT_CHARS};
use crate::arguments::{Arguments, BadArgument, read_status_arguments, shorten};
use crate::error::Failure;
use crate::history::answer_history_question::HistoryQuestion;
use crate::make_printable;
use crate::mirrors::Mirrors;
use crate::model::{ChangeCursor, RunId};
use crate::reports::status::{Status, StatusQuery};
use crate::reports::tenant_list::TenantsQuery;

/// The tool's name.
pub(super) const NAME: &str = "meter_sync_status";

const TITLE: &str = "Meter sync status";
const DESCRIPTION: &str = "Says whether this site's local copy of its meters can be relied on, when \
    it was last synced from the central database, what failed and what to do about it. One call \
    answers why or since when a meter is inactive (`meter`), what changed since a time (`since`), and \
    what one run changed (`include_changes`, with a `run_id` from `history`). Use it before and after \
    meter_sync_trigger, to follow a running sync, and first when anything seems wrong: it answers \
    with both databases down. Do not use it to start a sync or to read what meters measure. It \
    changes nothing and costs milliseconds. Act on `next_step`; `health` other than `ok` is \
    explained in `summary`.";

/// The longest `meter` argument in characters. No key or name that a person types is longer.
const METER_CHARS: usize = 200;
const TIME_CHARS: usize = 40;

/// Returns the complete schema of the tool's results.
pub(super) fn output() -> SharedJsonSchema {
    output_schema::of::<Status>()
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
                .read_only(true)
                .destructive(false)
                .idempotent(true)
                .open_world(false),
        )
}

/// The parsed arguments of a call.
#[derive(Debug)]
struct StatusCall {
    tenant: Option<String>,
    /// What the call asks about one tenant, without the field `before`, which the method `question` fills in.
    question: HistoryQuestion,
    /// The argument `before`: `next_before` of the previous page. The page is one of the list of tenants, or of an
    /// answer about one tenant. `None` asks for the first page.
    before: Option<String>,
}

impl StatusCall {
    /// Whether the call is about all tenants: it names no tenant, and has no argument that is about one tenant. An
    /// argument with its default value does not count, because some hosts fill in every default.
    fn is_about_all(&self) -> bool {
        let HistoryQuestion {
            status,
            meter,
            since,
            before: _,
        } = &self.question;
        let is_about_one = self.tenant.is_some() || meter.is_some() || since.is_some();
        // `changes_limit` is also how many tenants to list.
        let of_runs = StatusQuery {
            changes_limit: StatusQuery::default().changes_limit,
            ..status.clone()
        };
        !is_about_one && !of_runs.is_about_runs()
    }

    fn question(self) -> Result<HistoryQuestion, BadArgument> {
        Ok(HistoryQuestion {
            before: self.before.as_deref().map(place).transpose()?,
            ..self.question
        })
    }
}

/// Handles one call of the tool. A failure becomes an error result.
pub(super) async fn call(
    mirrors: &Mirrors,
    arguments: Option<JsonObject>,
    caller: &Caller,
) -> CallToolResult {
    let mut call = match read(arguments, mirrors.now()) {
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

fn read(arguments: Option<JsonObject>, now: DateTime<Utc>) -> Result<StatusCall, BadArgument> {
    let mut given = Arguments::new(arguments);
    let tenant = given.id("tenant_id", TENANT_CHARS)?;
    let meter = given.text("meter", METER_CHARS)?;
    let since = given.text("since", TIME_CHARS)?;
    let since = since
        .map(|text| since_argument::since(&text, now))
        .transpose()?;
    // An answer about a meter, or about the changes since a time, lists past runs only if the argument `history` is
    // given.
    let history = match meter.is_some() || since.is_some() {
        true => 0,
        false => StatusQuery::default().history,
    };
    let before = given.text("before", TENANT_CHARS)?;
    let question = HistoryQuestion {
        status: read_status_arguments::read(&mut given, history)?,
        meter,
        since,
        before: None,
    };
    given.refuse_unknown()?;
    let is_other = question.meter.is_some() || question.since.is_some() || before.is_some();
    if question.status.run_id.is_some() && is_other {
        let message =
            "`run_id` asks for one run, and goes with none of `meter`, `since` and `before`.";
        return Err(BadArgument(message.to_owned()));
    }
    Ok(StatusCall {
        tenant,
        question,
        before,
    })
}

fn place(text: &str) -> Result<ChangeCursor, BadArgument> {
    text.parse().map_err(|()| {
        BadArgument(format!(
            "`before` must be `next_before` of the page before, not {}.",
            shorten(text)
        ))
    })
}

fn input_schema() -> SharedJsonSchema {
    let default = StatusQuery::default();
    literal(json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "tenant_id": {
                "type": "string",
                "description": "The tenant's id; without it several tenants are listed, the worst first.",
            },
            "meter": {
                "type": "string",
                "maxLength": METER_CHARS,
                "description": "A meter's key or a part of its name: its row, whether and why it is inactive, its history; several that match are listed.",
            },
            "since": {
                "type": "string",
                "maxLength": TIME_CHARS,
                "description": "A time (`24h`, `7d`, `2026-01-31T08:00Z`): counts and lists what all syncs changed since.",
            },
            "before": {
                "type": "string",
                "description": "`next_before` of an answer, for its next page.",
            },
            "history": described(HISTORY.schema(default.history), "How many past runs to list, newest first."),
            "run_id": {
                "type": "string",
                "format": "uuid",
                "description": "The run to show changes of and to list alone; the last when left out.",
            },
            "include_changes": {
                "type": "boolean",
                "default": default.include_changes,
                "description": "Whether to list the meters that run changed and the rows it rejected.",
            },
            "changes_limit": described(CHANGES_LIMIT.schema(default.changes_limit), "The most changes or tenants to list; above 20 the answer may pass 8 kB."),
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    #[test]
    fn a_misspelt_argument_suggests_the_right_one() {
        for (misspelt, right) in [
            ("meter_id", "meter"),
            ("metre", "meter"),
            ("sinc", "since"),
            ("runId", "run_id"),
            ("change_limit", "changes_limit"),
            ("includeChanges", "include_changes"),
        ] {
            let error = read(given(&json!({misspelt: "x"})), NOW).expect_err("unknown");
            let expected = format!("did you mean `{right}`?");
            assert!(error.0.ends_with(&expected), "{misspelt}: {}", error.0);
        }
    }

    fn given(value: &serde_json::Value) -> Option<JsonObject> {
        value.as_object().cloned()
    }

    #[test]
    fn no_arguments_mean_the_defaults_of_the_contract() {
        let query = read(None, NOW).expect("no arguments").question.status;
        assert_eq!((query.history, query.changes_limit), (5, 20));
        assert_eq!((query.run_id, query.include_changes), (None, false));
    }

    #[test]
    fn the_schema_names_the_arguments_that_are_read() {
        let id = "0190c2f1-7a00-7000-8000-000000000001";
        let all = json!({"history": 50, "run_id": id, "include_changes": true, "changes_limit": 200,
            "meter": "3", "since": "24h", "before": id, "tenant_id": 7});
        let error = read(given(&all), NOW).expect_err("not together");
        assert!(
            error.0.starts_with("`run_id` asks for one run"),
            "{}",
            error.0
        );
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
    fn a_run_id_that_is_none_is_refused_by_name() {
        let error = read(given(&json!({"run_id": "latest"})), NOW).expect_err("no UUID");
        assert!(
            error.0.starts_with("`run_id` must be the id of a run"),
            "{}",
            error.0
        );
        assert!(error.0.ends_with("not latest."), "{}", error.0);
    }

    #[test]
    fn a_limit_of_zero_changes_is_out_of_range() {
        assert!(read(given(&json!({"changes_limit": 0})), NOW).is_err());
        assert!(read(given(&json!({"history": 0})), NOW).is_ok());
    }
}
