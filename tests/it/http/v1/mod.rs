//! Version 1 of the REST API. Every answer is held against the API's own description (`api`).

pub(super) mod api;
mod described;
mod documented;
mod events;
mod reading;
mod refused;
mod syncing;
