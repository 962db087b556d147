//! The state of one mirror as it was last read, with the moment of the database that shows whether it is still valid.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::db::CommitMarker;
use crate::error::Failure;
use crate::store::log::RunRecord;

use super::stored_state::StoredState;

/// How long a state is reused while nothing is committed. Row security or a view may depend on the current time, which
/// changes without a commit.
const LASTS: Duration = Duration::from_secs(10);

/// The state of one mirror as one read found it.
#[derive(Clone, Debug)]
pub(in crate::mirrors) struct Observation {
    /// The state, without a history; an error if the meters could not be counted.
    pub(in crate::mirrors) state: Result<Arc<StoredState>, Failure>,
    /// The newest runs, the latest first. They are known even if the meters cannot be counted.
    pub(in crate::mirrors) runs: Arc<[RunRecord]>,
    /// The moment of the database at which the state was read; `None` if the state may change without a commit.
    pub(super) moment: Option<CommitMarker>,
    pub(super) read_at: Instant,
}

/// What is published for a mirror: its state, or why the state could not be read. Failures are published so that not
/// every caller has to wait for a database that does not answer.
pub(in crate::mirrors) type Observed = Result<Observation, Failure>;

impl Observation {
    /// The state with so many of the newest runs.
    pub(super) fn with_history(&self, history: u32) -> Result<StoredState, Failure> {
        let state = self.state.as_ref().map_err(Failure::clone)?;
        let runs = self.runs.iter().take(history as usize);
        Ok(StoredState {
            history: runs.cloned().collect(),
            ..StoredState::clone(state)
        })
    }

    pub(super) fn is_still_true(&self, moment: Option<&CommitMarker>) -> bool {
        moment.is_some() && self.moment.as_ref() == moment && self.read_at.elapsed() < LASTS
    }
}
