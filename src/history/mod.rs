//! Reads the history: past runs from the run log, and single meters from the local table with their logged changes.

pub mod answer_history_question;
mod meter_search;
pub mod parse_meter_key;
mod read_meter;
mod read_run_report;
mod run_listing;
mod why_inactive;
