//! The state of a mirror as every surface shows it: the status, the health, and the sentences that describe them.

mod build_status;
pub(super) mod count_meters;
pub mod health;
pub mod meter_report;
pub(super) mod read_state;
pub mod status;
mod status_of_many;
pub(crate) mod status_text;
pub mod tenant_list;
