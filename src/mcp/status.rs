//! The tool `meter_sync_status`: what is known, without changing or waiting for anything.

use std::ops::RangeInclusive;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::json;

use super::page::Page;
use super::{CallToolResult, Schema, answer, app, literal, schema};
use crate::arguments::{Arguments, BadArgument, shorten};
use crate::meter::RunId;
use crate::runs::Runs;
use crate::runs::status::{Status, StatusQuery};

/// The tool's name.
pub(super) const NAME: &str = "meter_sync_status";

const TITLE: &str = "Meter sync status";
const DESCRIPTION: &str = "Says whether this site's local copy of its meters can be relied on, when \
    it was last synced from the central database, what changed, what failed and what to do about \
    it. Use it before and after meter_sync_trigger, to follow a running sync, to answer when or why \
    a meter changed (`include_changes` with a `run_id` from `history`), and first of all when \
    anything seems wrong: it answers with both databases down. Do not use it to start a sync or to \
    read meter values. It changes nothing, asks only the local database, and costs milliseconds. \
    Act on `next_step`; `health` other than `ok` is explained in `summary`.";

const HISTORY: RangeInclusive<u32> = 0..=50;
const CHANGES_LIMIT: RangeInclusive<u32> = 1..=200;
/// More than any spelling of a UUID needs.
const RUN_ID_CHARS: usize = 64;

/// The schema of its results, whole.
pub(super) fn output() -> Schema {
    schema::of::<Status>()
}

/// The tool, with so much of the schema of its results.
pub(super) fn tool(output: Schema) -> Tool {
    Tool::new(NAME, DESCRIPTION, input_schema())
        .with_title(TITLE)
        .with_raw_output_schema(output)
        .with_meta(app::shows_results())
        .with_annotations(
            ToolAnnotations::with_title(TITLE)
                .read_only(true)
                .destructive(false)
                .idempotent(true)
                .open_world(false),
        )
}

/// Answers one call.
pub(super) async fn call(
    runs: &Runs,
    arguments: Option<JsonObject>,
    page: &Page,
) -> CallToolResult {
    let query = match read(arguments) {
        Ok(query) => query,
        Err(error) => return answer::bad_argument(&error),
    };
    match runs.status(&query).await {
        Ok(status) => answer::structured(&with_page(status, page)),
        // the status itself never fails: what is wrong is the id
        Err(no_such_run) => answer::bad_argument(&BadArgument(format!(
            "{} {}",
            no_such_run.message, no_such_run.remedy
        ))),
    }
}

/// The same with where a person decides about what the last run held back.
fn with_page(mut status: Status, page: &Page) -> Status {
    if let (Some(_), Some(run), None) = (&status.held_back, &status.last_run, &status.running) {
        status.next_step = format!("{} {}", status.next_step, page.decides(run.run_id));
    }
    status
}

fn read(arguments: Option<JsonObject>) -> Result<StatusQuery, BadArgument> {
    let default = StatusQuery::default();
    let mut given = Arguments::new(arguments);
    let query = StatusQuery {
        history: given.integer("history", HISTORY, default.history)?,
        run_id: given
            .text("run_id", RUN_ID_CHARS)?
            .as_deref()
            .map(run_id)
            .transpose()?,
        include_changes: given.boolean("include_changes", default.include_changes)?,
        changes_limit: given.integer("changes_limit", CHANGES_LIMIT, default.changes_limit)?,
    };
    given.finish()?;
    Ok(query)
}

fn run_id(text: &str) -> Result<RunId, BadArgument> {
    text.parse().map_err(|_error: uuid::Error| {
        BadArgument(format!(
            "`run_id` must be the id of a run as `history` gives it (a UUID), not {}.",
            shorten(text)
        ))
    })
}

fn input_schema() -> Schema {
    let default = StatusQuery::default();
    literal(json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "history": {
                "type": "integer",
                "minimum": HISTORY.start(),
                "maximum": HISTORY.end(),
                "default": default.history,
                "description": "How many past runs to list, newest first.",
            },
            "run_id": {
                "type": "string",
                "format": "uuid",
                "description": "The run to show changes of and to list alone in `history`; the last run when left out.",
            },
            "include_changes": {
                "type": "boolean",
                "default": default.include_changes,
                "description": "Whether to list which meters that run changed, with the old and new fields, and which rows it rejected.",
            },
            "changes_limit": {
                "type": "integer",
                "minimum": CHANGES_LIMIT.start(),
                "maximum": CHANGES_LIMIT.end(),
                "default": default.changes_limit,
                "description": "How many changes to list at most.",
            },
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(value: &serde_json::Value) -> Option<JsonObject> {
        value.as_object().cloned()
    }

    #[test]
    fn no_arguments_mean_the_defaults_of_the_contract() {
        let query = read(None).expect("no arguments");
        assert_eq!((query.history, query.changes_limit), (5, 20));
        assert_eq!((query.run_id, query.include_changes), (None, false));
    }

    #[test]
    fn the_schema_names_the_arguments_that_are_read() {
        let all = json!({"history": 50, "run_id": "0190c2f1-7a00-7000-8000-000000000001",
            "include_changes": true, "changes_limit": 200});
        read(given(&all)).expect("every argument is known");
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
        let error = read(given(&json!({"run_id": "latest"}))).expect_err("no UUID");
        assert!(
            error.0.starts_with("`run_id` must be the id of a run"),
            "{}",
            error.0
        );
        assert!(error.0.ends_with("not latest."), "{}", error.0);
    }

    #[test]
    fn a_limit_of_zero_changes_is_out_of_range() {
        assert!(read(given(&json!({"changes_limit": 0}))).is_err());
        assert!(read(given(&json!({"history": 0}))).is_ok());
    }
}
