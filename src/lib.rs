//! meter-sync keeps a site's local Postgres copy of its meters equal to its organisation's rows in
//! a central Postgres.

pub mod app;
mod arguments;
mod badges;
pub mod check;
pub mod cli;
pub mod config;
pub mod db;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "demo")]
pub mod embedded;
pub mod engine;
pub mod error;
mod heartbeat;
mod hex_digest;
pub mod history;
pub mod http;
mod http_client;
pub mod machine_clock;
mod make_printable;
pub mod mcp;
pub mod mirrors;
pub mod model;
mod page;
pub mod reports;
mod rest;
pub mod schedule;
mod shared_read;
pub mod shutdown;
pub mod store;
pub mod telemetry;
mod tenants;
pub mod trace_id;
mod url_path;
