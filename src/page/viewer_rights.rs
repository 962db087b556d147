//! What the viewer of a page may do, read from the token of the request.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::PageState;
use crate::config::Token;

/// What the person who views a page may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ViewerRights {
    /// Whether the viewer may start a sync.
    pub(super) may_trigger: bool,
    /// Whether the request has a token, so that the viewer can sign out.
    pub(super) is_signed_in: bool,
}

impl FromRequestParts<PageState> for ViewerRights {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &PageState) -> Result<Self, Infallible> {
        let token = parts.extensions.get::<Token>();
        Ok(Self {
            may_trigger: !shared.mirrors.is_read_only()
                && token.is_none_or(|token| token.may_trigger),
            is_signed_in: token.is_some(),
        })
    }
}
