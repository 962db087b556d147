//! Answers questions about past runs and about meters, from the run log and the local table.

mod active_text;
mod changes_since;
mod key_text;
pub mod meter_names;
pub mod meter_report;
pub mod meter_search;
pub mod questions;
pub mod run_listing;
