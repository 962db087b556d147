//! Reads past runs and meters, from the run log and the local table.

mod activity_text;
mod key_text;
pub mod meter_names;
pub mod meter_report;
pub mod meter_search;
pub mod run_listing;
