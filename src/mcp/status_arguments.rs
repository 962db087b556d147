//! The arguments of the tool `meter_sync_status`: their schema, and how a call's are read.

use chrono::{DateTime, Utc};
use rmcp::model::JsonObject;
use serde_json::json;

use super::json_schema_helpers::{SharedJsonSchema, described, literal};
use crate::arguments::bounds::{CHANGES_LIMIT, HISTORY, TENANT_CHARS};
use crate::arguments::past_time::{self, TIME_CHARS};
use crate::arguments::{Arguments, BadArgument, read_status_arguments, shorten};
use crate::history::answer_history_question::HistoryQuestion;
use crate::model::{ChangeAction, ChangeCursor};
use crate::reports::status::StatusQuery;

/// The longest `meter` argument in characters. No key or name that a person types is longer.
const METER_CHARS: usize = 200;

/// The parsed arguments of a call.
#[derive(Debug)]
pub(super) struct StatusCall {
    pub(super) tenant: Option<String>,
    /// What the call asks about one tenant, without the field `before`, which the method `question` fills in.
    pub(super) question: HistoryQuestion,
    /// The argument `before`: `next_before` of the previous page. The page is one of the list of tenants, or of an
    /// answer about one tenant. `None` asks for the first page.
    pub(super) before: Option<String>,
}

impl StatusCall {
    /// Whether the call is about all tenants: it names no tenant, and has no argument that is about one tenant. An
    /// argument with its default value does not count, because some hosts fill in every default.
    pub(super) fn is_about_all(&self) -> bool {
        let HistoryQuestion {
            status,
            meter,
            since,
            at: _,
            kinds: _,
            compare_with: _,
            before: _,
        } = &self.question;
        // The arguments `at`, `kind` and `compare_with` only go with `meter`, `since` and `run_id`.
        let is_about_one = self.tenant.is_some() || meter.is_some() || since.is_some();
        // `changes_limit` is also how many tenants to list.
        let of_runs = StatusQuery {
            changes_limit: StatusQuery::default().changes_limit,
            ..status.clone()
        };
        !is_about_one && !of_runs.is_about_runs()
    }

    pub(super) fn question(self) -> Result<HistoryQuestion, BadArgument> {
        Ok(HistoryQuestion {
            before: self.before.as_deref().map(place).transpose()?,
            ..self.question
        })
    }
}

/// Reads the arguments of a call.
pub(super) fn read(
    arguments: Option<JsonObject>,
    now: DateTime<Utc>,
) -> Result<StatusCall, BadArgument> {
    let mut given = Arguments::new(arguments);
    let tenant = given.id("tenant_id", TENANT_CHARS)?;
    let meter = given.text("meter", METER_CHARS)?;
    let since = past_time::read(&mut given, "since", now)?;
    let at = past_time::read(&mut given, "at", now)?;
    let kind = given.choice("kind", &kinds())?;
    let kinds = kind.and_then(ChangeAction::parse).into_iter().collect();
    let compare_with = given.run_id("compare_with")?;
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
        at,
        kinds,
        compare_with,
        before: None,
    };
    given.refuse_unknown()?;
    let is_other = question.meter.is_some() || question.since.is_some() || before.is_some();
    if question.status.run_id.is_some() && is_other {
        let message =
            "`run_id` asks for one run, and goes with none of `meter`, `since` and `before`.";
        return Err(BadArgument(message.to_owned()));
    }
    refuse_lone_arguments(&question)?;
    Ok(StatusCall {
        tenant,
        question,
        before,
    })
}

/// Returns an error if an argument lacks the one that it goes with.
fn refuse_lone_arguments(question: &HistoryQuestion) -> Result<(), BadArgument> {
    let lone = [
        (
            question.at.is_some() && question.meter.is_none(),
            "at",
            "meter",
        ),
        (
            !question.kinds.is_empty() && (question.since.is_none() || question.meter.is_some()),
            "kind",
            "since` alone, not with `meter",
        ),
        (
            question.compare_with.is_some() && question.status.run_id.is_none(),
            "compare_with",
            "run_id",
        ),
    ];
    match lone.into_iter().find(|(is_lone, ..)| *is_lone) {
        Some((_, name, with)) => Err(BadArgument(format!("`{name}` goes with `{with}`."))),
        None => Ok(()),
    }
}

fn place(text: &str) -> Result<ChangeCursor, BadArgument> {
    text.parse().map_err(|()| {
        BadArgument(format!(
            "`before` must be `next_before` of the page before, not {}.",
            shorten(text)
        ))
    })
}

/// Returns the words for kinds of changes.
fn kinds() -> Vec<&'static str> {
    ChangeAction::ALL.iter().map(|kind| kind.as_str()).collect()
}

/// Returns the schema of the arguments.
pub(super) fn input_schema() -> SharedJsonSchema {
    let default = StatusQuery::default();
    literal(json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "tenant_id": {
                "type": "string",
                "description": "The tenant's id; without it, several are listed, the worst first.",
            },
            "meter": {
                "type": "string",
                "maxLength": METER_CHARS,
                "description": "A meter's key or part of its name: its row, why it is inactive or rejected, its history.",
            },
            "since": {
                "type": "string",
                "maxLength": TIME_CHARS,
                "description": "A time (`24h`, `7d`, `2026-01-31T08:00Z`): counts and lists what all syncs changed since.",
            },
            "at": {
                "type": "string",
                "maxLength": TIME_CHARS,
                "description": "With `meter`: a time; how it was then.",
            },
            "kind": {
                "type": "string",
                "enum": kinds(),
                "description": "With `since`: lists only these changes.",
            },
            "compare_with": {
                "type": "string",
                "format": "uuid",
                "description": "With `run_id`: another run; how the meters differ between both.",
            },
            "before": {
                "type": "string",
                "description": "`next_before` of an answer: its next page.",
            },
            "history": described(HISTORY.schema(default.history), "How many past runs to list."),
            "run_id": {
                "type": "string",
                "format": "uuid",
                "description": "The run to show alone, with its changes; else the last.",
            },
            "include_changes": {
                "type": "boolean",
                "default": default.include_changes,
                "description": "Whether to list what that run changed and rejected.",
            },
            "changes_limit": described(CHANGES_LIMIT.schema(default.changes_limit), "The most changes or tenants to list."),
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
            "meter": "3", "since": "24h", "before": id, "tenant_id": 7, "at": "2d", "kind": "update",
            "compare_with": id});
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
    fn an_argument_that_goes_with_another_one_is_refused_alone() {
        let id = "0190c2f1-7a00-7000-8000-000000000001";
        for (alone, refusal) in [
            (json!({"at": "2d"}), "`at` goes with `meter`."),
            (
                json!({"kind": "update"}),
                "`kind` goes with `since` alone, not with `meter`.",
            ),
            (
                json!({"compare_with": id}),
                "`compare_with` goes with `run_id`.",
            ),
        ] {
            let error = read(given(&alone), NOW).expect_err("alone");
            assert_eq!(error.0, refusal);
        }
        let kind = json!({"since": "1d", "kind": "update"});
        let kinds = read(given(&kind), NOW).expect("a kind").question.kinds;
        assert_eq!(kinds, [ChangeAction::Update]);
        let error = read(given(&json!({"since": "1d", "kind": "x"})), NOW).expect_err("unknown");
        let known = "insert, update, deactivate, reactivate";
        assert!(error.0.contains(known), "{}", error.0);
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
