//! Finds the mirror (the meters of one tenant) that the URL of a page names, if the viewer's token is valid for it.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::PageState;
use super::mirror_page_paths::MirrorBasePath;
use super::page_layout::ErrorPage;
use crate::config::Token;
use crate::error::ErrorCode;
use crate::mirrors::{Mirror, Mirrors};
use crate::url_path;

/// The mirror (the meters of one tenant) that the URL of a page names, and the path below which its pages are.
///
/// As an axum extractor, it answers 404 if there is no such mirror, and also if the viewer's token is not valid for it,
/// so that a viewer cannot find out which other tenants exist.
pub(super) struct MirrorInUrl {
    pub(super) mirror: Mirror,
    pub(super) base: MirrorBasePath,
}

impl FromRequestParts<PageState> for MirrorInUrl {
    type Rejection = ErrorPage;

    async fn from_request_parts(parts: &mut Parts, shared: &PageState) -> Result<Self, ErrorPage> {
        let id = tenant_id(parts, shared).await?;
        let token = parts.extensions.get::<Token>();
        match id {
            Some(id) => one_of_several(&shared.mirrors, &id, token).await,
            None => only(&shared.mirrors, token).await,
        }
    }
}

/// Returns the tenant's id in the request's path; `None` if the route has no such parameter. Error if the path cannot
/// be decoded.
async fn tenant_id(parts: &mut Parts, shared: &PageState) -> Result<Option<String>, ErrorPage> {
    let parameters = RawPathParams::from_request_parts(parts, shared).await;
    let parameters = parameters.map_err(|_not_text| unknown(parts.extensions.get()))?;
    let mut parameters = parameters.iter();
    let segment =
        parameters.find_map(|(name, value)| (name == MirrorBasePath::PARAMETER).then_some(value));
    Ok(segment.map(|segment| url_path::tenant_id(segment).to_owned()))
}

async fn one_of_several(
    mirrors: &Mirrors,
    id: &str,
    token: Option<&Token>,
) -> Result<MirrorInUrl, ErrorPage> {
    match mirrors.find_for(Some(id), token).await {
        Ok(mirror) => Ok(MirrorInUrl {
            mirror,
            base: MirrorBasePath::of_tenant(id),
        }),
        Err(failure) if failure.code == ErrorCode::TenantUnknown => Err(unknown(token)),
        Err(failure) => Err(failure.into()),
    }
}

async fn only(mirrors: &Mirrors, token: Option<&Token>) -> Result<MirrorInUrl, ErrorPage> {
    match mirrors.find_for(None, token).await {
        Ok(mirror) => Ok(MirrorInUrl {
            mirror,
            base: MirrorBasePath::root(),
        }),
        Err(failure) if failure.code == ErrorCode::TenantUnknown => Err(unknown(token)),
        Err(failure) => Err(failure.into()),
    }
}

/// Returns the 404 page for a tenant that has no mirror or that the token is not valid for.
fn unknown(token: Option<&Token>) -> ErrorPage {
    match token.is_some_and(|token| token.tenants.is_some()) {
        true => ErrorPage::not_found("There is no such tenant here, or your token is not for it.")
            .with_remedy("Go back to the status, or sign in with another token at `/sign-in`."),
        false => ErrorPage::not_found("There is no such tenant here."),
    }
}
