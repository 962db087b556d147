//! One run from its request to its end: begin, execute, settle.

mod begin;
pub(super) mod compare_contents;
pub(super) mod execute;
pub(crate) mod known_columns;
pub(super) mod lock;
pub(super) mod progress;
pub mod report;
mod request;
mod run_attempt;
pub mod run_metrics;
mod settle;
