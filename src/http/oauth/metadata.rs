//! What a client reads to learn where it gets an access token: protected resource metadata (RFC 9728).

use std::collections::BTreeSet;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{READ, TRIGGER};
use crate::config::OAuth;
use crate::http::problem::Problem;

/// Where the metadata of a host is (section 3). That of a resource with a path has the path behind it.
const PATH: &str = "/.well-known/oauth-protected-resource";
/// Where clients of the MCP endpoint look, whatever the resource is called.
const OF_MCP: &str = "/.well-known/oauth-protected-resource/mcp";

/// The routes, which are open to all.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(settings: &OAuth) -> Router<S> {
    let (_, path) = parts(&settings.audience);
    let places = BTreeSet::from([PATH.to_owned(), OF_MCP.to_owned(), format!("{PATH}{path}")]);
    let document = document(settings);
    let answer = get(async move |request: Request| answer(&request, &places, document));
    Router::new()
        .route(PATH, answer.clone())
        .route(&format!("{PATH}/{{*resource}}"), answer)
}

/// Compares the path here, as a path of the settings could hold signs that mean something in a route.
fn answer(request: &Request, places: &BTreeSet<String>, document: Value) -> Response {
    match places.contains(request.uri().path()) {
        true => Json(document).into_response(),
        false => Problem::NotFound.into_response(),
    }
}

fn document(settings: &OAuth) -> Value {
    json!({
        "resource": settings.audience,
        "authorization_servers": [settings.issuer],
        "scopes_supported": [READ, TRIGGER],
        "bearer_methods_supported": ["header"],
        "resource_name": "meter-sync",
    })
}

/// The address of a resource's metadata.
pub(super) fn url(resource: &str) -> String {
    let (origin, path) = parts(resource);
    format!("{origin}{PATH}{path}")
}

/// Scheme and host of a resource, and its path; a single slash is none (section 3.1).
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
