//! Finds the mirror (the meters of one tenant) that a request is about: that of the tenant in its path, or the only
//! mirror of the process.
//!
//! The same routes exist below two prefixes: `/api/v1/tenants/{tenant_id}`, and `/api/v1` for the only mirror of a
//! process. If a process keeps several mirrors, a few routes below `/api/v1` are about all of them, and the other ones
//! answer with an error. If the token is not valid for the tenant, the answer is the same as for a tenant that does not
//! exist.

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::RestState;
use crate::config::Token;
use crate::error::Failure;
use crate::http::problem_details::ProblemDetails;
use crate::mirrors::{Mirror, Mirrors, visible_tenants};
use crate::model::RunId;

/// The path prefix of the routes of the only mirror.
pub(super) const API: &str = "/api/v1";
/// The path prefix of the routes of a tenant, without the tenant's id.
const TENANTS: &str = "/api/v1/tenants/";

/// The path prefix of the routes of one mirror, as the request spells it: `/api/v1` or, for example,
/// `/api/v1/tenants/7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MirrorPathPrefix(String);

impl MirrorPathPrefix {
    /// Splits the path of a request into the prefix that names the mirror, and the rest.
    pub(super) fn split(uri: &Uri) -> (Self, &str) {
        let path = uri.path();
        let end = match path.strip_prefix(TENANTS) {
            Some(named) => TENANTS.len() + named.find('/').unwrap_or(named.len()),
            None => API.len(),
        };
        let (prefix, rest) = path.split_at_checked(end).unwrap_or((path, ""));
        (Self(prefix.to_owned()), rest)
    }

    /// The tenant that the prefix names; `None` if it names none.
    fn tenant(&self) -> Option<String> {
        let named = self.0.strip_prefix(TENANTS)?;
        Some(percent_decode_str(named).decode_utf8_lossy().into_owned())
    }

    /// The path of the list of this mirror's runs.
    pub(super) fn runs(&self) -> String {
        format!("{}/runs", self.0)
    }

    /// The path of the list of changes.
    pub(super) fn changes(&self) -> String {
        format!("{}/changes", self.0)
    }

    /// The path of a run.
    pub(super) fn run(&self, id: RunId) -> String {
        format!("{}/runs/{id}", self.0)
    }
}

/// The mirror that a request is about, and the prefix of the request's path.
#[derive(Debug)]
pub(super) struct RequestedMirror {
    pub(super) mirror: Mirror,
    pub(super) prefix: MirrorPathPrefix,
}

impl FromRequestParts<RestState> for RequestedMirror {
    type Rejection = ProblemDetails;

    async fn from_request_parts(
        parts: &mut Parts,
        shared: &RestState,
    ) -> Result<Self, ProblemDetails> {
        let mirror_request = MirrorPathAndToken::of(parts);
        Ok(Self {
            mirror: mirror_request.find(&shared.mirrors).await?,
            prefix: mirror_request.prefix,
        })
    }
}

/// The path prefix and the token of a request, from which the request's mirror is found.
#[derive(Debug)]
pub(super) struct MirrorPathAndToken {
    pub(super) prefix: MirrorPathPrefix,
    token: Option<Token>,
}

impl MirrorPathAndToken {
    fn of(parts: &Parts) -> Self {
        let (prefix, _) = MirrorPathPrefix::split(&parts.uri);
        let token = parts.extensions.get::<Token>().cloned();
        Self { prefix, token }
    }

    /// Whether the request is about all mirrors: it names no tenant, and the settings allow several mirrors.
    pub(super) fn is_all(&self, mirrors: &Mirrors) -> bool {
        self.prefix.tenant().is_none() && mirrors.only().is_none()
    }

    /// Returns the ids of the tenants that the caller may see; `None` if the caller may see all tenants.
    pub(super) fn visible(&self) -> Option<Vec<String>> {
        visible_tenants(self.token.as_ref())
    }

    /// Finds the mirror of the tenant in the path; if the path names no tenant, the only mirror. Fails if there is
    /// none, or if the token is not valid for it.
    pub(super) async fn find(&self, mirrors: &Mirrors) -> Result<Mirror, Failure> {
        let tenant = self.prefix.tenant();
        mirrors
            .find_for(tenant.as_deref(), self.token.as_ref())
            .await
    }
}

impl<S: Sync> FromRequestParts<S> for MirrorPathAndToken {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_names_the_tenant_in_any_spelling() {
        for (path, tenant, rest) in [
            ("/api/v1/runs/x", None, "/runs/x"),
            ("/api/v1/tenants", None, "/tenants"),
            ("/api/v1/tenants/7/runs/x", Some("7"), "/runs/x"),
            ("/api/v1/tenants/runs/runs/x", Some("runs"), "/runs/x"),
            ("/api/v1/tenants/a%2Fb%20c/status", Some("a/b c"), "/status"),
            ("/api/v1/tenants/%FF/status", Some("\u{fffd}"), "/status"),
            ("/x", None, ""),
        ] {
            let uri: Uri = path.parse().expect("a path");
            let (prefix, left) = MirrorPathPrefix::split(&uri);
            assert_eq!((prefix.tenant().as_deref(), left), (tenant, rest), "{path}");
        }
    }
}
