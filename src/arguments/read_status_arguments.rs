//! Reads those arguments of a request for the status that MCP and REST have in common.

use super::arguments_by_name::{Arguments, BadArgument};
use super::bounds::{CHANGES_LIMIT, HISTORY};
use crate::reports::status::StatusQuery;

/// Reads what the status shall contain: how many past runs, which single run, and whether and how many changes. If the
/// argument `history` is absent, the number of past runs is the parameter `history`.
pub(crate) fn read(given: &mut Arguments, history: u32) -> Result<StatusQuery, BadArgument> {
    let default = StatusQuery::default();
    Ok(StatusQuery {
        history: HISTORY.read(given, history)?,
        run_id: given.run_id("run_id")?,
        include_changes: given.boolean("include_changes", default.include_changes)?,
        changes_limit: CHANGES_LIMIT.read(given, default.changes_limit)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_argument_other_than_its_default_is_about_runs() {
        let id = "0190c2f1-7a00-7000-8000-000000000001";
        for (given, is_about_runs) in [
            (json!({}), false),
            (
                json!({"history": 5, "include_changes": false, "changes_limit": 20}),
                false,
            ),
            (json!({"history": 0}), true),
            (json!({"run_id": id}), true),
            (json!({"include_changes": true}), true),
            (json!({"changes_limit": 21}), true),
        ] {
            let mut arguments = Arguments::new(given.as_object().cloned());
            let query = read(&mut arguments, 5).expect("a query");
            assert_eq!(query.is_about_runs(), is_about_runs, "{given}");
        }
    }
}
