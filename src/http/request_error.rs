//! The HTTP errors that are the same for all routes, such as a refused host, origin or token, an unreadable body, or an
//! unknown route.

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};

use super::problem_details::ProblemDetails;
use crate::arguments::read_body_bytes::ReadBodyError;

/// The reason why a request cannot be handled. The response has [`ProblemDetails`] as its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// The `Host` header is missing, repeated, or names a host that this server does not answer to.
    HostNotAllowed,
    /// The request comes from a page of another site.
    OriginNotAllowed,
    /// The request is allowed only from a page of this server, but it comes from another page, or has no `Origin`.
    OriginNotOwn,
    /// A token is required, and the request has neither a bearer token nor a valid cookie.
    TokenMissing,
    /// The bearer token is not one of the configured tokens.
    TokenUnknown,
    /// The bearer token is an invalid access token (OAuth); the text says why.
    AccessTokenInvalid(&'static str),
    /// The access token is valid but grants neither scope of this server.
    ScopeMissing,
    /// Access tokens cannot be verified, because no keys of the authorization server could be read so far.
    KeysUnavailable,
    /// The token allows only reading, and the request needs a token that allows starting syncs. The token was sent as a
    /// bearer token, or is the one of the session cookie.
    TokenReadOnly,
    /// The token is limited to some tenants, and the route is about all tenants.
    TokenLimited,
    /// The body, or the length in `Content-Length`, exceeds the limit.
    BodyTooLarge,
    /// The body did not arrive completely within 30 s.
    BodyLate,
    /// The client disconnected before the whole body had arrived, or sent invalid HTTP.
    BodyBroken,
    /// The server, or this client, already has as many connections as are allowed, and none of them is idle.
    TooManyConnections,
    /// There is no such route.
    NotFound,
    /// The route exists, but does not take this method.
    MethodNotAllowed,
}

impl RequestError {
    /// Returns the error as the body of the response.
    pub(crate) fn details(self) -> ProblemDetails {
        ProblemDetails::new(self.status(), self.code(), self.detail(), self.remedy())
    }

    fn status(self) -> StatusCode {
        match self {
            Self::HostNotAllowed
            | Self::OriginNotAllowed
            | Self::OriginNotOwn
            | Self::ScopeMissing
            | Self::TokenLimited
            | Self::TokenReadOnly => StatusCode::FORBIDDEN,
            Self::TokenMissing | Self::TokenUnknown | Self::AccessTokenInvalid(_) => {
                StatusCode::UNAUTHORIZED
            }
            Self::BodyTooLarge => ReadBodyError::TooLong.status(),
            Self::BodyLate => ReadBodyError::Late.status(),
            Self::BodyBroken => ReadBodyError::Broken.status(),
            Self::TooManyConnections | Self::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::HostNotAllowed => "HOST_NOT_ALLOWED",
            Self::OriginNotAllowed => "ORIGIN_NOT_ALLOWED",
            Self::OriginNotOwn => "ORIGIN_NOT_OWN",
            Self::TokenMissing => "TOKEN_MISSING",
            Self::TokenUnknown => "TOKEN_UNKNOWN",
            Self::AccessTokenInvalid(_) => "TOKEN_INVALID",
            Self::ScopeMissing => "SCOPE_MISSING",
            Self::KeysUnavailable => "KEYS_UNAVAILABLE",
            Self::TokenReadOnly => "READ_ONLY",
            Self::TokenLimited => "TOKEN_LIMITED",
            Self::BodyTooLarge => "BODY_TOO_LARGE",
            Self::BodyLate => "BODY_TIMEOUT",
            Self::BodyBroken => "BODY_INCOMPLETE",
            Self::TooManyConnections => "TOO_MANY_CONNECTIONS",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Self::HostNotAllowed => "This server does not answer to the name in the Host header.",
            Self::OriginNotAllowed => "Pages of the site in the Origin header may not ask here.",
            Self::OriginNotOwn => {
                "Only a page of this server may ask for this with a form or a cookie."
            }
            Self::TokenMissing => "A bearer token is needed.",
            Self::TokenUnknown => "The bearer token is not one of this server's.",
            Self::AccessTokenInvalid(why) => why,
            Self::ScopeMissing => "The access token has neither of this server's scopes.",
            Self::KeysUnavailable => {
                "Access tokens cannot be checked, as the keys of the authorization server could not be read."
            }
            Self::TokenReadOnly => "The bearer token allows reading only.",
            Self::TokenLimited => {
                "The bearer token counts for some tenants only, and this route is about all of them."
            }
            Self::BodyTooLarge => ReadBodyError::TooLong.detail(),
            Self::BodyLate => ReadBodyError::Late.detail(),
            Self::BodyBroken => ReadBodyError::Broken.detail(),
            Self::TooManyConnections => {
                "As many connections are at work as this server takes, or as many of this client."
            }
            Self::NotFound => "There is no such route.",
            Self::MethodNotAllowed => "The route does not take this method.",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::HostNotAllowed | Self::OriginNotAllowed => {
                "Use the address this server listens on, or add the host name to METER_SYNC_ALLOWED_HOSTS."
            }
            Self::OriginNotOwn => {
                "Use the page itself; a program sends `Authorization: Bearer <token>` to /api/v1/sync."
            }
            Self::TokenMissing => {
                "Send `Authorization: Bearer <token>` with a token of METER_SYNC_TOKENS, or an access token where METER_SYNC_OAUTH_ISSUER is set."
            }
            Self::TokenUnknown => "Send one of the tokens set in METER_SYNC_TOKENS.",
            Self::AccessTokenInvalid(_) => {
                "Get a new access token from the authorization server that /.well-known/oauth-protected-resource names, for the resource named there."
            }
            Self::ScopeMissing => {
                "Get an access token with the scope `meter-sync:read` or `meter-sync:trigger`."
            }
            Self::KeysUnavailable => {
                "Ask again in a moment; if it lasts, check METER_SYNC_OAUTH_JWKS, and the server's log for the cause."
            }
            Self::TokenReadOnly => {
                "Use a token with the `trigger:` scope of METER_SYNC_TOKENS, or an access token with the scope `meter-sync:trigger`."
            }
            Self::TokenLimited => "Use a token for all tenants (METER_SYNC_TOKENS).",
            Self::BodyTooLarge => "Send a shorter body.",
            Self::BodyLate => "Send the request again, with its whole body within 30 seconds.",
            Self::BodyBroken => "Send the request again, with its whole body.",
            Self::TooManyConnections => {
                "Ask again in a moment, and close connections that are not needed."
            }
            Self::NotFound => {
                "Try /mcp, /livez, /readyz, or a route that /api/v1/openapi.json lists, such as /api/v1/status, /api/v1/sync, /api/v1/runs or /api/v1/events."
            }
            Self::MethodNotAllowed => "The Allow header names the methods it takes.",
        }
    }

    /// Returns the `WWW-Authenticate` challenge (RFC 6750, section 3), without the `scope` attribute, for an error of
    /// status 401, a read-only token or a missing scope. `None` for all other errors.
    pub(crate) fn challenge(self) -> Option<&'static str> {
        match self {
            Self::TokenMissing => Some(r#"Bearer realm="meter-sync""#),
            Self::TokenUnknown | Self::AccessTokenInvalid(_) => {
                Some(r#"Bearer realm="meter-sync", error="invalid_token""#)
            }
            Self::TokenReadOnly | Self::ScopeMissing => {
                Some(r#"Bearer realm="meter-sync", error="insufficient_scope""#)
            }
            Self::HostNotAllowed
            | Self::OriginNotAllowed
            | Self::OriginNotOwn
            | Self::TokenLimited
            | Self::BodyTooLarge
            | Self::BodyLate
            | Self::BodyBroken
            | Self::TooManyConnections
            | Self::KeysUnavailable
            | Self::NotFound
            | Self::MethodNotAllowed => None,
        }
    }

    /// Returns the `scope` attribute to append to the challenge. For `TokenReadOnly`, it names `trigger`, the scope of
    /// a configured token that allows starting syncs. It is empty for all other errors.
    fn scope(self) -> &'static str {
        if self == Self::TokenReadOnly {
            r#", scope="trigger""#
        } else {
            ""
        }
    }
}

impl From<ReadBodyError> for RequestError {
    fn from(fault: ReadBodyError) -> Self {
        match fault {
            ReadBodyError::TooLong => Self::BodyTooLarge,
            ReadBodyError::Late => Self::BodyLate,
            ReadBodyError::Broken => Self::BodyBroken,
        }
    }
}

impl From<ReadBodyError> for ProblemDetails {
    fn from(fault: ReadBodyError) -> Self {
        RequestError::from(fault).details()
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let mut response = self.details().into_response();
        let headers = response.headers_mut();
        let challenge = self.challenge();
        let challenge = challenge.map(|challenge| format!("{challenge}{}", self.scope()));
        if let Some(challenge) = challenge.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
