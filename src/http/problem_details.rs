//! The body of HTTP error responses: problem details (RFC 9457) with three more fields, `code`, `remedy` and `run_id`.
//! This module also maps each error code to its HTTP status.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{ErrorCode, Failure};
use crate::model::RunId;

/// The media type of problem details.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// An error and what to do about it (RFC 9457). If it is about a run, the header `Location` leads to the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Problem")]
pub(crate) struct ProblemDetails {
    /// Always `about:blank`; `code` tells the kind of error.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The HTTP status as text.
    title: &'static str,
    /// The HTTP status code.
    status: u16,
    /// What went wrong. Contains no secrets.
    detail: Box<str>,
    /// The error code, in capitals.
    code: &'static str,
    /// What to do about it.
    remedy: Box<str>,
    /// The id of the run that the error is about; absent if it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<RunId>,
    /// The path of the run that the error is about, for the `Location` header; `None` if it is about none.
    #[serde(skip)]
    location: Option<Box<str>>,
}

impl ProblemDetails {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: detail.into().into(),
            code,
            remedy: remedy.into().into(),
            run_id: None,
            location: None,
        }
    }

    /// Converts a failure to problem details, with `status` instead of the HTTP status that belongs to its error code.
    pub(crate) fn failure(status: StatusCode, failure: Failure) -> Self {
        Self::new(
            status,
            failure.code.as_str(),
            failure.message,
            failure.remedy,
        )
    }

    /// Adds the id of the run that the error is about. `location` is the path of that run, for the `Location` header.
    pub(crate) fn about(self, run: RunId, location: String) -> Self {
        Self {
            run_id: Some(run),
            location: Some(location.into()),
            ..self
        }
    }
}

impl From<Failure> for ProblemDetails {
    fn from(failure: Failure) -> Self {
        Self::failure(http_status(failure.code), failure)
    }
}

impl IntoResponse for ProblemDetails {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let location = self.location.as_deref().map(HeaderValue::try_from);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(Ok(location)) = location {
            headers.insert(LOCATION, location);
        }
        response
    }
}

/// Returns the HTTP status of an error code:
///
/// - 502 if the cause is the remote database, its data, or a sync that was refused because it would deactivate too many
///   meters;
/// - 503 if the configuration is missing or wrong;
/// - 404 if the tenant is unknown, 400 if the request must name a tenant but does not;
/// - 409 if another run is in progress, or if the mirror is paused;
/// - 403 if the server is read-only;
/// - 500 for all others: the local database, a local table that belongs to another tenant, an interrupted run, a bug.
pub(crate) fn http_status(code: ErrorCode) -> StatusCode {
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
        | ErrorCode::RemoteChangedRefused
        | ErrorCode::ApprovalOutdated
        | ErrorCode::DuplicateSourceKey => StatusCode::BAD_GATEWAY,
        ErrorCode::TenantUnknown => StatusCode::NOT_FOUND,
        ErrorCode::TenantRequired => StatusCode::BAD_REQUEST,
        ErrorCode::AlreadyRunning | ErrorCode::Paused => StatusCode::CONFLICT,
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
