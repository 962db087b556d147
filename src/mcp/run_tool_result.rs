//! Builds the tool result for a run, for the trigger tool and for MCP tasks.

use crate::reports::run_report::RunReport;

use super::page_address::PageAddress;
use super::{CallToolResult, brake_refusal_result, shorten_tool_result, tool_result};

/// How many changes a language model is shown. Further changes are only counted.
const SAMPLE_CHANGES: usize = 20;

/// Returns the shortened report of a run. If the run failed (see [`RunReport::failure`]), returns an error result
/// instead.
pub(super) fn report(mut report: RunReport, page: &PageAddress) -> CallToolResult {
    if let Some(failure) = report.failure() {
        return match &report.held_back {
            Some(held) => brake_refusal_result::held_back(failure, held, report.run_id, page),
            None => tool_result::failure(failure, Some(report.run_id)),
        };
    }
    report.truncated |= report.changes.len() > SAMPLE_CHANGES;
    report.changes.truncate(SAMPLE_CHANGES);
    tool_result::structured(&shorten_tool_result::report(
        report,
        shorten_tool_result::BYTES,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn run(outcome: &str, changes: &[Value]) -> RunReport {
        serde_json::from_value(json!({
            "run_id": "0190c2f1-7a00-7000-8000-000000000001",
            "state": "finished", "outcome": outcome, "dry_run": false,
            "counts": {"inserted": 0, "updated": 0, "deactivated": 0, "reactivated": 0,
                "unchanged": 0, "rejected": 0},
            "changes": changes, "changes_total": changes.len(), "truncated": false,
            "started_at": "2026-11-01T10:00:00Z", "finished_at": "2026-11-01T10:00:01Z",
            "duration_ms": 1000, "remote_bytes": 100,
            "error": {"code": "MASS_DEACTIVATION_REFUSED", "message": "Too many.", "remedy": "Look."},
            "summary": "s", "next_step": "n", "now": "2026-11-01T10:00:02Z",
        }))
        .expect("a report")
    }

    fn page() -> PageAddress {
        let settings = crate::config::CommandLineSettings::default();
        let environment = crate::config::Environment::default();
        let config = crate::config::Config::load_from(&settings, &environment);
        PageAddress::configured(&config.expect("defaults"))
    }

    fn change(note: &str) -> Value {
        json!({"action": "insert", "key": {"id": 1}, "before": {}, "after": {"notes": note}})
    }

    #[test]
    fn a_run_that_failed_or_was_refused_is_an_error_as_text_with_its_run() {
        for outcome in ["failed", "refused", "interrupted"] {
            let result = report(run(outcome, &[]), &page());
            assert_eq!(result.is_error, Some(true));
            assert_eq!(result.structured_content, None);
            let text = serde_json::to_string(&result.content).expect("JSON");
            assert!(
                text.contains("Too many. Run 0190c2f1-7a00-7000-8000-000000000001."),
                "{text}"
            );
            assert!(text.contains("[MASS_DEACTIVATION_REFUSED]"), "{text}");
        }
    }

    #[test]
    fn a_partial_run_is_a_result() {
        let result = report(run("partial", &[]), &page());
        assert_eq!(result.is_error, Some(false));
        assert_eq!(
            result.structured_content.expect("content")["outcome"],
            "partial"
        );
    }

    #[test]
    fn a_model_is_shown_a_sample_of_many_or_large_changes() {
        let many = report(run("succeeded", &vec![change("x"); 30]), &page())
            .structured_content
            .expect("content");
        assert_eq!(many["changes"].as_array().expect("a list").len(), 20);
        assert_eq!(
            (&many["changes_total"], &many["truncated"]),
            (&json!(30), &json!(true))
        );
        let large: Vec<Value> = (0..20).map(|_| json!({"action": "update", "key": {"id": 1},
            "before": {"a": "x".repeat(10_000), "b": "y".repeat(199)}, "after": {"a": "z".repeat(10_000), "b": "v".repeat(199)}})).collect();
        let large = report(run("succeeded", &large), &page())
            .structured_content
            .expect("content");
        assert!(
            large.to_string().len() <= shorten_tool_result::BYTES,
            "{large:#}"
        );
        let shown = large["changes"].as_array().expect("a list").len();
        assert!((5..20).contains(&shown), "{shown}");
        let left_out = large["left_out"].as_str().expect("words");
        assert!(
            left_out.contains(&format!("{} of 20 changes", 20 - shown)),
            "{left_out}"
        );
        assert!(left_out.contains("the ends of long values"), "{left_out}");
        assert_eq!(large["truncated"], true);
    }
}
