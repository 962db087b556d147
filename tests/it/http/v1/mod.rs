//! Version 1 of the REST API. Every answer is held against the API's own description (`api_client`).

pub(super) mod api_client;
mod events;
mod openapi;
mod read_routes;
mod refused_requests;
mod rest_document;
mod sync_requests;
