//! The body of every error of the HTTP side, problem details (RFC 9457) with our `code` and `remedy`, and which
//! status belongs to which error code.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{ErrorCode, Failure};
use crate::meter::RunId;

/// The media type of problem details.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong and what to do about it. One about a run comes with a `Location` that leads to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Problem")]
pub(super) struct Details {
    /// Always `about:blank`: `code` says more than an address would.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What went wrong. Holds no secret.
    detail: String,
    /// Which kind of error, in capitals.
    code: &'static str,
    /// What to do about it.
    remedy: String,
    /// The run it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<RunId>,
}

impl Details {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            remedy: remedy.into(),
            run_id: None,
        }
    }

    /// The same with another status than the code's own.
    pub(super) fn failure(status: StatusCode, failure: Failure) -> Self {
        Self::new(
            status,
            failure.code.as_str(),
            failure.message,
            failure.remedy,
        )
    }

    /// The same, about a run.
    pub(super) fn about(self, run: RunId) -> Self {
        Self {
            run_id: Some(run),
            ..self
        }
    }
}

impl From<Failure> for Details {
    fn from(failure: Failure) -> Self {
        Self::failure(http_status(failure.code), failure)
    }
}

impl IntoResponse for Details {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let location = self.run_id.map(location);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(Ok(location)) = location.map(HeaderValue::try_from) {
            headers.insert(LOCATION, location);
        }
        response
    }
}

/// Where a run is told of.
pub(super) fn location(run: RunId) -> String {
    format!("/api/v1/runs/{run}")
}

/// Whose fault it is, as far as a status can say.
pub(super) fn http_status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::ConfigMissing | ErrorCode::ConfigInvalid | ErrorCode::TenantNotConfigured => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorCode::RemoteUnreachable
        | ErrorCode::RemoteTls
        | ErrorCode::RemoteAuth
        | ErrorCode::RemotePermission
        | ErrorCode::RemoteSchema
        | ErrorCode::SchemaDrift
        | ErrorCode::RemoteTimeout
        | ErrorCode::SourceEmptyRefused
        | ErrorCode::MassDeactivationRefused
        | ErrorCode::ApprovalOutdated
        | ErrorCode::DuplicateSourceKey => StatusCode::BAD_GATEWAY,
        ErrorCode::AlreadyRunning => StatusCode::CONFLICT,
        ErrorCode::ReadOnly => StatusCode::FORBIDDEN,
        ErrorCode::TenantMismatch
        | ErrorCode::LocalUnreachable
        | ErrorCode::LocalAuth
        | ErrorCode::LocalSchema
        | ErrorCode::LocalConstraint
        | ErrorCode::LocalTimeout
        | ErrorCode::Interrupted
        | ErrorCode::Internal
        | ErrorCode::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
