//! The state of a mirror as every surface shows it: the status, the health, and the sentences that describe them.

mod build_status;
pub mod health;
pub(super) mod meter_counts;
pub(super) mod read_state;
mod run_report;
pub mod status;
mod status_of_many;
pub(super) mod status_text;
pub mod tenant_list;
