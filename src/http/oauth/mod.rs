//! An OAuth 2.1 resource server, as the authorization of MCP requires
//! (<https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization>).
//!
//! Besides the configured tokens, this server accepts access tokens of one authorization server, and tells clients
//! where that server is. Access tokens are JWTs (RFC 9068). This process verifies them itself and reads only the public
//! keys from the authorization server. So a revoked access token stays valid until it expires.

use axum::Router;
use axum::http::HeaderValue;

use super::request_error::RequestError;
use crate::config;
use crate::shutdown::Shutdown;
use key_cache::KeyCache;

mod key_cache;
mod key_set;
mod resource_metadata;
mod ring_provider;
mod verify_access_token;

/// The scope that allows reading.
const READ: &str = "meter-sync:read";
/// The scope that allows both syncing and reading.
const TRIGGER: &str = "meter-sync:trigger";

/// The settings and keys with which access tokens are verified.
#[derive(Debug)]
pub(super) struct OAuthVerifier {
    settings: config::OAuthSettings,
    keys: KeyCache,
}

impl OAuthVerifier {
    /// Creates the verifier of access tokens. If the keys are in a file, reads them at once; a URL is fetched when the
    /// first token arrives.
    pub(super) fn new(settings: config::OAuthSettings, shutdown: &Shutdown) -> Self {
        ring_provider::install();
        Self {
            keys: KeyCache::new(settings.jwks.clone(), shutdown),
            settings,
        }
    }

    /// Returns the `WWW-Authenticate` header of a refused request (RFC 6750, section 3; RFC 9728, section 5.1). It
    /// tells the client the URL of the metadata and the scopes to request; with `needs_trigger`, also the scope for
    /// starting syncs. `None` if [`RequestError::challenge`] is `None`.
    pub(super) fn challenge(
        &self,
        problem: RequestError,
        needs_trigger: bool,
    ) -> Option<HeaderValue> {
        let challenge = problem.challenge()?;
        let scopes = match needs_trigger {
            true => &format!("{READ} {TRIGGER}"),
            false => READ,
        };
        let metadata = resource_metadata::url(&self.settings.audience);
        let text = format!(r#"{challenge}, scope="{scopes}", resource_metadata="{metadata}""#);
        HeaderValue::try_from(text).ok()
    }
}

/// The routes of the protected resource metadata; no routes if OAuth is not configured.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(
    settings: Option<&config::OAuthSettings>,
) -> Router<S> {
    settings.map_or_else(Router::new, resource_metadata::routes)
}
