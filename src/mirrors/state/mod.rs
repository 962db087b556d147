//! Builds the status of mirrors, their health, and the sentences that describe both. All user interfaces show these.

mod build_status;
pub(super) mod count_meters;
pub mod health;
pub(super) mod read_state;
mod report_from_status;
pub mod status;
mod status_of_many;
pub(super) mod status_text;
pub mod tenant_list;
