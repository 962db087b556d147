//! Reads the states of mirrors, and builds the status that all user interfaces show.

mod build_status;
mod build_status_of_many;
pub(super) mod count_meters;
pub(crate) mod read_state;
