//! The state of the mirror as every surface shows it: the status, its health, and the sentences that describe it.

pub(super) mod cache;
mod health;
pub(super) mod meter_counts;
mod overview;
mod read_log;
mod read_status;
pub mod status;
pub mod tenant_list;
pub(super) mod words;
