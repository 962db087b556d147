//! Builds the status of mirrors, their health, and the sentences that describe both. All user interfaces show these.

mod build_status;
pub(super) mod count_meters;
mod health;
pub mod meter_report;
pub(super) mod read_state;
pub mod status;
mod status_of_many;
pub(crate) mod status_text;
pub mod tenant_list;
