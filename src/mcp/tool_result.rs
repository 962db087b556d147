//! Builds the results of tools: structured content and the same JSON as text, or an error as text only.

use std::fmt::Display;

use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;

use crate::arguments::BadArgument;
use crate::error::{ErrorCode, Failure};
use crate::model::RunId;

/// The error code for a call with invalid arguments. It is not an [`ErrorCode`], because an `ErrorCode` says why a sync
/// failed, and no sync was tried.
const INVALID_ARGUMENT: &str = "INVALID_ARGUMENT";

/// Returns a result with `value` both as structured content, for programs, and as JSON text, for language models.
pub(super) fn structured(value: &impl Serialize) -> CallToolResult {
    let written = serde_json::to_string(value);
    match written.and_then(|text| Ok((serde_json::to_value(value)?, text))) {
        Ok((value, text)) => {
            let mut result = CallToolResult::structured(value);
            // The text keeps the order of the struct's fields, in which the summary comes first.
            result.content = vec![ContentBlock::text(text)];
            result
        }
        Err(error) => {
            tracing::error!(%error, "a tool result could not be written as JSON");
            let message = "The result could not be written as JSON.";
            failure(&Failure::new(ErrorCode::Internal, message), None)
        }
    }
}

/// Returns an error result. Its text has the message, the id of the run (if given), the remedy and the code.
pub(super) fn failure(failure: &Failure, run_id: Option<RunId>) -> CallToolResult {
    let Failure {
        code,
        message,
        remedy,
    } = failure;
    let message = sentence(message);
    let run = run_id.map(|id| format!(" Run {id}.")).unwrap_or_default();
    text_error(format!(
        "{message}{run} Remedy: {} [{code}]",
        sentence(remedy)
    ))
}

impl From<Failure> for ErrorData {
    /// Converts a failure to a protocol error, for requests about tasks and prompts. Used if the tenant or the run is
    /// unknown, or if the run cannot be read. Resources have another error, and tools answer with `failure`.
    fn from(failure: Failure) -> Self {
        Self::invalid_params(failure.in_words(), None)
    }
}

/// Returns the protocol error for a bug in this program.
pub(super) fn internal(error: impl Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

/// Returns an error result that says which argument of the call is wrong.
pub(super) fn bad_argument(BadArgument(message): &BadArgument) -> CallToolResult {
    text_error(format!(
        "{message} Nothing was done. Remedy: Correct the arguments and call again. [{INVALID_ARGUMENT}]"
    ))
}

fn text_error(text: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

fn sentence(text: &str) -> String {
    let text = text.trim();
    let end = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{text}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: &CallToolResult) -> String {
        let content = serde_json::to_value(&result.content).expect("content is JSON");
        content[0]["text"]
            .as_str()
            .expect("a text block")
            .to_owned()
    }

    #[test]
    fn a_failure_is_text_only_and_says_what_run_remedy_and_code() {
        let id: RunId = "0190c2f1-7a00-7000-8000-000000000001"
            .parse()
            .expect("an id");
        let failed = Failure::new(ErrorCode::RemoteAuth, "The remote refused the password")
            .with_remedy("Check METER_SYNC_REMOTE_URL.");
        let result = failure(&failed, Some(id));
        assert_eq!(result.is_error, Some(true));
        assert_eq!(result.structured_content, None);
        assert_eq!(
            text(&result),
            "The remote refused the password. Run 0190c2f1-7a00-7000-8000-000000000001. \
             Remedy: Check METER_SYNC_REMOTE_URL. [REMOTE_AUTH]"
        );
    }

    #[test]
    fn a_structured_result_carries_the_same_json_as_text() {
        let result = structured(&serde_json::json!({"a": 1}));
        assert_eq!(result.structured_content, Some(serde_json::json!({"a": 1})));
        assert_eq!(text(&result), r#"{"a":1}"#);
    }
}
