//! Reads the history: past runs from the run log, and single meters from the local table with their logged changes.

pub mod answer_history_question;
mod build_run_report;
pub(crate) mod changes_since;
mod compare_runs;
pub mod find_meter;
mod list_runs;
mod log_limits;
pub mod parse_meter_key;
mod read_meter;
mod rewind_meter;
mod search_meters;
mod why_inactive;
