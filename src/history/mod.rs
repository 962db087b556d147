//! Reads the history: past runs from the run log, and single meters from the local table with their logged changes.

mod activity_text;
pub mod key_text;
mod meter_search;
mod read_meter;
mod report_from_status;
pub mod run_listing;
pub mod status_question;
