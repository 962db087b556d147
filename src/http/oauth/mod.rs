//! A resource server of OAuth 2.1, as MCP's authorization asks for it
//! (<https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization>).
//!
//! It takes access tokens of one authorization server, beside the tokens of the settings, and tells clients where
//! that server is. Tokens are JWTs (RFC 9068) and are checked here: nothing is asked of the authorization server but
//! its public keys. So a token that was revoked counts until it expires.

use axum::Router;
use axum::http::HeaderValue;

use super::problem::Problem;
use crate::config;
use crate::shutdown::Shutdown;
use key_cache::KeyCache;

mod access_token;
mod fetch;
mod key_cache;
mod key_set;
mod metadata;
mod ring_provider;

/// The scope that allows reading.
const READ: &str = "meter-sync:read";
/// The scope that allows syncing, and reading as well.
const TRIGGER: &str = "meter-sync:trigger";

/// What access tokens are checked against.
#[derive(Debug)]
pub(super) struct OAuth {
    settings: config::OAuth,
    keys: KeyCache,
}

impl OAuth {
    /// A file of keys is read at once, a URL when the first token comes.
    pub(super) fn new(settings: config::OAuth, shutdown: &Shutdown) -> Self {
        ring_provider::install();
        Self {
            keys: KeyCache::new(settings.jwks.clone(), shutdown),
            settings,
        }
    }

    /// The `WWW-Authenticate` of a refusal (RFC 6750, section 3; RFC 9728, section 5.1): the scopes the request needs,
    /// and where the metadata is. `None` if no token would help.
    pub(super) fn challenge(&self, problem: Problem, needs_trigger: bool) -> Option<HeaderValue> {
        let challenge = problem.challenge()?;
        let scopes = match needs_trigger {
            true => &format!("{READ} {TRIGGER}"),
            false => READ,
        };
        let metadata = metadata::url(&self.settings.audience);
        let text = format!(r#"{challenge}, scope="{scopes}", resource_metadata="{metadata}""#);
        HeaderValue::try_from(text).ok()
    }
}

/// The routes of the metadata; none where OAuth is off.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(
    settings: Option<&config::OAuth>,
) -> Router<S> {
    settings.map_or_else(Router::new, metadata::routes)
}
