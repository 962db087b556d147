//! Our tables in schema `meter_sync`: their migrations, and the SQL that writes sweeps and checks.

pub mod checks;
pub mod migrations;
pub mod slots;
pub mod sweeps;
