//! The REST API: one table of routes that makes both the router and the API's description, so that no route is
//! left undescribed.
//!
//! What cannot be answered is told as problem details, never as text. Nothing here can approve what the brake held back: a sync that
//! it refuses needs a person, at the command line or the page.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use schemars::json_schema;

use super::Shared;
pub(super) use events::Streams;
pub(super) use openapi::describe;
use route::{Operation, Route};

mod status;
mod sync;

mod cancel;
mod changes;
mod meter;
mod runs;

mod events;

mod beside;
mod given;
mod misplaced;
mod openapi;
mod route;

/// Where the API is described.
const DESCRIPTION_PATH: &str = "/api/v1/openapi.json";

/// A body holds a few arguments of 200 characters at most.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Every route.
pub(super) fn table() -> Vec<Route> {
    vec![
        status::route(),
        sync::route(),
        runs::list_route(),
        runs::route(),
        changes::route(),
        cancel::route(),
        meter::route(),
        events::route(),
        description_route(),
        beside::local_status(),
        beside::local_trigger(),
        beside::live(),
        beside::ready(),
    ]
}

/// The routes of the table.
pub(super) fn routes(table: Vec<Route>) -> Router<Shared> {
    let add = |router: Router<Shared>, route: Route| {
        let places = misplaced::Places::of(&route.operation);
        let refuse = middleware::from_fn_with_state(places, misplaced::refuse);
        router.route(route.path, route.handler.layer(refuse))
    };
    table
        .into_iter()
        .fold(Router::new(), add)
        .layer(middleware::map_response(forbid_storing))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// What is true now need not be true when it is looked at again.
async fn forbid_storing(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

fn description_route() -> Route {
    let operation = Operation::new("getDescription", "This description of the API").answer(
        200,
        "The description",
        |_| json_schema!({"type": "object", "required": ["openapi", "info", "paths"]}),
    );
    Route::get(DESCRIPTION_PATH, description, operation)
}

async fn description(State(Shared { description, .. }): State<Shared>) -> Response {
    let json: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];
    (json, Bytes::clone(&description)).into_response()
}
