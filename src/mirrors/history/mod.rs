//! Reads the history: past runs from the run log, and single meters from the local table with their logged changes.

mod activity_text;
mod key_text;
pub mod meter_names;
pub mod meter_report;
pub mod meter_search;
pub mod run_listing;
