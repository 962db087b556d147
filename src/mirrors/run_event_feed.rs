//! Tells its readers when a run of a mirror has begun or ended in any process, or a sweep (a check of all mirrors) has
//! found the mirror unchanged.
//!
//! All feeds share each read of the mirror's state (`status::read_state`), so many feeds cost no more queries
//! than one.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::machine_clock;
use crate::model::{RunId, RunOutcome, RunRecord};

use super::Mirror;
use super::in_process_state::InProcessState;
use super::state_read::StateRead;
use crate::reports::connections::ConnectionState;
use crate::reports::status::Status;

/// How long a feed waits for a change in this process before it reads the log anyway. Together with [`FRESH`] this
/// is less than 2 s, so that runs of other processes are found within 2 s.
const PAUSE: Duration = Duration::from_millis(1500);
/// How long a feed waits after a change before it reads the log. All feeds that wait at the same time share one
/// read.
const FRESH: Duration = Duration::from_millis(200);
/// The age at which a status counts as out of date even if nothing has happened.
const STATUS_AGE: Duration = Duration::from_secs(60);

/// A stream of the runs of one mirror that begin or end, in any process. It remembers which ones it has already
/// returned.
#[derive(Debug)]
pub struct RunEventFeed {
    mirror: Mirror,
    in_process_state: watch::Receiver<InProcessState>,
    /// What `in_process_state` showed when it last woke the feed. The feed wakes when this changes.
    state: WatchedState,
    seen_runs: SeenRuns,
}

/// Which runs this feed has already seen in the log.
#[derive(Debug)]
enum SeenRuns {
    /// The log has not been read yet. Runs that began or ended at `since` or later are new.
    Nothing { since: DateTime<Utc> },
    /// The latest runs at the last read, with their outcomes (`None` while in progress), and the `seq` (run number) of
    /// the oldest of them.
    Latest {
        outcomes: HashMap<RunId, Option<RunOutcome>>,
        oldest: Option<i64>,
    },
}

/// What one read of the mirror's state found.
#[derive(Default)]
struct FeedRead {
    /// Whether this process's own state of the mirror has changed since the last read.
    is_changed: bool,
    /// The runs that have begun or ended since the last read, the latest first.
    events: Vec<RunRecord>,
    /// When a sweep (a check of all mirrors) last found the mirror unchanged: `Some(None)` if none has, `None` if the
    /// state could not be read.
    checked_at: Option<Option<DateTime<Utc>>>,
}

impl Mirror {
    /// Returns a feed of the runs of this mirror that begin or end from now on, in any process.
    pub fn events(&self) -> RunEventFeed {
        let in_process_state = self.shared.in_process_state.subscribe();
        let state = state(&in_process_state.borrow());
        RunEventFeed {
            mirror: self.clone(),
            in_process_state,
            state,
            seen_runs: SeenRuns::Nothing { since: self.now() },
        }
    }
}

impl RunEventFeed {
    /// Waits until runs have begun or ended since the last call, and returns them, the newest first.
    pub async fn next(&mut self) -> Vec<RunRecord> {
        loop {
            // If the log cannot be read, the next read that succeeds returns the missed runs.
            let events = self.look().await.events;
            if !events.is_empty() {
                return events;
            }
        }
    }

    /// Waits until `status` may be out of date, which is the case when:
    ///
    /// - a run has begun or ended;
    /// - a sweep (a check of all mirrors) has found the mirror unchanged;
    /// - the connection to a database was lost or restored;
    /// - the wait for a retry has begun or ended;
    /// - a minute has passed: the status depends on the time, and other programs may have changed the database.
    pub async fn outdated(&mut self, status: &Status) {
        let was_reached = status.connections.local.state == ConnectionState::Ok;
        let old = Instant::now() + STATUS_AGE;
        while Instant::now() < old {
            let look = self.look().await;
            let is_other = match look.checked_at {
                Some(checked_at) => !was_reached || checked_at != status.checked_at,
                None => was_reached,
            };
            if look.is_changed || !look.events.is_empty() || is_other {
                return;
            }
        }
    }

    /// Waits for a change of this process's own state of the mirror, but at most for [`PAUSE`], and then for [`FRESH`].
    /// Returns what has changed in the mirror's state since the last read.
    async fn look(&mut self) -> FeedRead {
        let due = Instant::now() + PAUSE;
        let is_changed = timeout_at(due, self.changed()).await.is_ok();
        // All feeds wake at the same time. The first read after this moment serves all of them.
        let woken = Instant::now();
        tokio::time::sleep(FRESH).await;
        let mut look = FeedRead {
            is_changed,
            ..FeedRead::default()
        };
        let Ok(StateRead { state, runs, .. }) = self.mirror.observed_since(woken).await else {
            return look;
        };
        let now = self.mirror.now();
        let is_new = |run: &&RunRecord| self.seen_runs.is_new_event(run, now);
        look.events = runs.iter().filter(is_new).cloned().collect();
        self.seen_runs = SeenRuns::Latest {
            outcomes: runs.iter().map(mark).collect(),
            oldest: runs.last().and_then(|run| run.seq),
        };
        let is_counted = state.count_failure.is_none();
        look.checked_at = is_counted.then_some(state.status.checked_at);
        look
    }

    /// Waits until this process's own state of the mirror changes. The wait cannot fail, because `self.mirror` keeps
    /// the sender of the channel alive.
    async fn changed(&mut self) {
        let changed = self
            .in_process_state
            .wait_for(|in_process_state| state(in_process_state) != self.state);
        if let Ok(in_process_state) = changed.await {
            self.state = state(&in_process_state);
        }
    }
}

impl SeenRuns {
    /// Whether the run has begun or ended since the last read of the log. Later reads compare outcomes and run numbers;
    /// only the first read compares times, because a clock may be set back.
    fn is_new_event(&self, run: &RunRecord, now: DateTime<Utc>) -> bool {
        match self {
            Self::Nothing { since } => {
                let happened = run.finished_at.unwrap_or(run.started_at);
                happened >= *since && !machine_clock::lies_ahead(happened, now)
            }
            Self::Latest { outcomes, oldest } => match outcomes.get(&run.run_id) {
                Some(outcome) => *outcome != run.outcome,
                // A run older than all of them may enter the list of the latest runs when newer runs are deleted. It is
                // not new. But a new run may have a lower number than the newest, if a failover has lost that one.
                None => oldest.is_none_or(|oldest| run.seq.is_none_or(|seq| seq > oldest)),
            },
        }
    }
}

/// The values of [`InProcessState`] whose change wakes a feed.
#[derive(Debug, PartialEq, Eq)]
struct WatchedState {
    running: Option<RunId>,
    last: Option<(RunId, Option<RunOutcome>)>,
    waiting_until: Option<DateTime<Utc>>,
    remote: ConnectionState,
}

fn state(in_process_state: &InProcessState) -> WatchedState {
    WatchedState {
        running: in_process_state
            .running
            .as_ref()
            .map(|run| run.record.run_id),
        last: in_process_state.last.as_ref().map(mark),
        waiting_until: in_process_state.waiting_until,
        remote: in_process_state.remote.state,
    }
}

fn mark(run: &RunRecord) -> (RunId, Option<RunOutcome>) {
    (run.run_id, run.outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_other_processes_are_looked_for_within_two_seconds() {
        assert!(PAUSE + FRESH < Duration::from_secs(2));
    }
}
