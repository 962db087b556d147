//! Who looks at the page, and what they may do.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::config::Token;
use crate::http::Shared;

/// Who looks at the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Viewer {
    /// Whether they may start a sync.
    pub(super) may_trigger: bool,
    /// Whether they can sign out.
    pub(super) is_signed_in: bool,
}

impl FromRequestParts<Shared> for Viewer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Infallible> {
        let token = parts.extensions.get::<Token>();
        Ok(Self {
            may_trigger: !shared.runs.is_read_only() && token.is_none_or(|token| token.may_trigger),
            is_signed_in: token.is_some(),
        })
    }
}
