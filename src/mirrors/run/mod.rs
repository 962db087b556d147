//! One run from its request to its end: begin, execute, settle.

mod begin;
pub(super) mod clocks;
pub(crate) mod columns;
pub(super) mod contents;
mod context;
pub(super) mod execute;
pub(super) mod lock;
pub(super) mod progress;
pub mod report;
pub mod run_metrics;
mod settle;
pub(super) mod warnings;
