//! `POST /api/v1/sync`: starts a sync, and waits for its end as long as the `Prefer` header of the request asks.
//!
//! The run does not depend on the request: [`crate::mirrors`] continues it if the client disconnects or the wait is
//! over.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::MAX_BODY_BYTES;
use super::legacy_endpoints::{actor, failure_of};
use super::query_arguments::bad_request;
use super::requested_mirror::{MirrorPathPrefix, RequestedMirror};
use super::route::{Route, RouteDescription};
use crate::arguments::Arguments;
use crate::arguments::bounds::{IDEMPOTENCY_KEY_CHARS, REASON_CHARS, WAIT_SECONDS};
use crate::arguments::parse_json::{is_json, parse};
use crate::arguments::read_body_bytes;
use crate::config::Token;
use crate::error::{ErrorCode, Failure};
use crate::http::problem_details::{ProblemDetails, http_status};
use crate::mirrors::{RunRequest, RunRequestOutcome};
use crate::model::{HeldDeactivations, RunOutcome, RunTrigger};
use crate::reports::run_report::{RunReport, RunState};
use crate::trace_id::TraceId;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

pub(super) fn route() -> Route {
    let key = json!({"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARS, "pattern": "^[!-~]([ -~]*[!-~])?$"});
    let body = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "dry_run": {"type": ["boolean", "null"], "default": false,
                "description": "Whether only to plan: reports what would change and changes nothing."},
            "reason": {"type": ["string", "null"], "maxLength": REASON_CHARS,
                "description": "Why the sync is asked for, in a few words; kept in the log."},
        },
    });
    let operation = RouteDescription::new("startSync", "Sync the local meters now")
        .described("One sync runs at a time. The answer comes at once unless a wait is preferred; the sync goes on either way. A sync that would deactivate very many meters is refused, and nothing in this API can allow it: that needs a person.")
        .header("Idempotency-Key", key, "A text of the client's own: a second request with it and the same `dry_run` within a day is answered with the first one's run, unless that failed for a reason that may pass.")
        .header("Prefer", json!({"type": "string"}), "`wait=10` waits up to 10 seconds for the end, at most 50 (RFC 7240).")
        .body(body)
        .answer(200, "The sync has ended.", |generator| generator.subschema_for::<RunReport>())
        .with("Preference-Applied", "The wait that was granted, if one was preferred.")
        .with_links(&["getRun", "listChanges"])
        .answer(202, "The sync goes on.", |generator| generator.subschema_for::<RunReport>())
        .with("Location", "Where to follow the run.")
        .with("Preference-Applied", "The wait that was granted, if one was preferred.")
        .with_links(&["getRun", "listChanges", "cancelRun"])
        .problem(400, "The body or a header cannot be used.")
        .problem(409, "Another sync is in progress, or the sync was refused and needs a person.")
        .with("Location", "The run.")
        .problem(415, "The body is not JSON.")
        .problem(500, "The sync failed here, or was interrupted.")
        .problem(502, "The sync failed on the remote.")
        .problem(503, "The databases or the tenant are not configured.");
    Route::post("/api/v1/sync", start, operation)
}

async fn start(
    RequestedMirror { mirror, prefix }: RequestedMirror,
    token: Option<Extension<Token>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ProblemDetails> {
    let body = read_body_bytes::read(body, MAX_BODY_BYTES).await?;
    let mut request = read(&headers, &body)?;
    request.actor = actor(token.as_deref(), &headers);
    let preferred = wait(&headers);
    let report = match mirror.request(request).await? {
        RunRequestOutcome::Started(mut ticket) => ticket.wait(preferred.unwrap_or_default()).await,
        RunRequestOutcome::AlreadyRunning(report) | RunRequestOutcome::Finished(report) => *report,
    };
    let applied = preferred.map(|wait| {
        let applied = format!("wait={}", wait.as_secs());
        AppendHeaders([(PREFERENCE_APPLIED, applied)])
    });
    let report = mirror.report_with_names(report).await;
    Ok((applied, answer(report, &prefix)?).into_response())
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<RunRequest, ProblemDetails> {
    let mut given = arguments(headers, body)?;
    let mut request = RunRequest::new(RunTrigger::Rest);
    request.dry_run = given.boolean("dry_run", request.dry_run)?;
    request.reason = given.text("reason", REASON_CHARS)?;
    given.refuse_unknown()?;
    request.idempotency_key = idempotency_key(headers)?;
    request.trace = TraceId::of_headers(headers);
    Ok(request)
}

/// Reads the arguments of a request from its body: a JSON object, or nothing.
pub(super) fn arguments(headers: &HeaderMap, body: &[u8]) -> Result<Arguments, ProblemDetails> {
    if body.trim_ascii().is_empty() {
        return Ok(Arguments::new(None));
    }
    if !is_json(headers.get(CONTENT_TYPE)) {
        let code = "UNSUPPORTED_MEDIA_TYPE";
        let detail = "The body is not announced as JSON.";
        let remedy = "Send `Content-Type: application/json`, or no body.";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(ProblemDetails::new(status, code, detail, remedy));
    }
    match parse(body) {
        Ok(Value::Object(given)) => Ok(Arguments::new(Some(given))),
        Ok(_) => Err(bad_request("The body must be a JSON object.")),
        Err(error) => Err(bad_request(format!("The body is not JSON: {error}."))),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ProblemDetails> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let is_printable = |byte: &u8| (b' '..=b'~').contains(byte);
    let is_usable = (1..=IDEMPOTENCY_KEY_CHARS).contains(&value.len())
        && value.as_bytes().iter().all(is_printable)
        && values.next().is_none();
    let key = value.to_str().ok().filter(|_| is_usable);
    let key = key.ok_or_else(|| {
        let most = IDEMPOTENCY_KEY_CHARS;
        bad_request(format!(
            "`Idempotency-Key` must be one text of 1 to {most} printable ASCII characters."
        ))
    })?;
    Ok(Some(key.to_owned()))
}

/// Returns how long the client prefers to wait (`Prefer: wait=10`), at most the maximum of [`WAIT_SECONDS`]. `None` if
/// the header has no such preference, or a malformed one, which must be ignored (RFC 7240, section 2).
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(PREFER).iter();
    let mut preferences = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        let value = is_wait.then(|| value.trim().trim_matches('"'))?;
        value.parse::<u64>().ok()
    })?;
    Some(Duration::from_secs(seconds.min(WAIT_SECONDS.max().into())))
}

fn answer(report: RunReport, prefix: &MirrorPathPrefix) -> Result<Response, ProblemDetails> {
    let (id, location) = (report.run_id, prefix.run(report.run_id));
    match (report.state, report.outcome) {
        (RunState::AlreadyRunning, _) => {
            let (code, remedy) = (ErrorCode::AlreadyRunning, report.next_step);
            let status = http_status(code);
            Err(
                ProblemDetails::new(status, code.as_str(), report.summary, remedy)
                    .about(id, location),
            )
        }
        (RunState::Running, _) | (RunState::Finished, None) => {
            let location = AppendHeaders([(LOCATION, location)]);
            Ok((StatusCode::ACCEPTED, location, Json(report)).into_response())
        }
        (RunState::Finished, Some(outcome)) => match outcome {
            RunOutcome::Succeeded
            | RunOutcome::NoChange
            | RunOutcome::Partial
            | RunOutcome::DryRun => Ok(Json(report).into_response()),
            // 409, because the request conflicts with the state of the two databases, and a person can resolve the
            // conflict.
            RunOutcome::Refused => Err(ProblemDetails::failure(
                StatusCode::CONFLICT,
                refusal(report),
            )
            .about(id, location)),
            RunOutcome::Failed | RunOutcome::Interrupted | RunOutcome::Unknown => {
                Err(ProblemDetails::from(failure_of(report)).about(id, location))
            }
        },
    }
}

/// Returns the error of a run that was refused, with where the meters went that are gone.
fn refusal(report: RunReport) -> Failure {
    let held = report.held_back.as_ref();
    let gone_to = held.and_then(HeldDeactivations::gone_to_in_words);
    let mut failure = failure_of(report);
    if let Some(gone_to) = gone_to {
        failure.message += &format!(" {gone_to}");
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn a_wait_is_found_among_other_preferences_and_capped() {
        for (values, seconds) in [
            (&["wait=5"][..], Some(5)),
            (&["respond-async, WAIT = \"7\"; x=1"], Some(7)),
            (&["return=minimal", "wait=3"], Some(3)),
            (&["wait=0"], Some(0)),
            (&["wait=9999"], Some(50)),
            (&["wait=soon"], None),
            (&["wait"], None),
            (&["await=5"], None),
            (&[], None),
        ] {
            let found = wait(&headers("prefer", values));
            assert_eq!(found, seconds.map(Duration::from_secs), "{values:?}");
        }
    }

    #[test]
    fn an_idempotency_key_is_one_printable_text() {
        let longest = "k".repeat(200);
        for value in ["k", "a key", longest.as_str()] {
            let found = idempotency_key(&headers("idempotency-key", &[value]));
            assert_eq!(found, Ok(Some(value.to_owned())));
        }
        let longer = "k".repeat(201);
        for values in [
            &[""][..],
            &["a\tb"],
            &["ü"],
            &["a", "a"],
            &[longer.as_str()],
        ] {
            let refused = idempotency_key(&headers("idempotency-key", values));
            assert!(refused.is_err(), "{values:?}");
        }
    }
}
