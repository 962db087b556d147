//! Serves the protected resource metadata (RFC 9728), which tells clients where to get an access token.

use std::collections::BTreeSet;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{READ, TRIGGER};
use crate::config::OAuthSettings;
use crate::http::request_error::RequestError;

/// The path of the metadata. If the resource identifier is a URL with a path, that path is appended (RFC 9728, section
/// 3).
const PATH: &str = "/.well-known/oauth-protected-resource";
/// The path where clients of the MCP endpoint look for the metadata, whatever the resource identifier is.
const OF_MCP: &str = "/.well-known/oauth-protected-resource/mcp";

/// Returns the routes that serve the metadata. They need no token.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(settings: &OAuthSettings) -> Router<S> {
    let (_, path) = parts(&settings.audience);
    let places = BTreeSet::from([PATH.to_owned(), OF_MCP.to_owned(), format!("{PATH}{path}")]);
    let document = document(settings);
    let answer = get(async move |request: Request| answer(&request, &places, document));
    Router::new()
        .route(PATH, answer.clone())
        .route(&format!("{PATH}/{{*resource}}"), answer)
}

/// Answers with the metadata `document`, or with 404 if the path of the request is not in `places`. The router cannot
/// compare the paths itself, because a configured path may have characters such as `{`, which have a meaning in a
/// route.
fn answer(request: &Request, places: &BTreeSet<String>, document: Value) -> Response {
    match places.contains(request.uri().path()) {
        true => Json(document).into_response(),
        false => RequestError::NotFound.into_response(),
    }
}

fn document(settings: &OAuthSettings) -> Value {
    json!({
        "resource": settings.audience,
        "authorization_servers": [settings.issuer],
        "scopes_supported": [READ, TRIGGER],
        "bearer_methods_supported": ["header"],
        "resource_name": "meter-sync",
    })
}

/// Returns the URL of the metadata of a resource, from the resource identifier.
pub(super) fn url(resource: &str) -> String {
    let (origin, path) = parts(resource);
    format!("{origin}{PATH}{path}")
}

/// Splits a resource identifier into its origin and its path. A path of only `/` counts as empty (RFC 9728, section
/// 3.1).
fn parts(resource: &str) -> (&str, &str) {
    let after_scheme = resource.find("://").map_or(0, |at| at + 3);
    let is_path = |(at, c): &(usize, char)| *at >= after_scheme && *c == '/';
    let start = resource.char_indices().find(is_path);
    let (origin, path) = resource.split_at(start.map_or(resource.len(), |(at, _)| at));
    (origin, if path == "/" { "" } else { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_part_stands_between_host_and_path() {
        for (resource, expected) in [
            (
                "https://a.example/mcp",
                "https://a.example/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "https://a.example:8443/x/mcp",
                "https://a.example:8443/.well-known/oauth-protected-resource/x/mcp",
            ),
            (
                "https://a.example",
                "https://a.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/oauth-protected-resource",
            ),
        ] {
            assert_eq!(url(resource), expected);
        }
    }
}
