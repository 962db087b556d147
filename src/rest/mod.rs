//! The REST API. One table of routes generates both the router and the `OpenAPI` description, so every route is
//! described.
//!
//! Errors under `/api/v1` are problem details (RFC 9457), never plain text. The legacy routes and `/readyz` have their
//! own JSON bodies.
//!
//! This API cannot approve a sync that was refused because it would deactivate too many meters. Only a person can: at
//! the command line, on the web page, or through an assistant that asks its user.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRef, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use schemars::json_schema;

use crate::config::Config;
use crate::mirrors::Mirrors;
use crate::shutdown::Shutdown;
use events::EventStreams;
use route::{Route, RouteDescription};

mod cancel;
mod changes;
mod events;
mod events_of_many;
mod legacy_and_health_routes;
mod legacy_endpoints;
mod meter;
mod openapi;
mod pause;
mod query_arguments;
mod refuse_unexpected_arguments;
mod requested_mirror;
mod route;
mod run_changes;
mod run_difference;
mod runs;
mod server_sent_event;
mod status;
mod sync;
mod tenants;
mod verify;

/// The path of the `OpenAPI` description.
const DESCRIPTION_PATH: &str = "/api/v1/openapi.json";

/// The longest request body in bytes. A body holds a few arguments of at most 200 characters.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// How long a run may take after its time limit, because it must still record its end in the log.
const RUN_MARGIN: Duration = Duration::from_secs(30);

/// The state that handlers share.
#[derive(Clone, Debug)]
struct RestState {
    mirrors: Mirrors,
    /// How long the legacy trigger endpoint waits for the end of the run that it started.
    wait: Duration,
    streams: EventStreams,
    /// The `OpenAPI` description, as JSON.
    description: Bytes,
}

/// Lets the handlers of the health checks take [`Mirrors`] as their state.
impl FromRef<RestState> for Mirrors {
    fn from_ref(shared: &RestState) -> Self {
        shared.mirrors.clone()
    }
}

/// Returns the routes of the REST API, the legacy routes and the health checks. `shutdown` ends the open event streams.
pub(crate) fn routes(config: &Config, mirrors: Mirrors, shutdown: &Shutdown) -> Router {
    let table = table();
    let shared = RestState {
        mirrors,
        wait: config.limits.run_timeout.saturating_add(RUN_MARGIN),
        streams: EventStreams::new(shutdown.token()),
        description: openapi::describe(&table, config.requires_token()),
    };
    let add = |router: Router<RestState>, route: Route| {
        let places = refuse_unexpected_arguments::ArgumentPlaces::of(&route.operation);
        let refuse = middleware::from_fn_with_state(places, refuse_unexpected_arguments::refuse);
        router.route(&route.path, route.handler.layer(refuse))
    };
    table
        .into_iter()
        .fold(Router::new(), add)
        .layer(middleware::map_response(forbid_storing))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(shared)
}

/// Returns all routes, from which the router and the `OpenAPI` description are built.
fn table() -> Vec<Route> {
    let mut table = vec![
        tenants::route(),
        description_route(),
        legacy_and_health_routes::local_status(),
        legacy_and_health_routes::local_trigger(),
        legacy_and_health_routes::live(),
        legacy_and_health_routes::ready(),
    ];
    table.extend(of_mirror());
    table.extend(of_mirror().map(Route::of_tenant));
    table
}

/// Returns the routes that are about one mirror (the meters of one tenant). [`table`] lists them twice: below `/api/v1`
/// for the only mirror of the process, and below `/api/v1/tenants/{tenant_id}` for the mirror of a tenant.
fn of_mirror() -> impl Iterator<Item = Route> {
    let routes = [
        status::route(),
        sync::route(),
        verify::route(),
        runs::list_route(),
        runs::route(),
        run_changes::route(),
        run_difference::route(),
        changes::route(),
        cancel::route(),
        pause::route(),
        pause::resume_route(),
        meter::route(),
        events::route(),
    ];
    routes.into_iter()
}

/// Adds `Cache-Control: no-store` to a response, because a cached one would soon be outdated.
async fn forbid_storing(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

fn description_route() -> Route {
    let operation = RouteDescription::new("getDescription", "This description of the API").answer(
        200,
        "The description",
        |_| json_schema!({"type": "object", "required": ["openapi", "info", "paths"]}),
    );
    Route::get(DESCRIPTION_PATH, description, operation)
}

async fn description(State(RestState { description, .. }): State<RestState>) -> Response {
    let json: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];
    (json, Bytes::clone(&description)).into_response()
}
