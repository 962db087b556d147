//! Answers questions about past runs and about meters, from the run log and the local table.

mod active_text;
mod key_text;
pub mod listing;
pub mod meter_names;
pub mod meters;
pub mod questions;
pub mod search;
mod since;
