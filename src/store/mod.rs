//! Our tables in schema `meter_sync`: one file a table, with all SQL on it.

pub mod checks;
pub mod migrations;
pub mod sweeps;
