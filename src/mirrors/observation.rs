//! The state of one mirror as it was last read, with the moment that tells how long it is true.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::db::Moment;
use crate::error::Failure;
use crate::store::log::RunRecord;

use super::stored_state::StoredState;

/// How long a state is used at the same moment. Row security or a view may depend on the current time, which changes
/// without a commit.
const LASTS: Duration = Duration::from_secs(10);

/// The state of one mirror as one read told it.
#[derive(Clone, Debug)]
pub(in crate::mirrors) struct Observation {
    /// The state, without a history.
    pub(super) state: Arc<StoredState>,
    /// The newest runs, the latest first.
    pub(in crate::mirrors) runs: Arc<[RunRecord]>,
    /// The moment at which it was read; `None` if it may change without a commit.
    pub(super) moment: Option<Moment>,
    pub(super) read_at: Instant,
}

/// What is published of a mirror. Failures are published too, so that not every caller waits for a database that does not
/// answer.
pub(in crate::mirrors) type Observed = Result<Observation, Failure>;

impl Observation {
    /// The state with so many of the newest runs.
    pub(super) fn with_history(&self, history: u32) -> StoredState {
        let runs = self.runs.iter().take(history as usize);
        StoredState {
            history: runs.cloned().collect(),
            ..StoredState::clone(&self.state)
        }
    }

    pub(super) fn is_still_true(&self, moment: Option<&Moment>) -> bool {
        moment.is_some() && self.moment.as_ref() == moment && self.read_at.elapsed() < LASTS
    }
}
