//! Reads past runs and meters, from the run log and the local table.

mod activity_text;
pub mod key_text;
mod meter_search;
mod read_meter;
mod report_from_status;
pub mod run_listing;
pub mod status_question;
