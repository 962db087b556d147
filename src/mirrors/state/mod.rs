//! Reads the states of mirrors, and builds the status that all user interfaces show.

mod build_status;
pub(super) mod count_meters;
pub(crate) mod read_state;
mod status_of_many;
