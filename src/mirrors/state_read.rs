//! One read of a mirror's state from the local database, and whether it may be used again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::db::CommittedState;
use crate::error::Failure;
use crate::model::RunRecord;
use crate::reports::stored_state::StoredState;

/// For how long a state is used again while nothing is committed. The limit is needed because row security or a view
/// may depend on the current time, so that the state changes without a commit.
const LASTS: Duration = Duration::from_secs(10);

/// The result of one read of a mirror's state from the local database.
#[derive(Clone, Debug)]
pub(crate) struct StateRead {
    /// The state, with an empty `history`.
    pub(crate) state: Arc<StoredState>,
    /// The newest runs, newest first.
    pub(crate) runs: Arc<[RunRecord]>,
    /// The database's commit marker, which differs after any commit, at the time of the read. `None` if the state must
    /// not be used again, because it may change without a commit.
    pub(super) marker: Option<CommittedState>,
    pub(super) read_at: Instant,
}

/// The last read of a mirror's state, or the error with which it failed. All waiting callers get the same error, so
/// that not each of them waits for a database that does not answer.
pub(crate) type StateReadResult = Result<StateRead, Failure>;

impl StateRead {
    /// Returns the state, with the newest `history` runs as its history. Fails if the meters could not be counted.
    pub(super) fn with_history(&self, history: u32) -> Result<StoredState, Failure> {
        let mut state = StoredState::clone(&self.state);
        let runs = self.runs.iter().take(history as usize);
        state.status.history = runs.cloned().collect();
        state.count_failure.take().map_or(Ok(state), Err)
    }

    pub(super) fn is_still_true(&self, marker: Option<&CommittedState>) -> bool {
        marker.is_some() && self.marker.as_ref() == marker && self.read_at.elapsed() < LASTS
    }
}
