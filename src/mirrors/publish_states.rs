//! Reads the states of all mirrors from the local database and publishes them, for a process that keeps many mirrors.
//!
//! State flows one way: a run or a sweep writes to the database, the *observer* (the task [`Mirrors::observe`]) reads
//! the database, and the user interfaces read what the observer published.
//!
//! The observer reads at least every 1.75 s, so it sees what other processes did within 2 s unless a read is slow. It
//! also reads whenever a run of this process begins or ends. If nothing was committed since the last read and no run is
//! in progress, a read is one short statement. Otherwise the observer also reads the states of mirrors that are new,
//! that have a run without an end, or that have a new run. It looks for new runs among the last 1,000 run numbers as
//! well, because a run with a lower number may be committed later.
//!
//! If a caller needs newer states than the published ones, for example after a run of this process has ended, it
//! requests a read and waits for the next publication.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::db::{Connection, Local};
use crate::error::{ErrorCode, Failure};
use crate::store::read_mirror_states::MirrorState;
use crate::store::{due_mirrors, migrations, sweeps};

use super::mirror::TenantAndMirror;
use super::mirror_keys::keys;
use super::published_states::{LastStatesRead, PublishedStates, StateChangeListener};
use super::registry::Mirrors;

/// How long [`Mirrors::observe`] waits for a change in this process before it reads the states anyway. Before that it
/// waits for [`LEAST_PAUSE`]. The sum is less than 2 s, so that runs of other processes are seen within 2 s.
const PAUSE: Duration = Duration::from_millis(1500);
/// The shortest pause between two reads of the states, even if many runs begin and end.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
/// The maximum age of published states that a caller accepts without requesting a new read.
const FRESH: Duration = Duration::from_secs(2);

impl Mirrors {
    /// Reads and publishes the states of all mirrors again and again until `shutdown`.
    pub async fn observe(self, shutdown: CancellationToken) {
        let observed = async {
            loop {
                let asked_at = Instant::now();
                self.states_since(asked_at).await;
                tokio::time::sleep(LEAST_PAUSE).await;
                self.activity_after(asked_at, PAUSE).await;
            }
        };
        shutdown.run_until_cancelled(observed).await;
    }

    /// Returns a listener for changes of the mirrors' states. It notices changes only while something reads the states,
    /// such as [`Self::observe`].
    pub fn state_changes(&self) -> StateChangeListener {
        StateChangeListener::of(self.observer.subscribe())
    }

    /// Returns the published states if they are at most 2 s old, and this process has done nothing since that changes
    /// them (see [`ProcessContext::last_activity`](super::ProcessContext::last_activity)). Otherwise waits until the
    /// states are read again.
    pub(crate) async fn states(&self) -> PublishedStates {
        let activity = self.last_activity();
        let fresh = Instant::now().checked_sub(FRESH);
        self.states_since(fresh.map_or(activity, |fresh| fresh.max(activity)))
            .await
    }

    /// Reads the states of all mirrors now. Fails if they cannot be read.
    pub(crate) async fn states_now(
        &self,
    ) -> Result<Arc<[(TenantAndMirror, Arc<MirrorState>)]>, Failure> {
        let published = self.states_since(Instant::now()).await;
        match published.failure {
            Some(failure) => Err(failure),
            None => Ok(published.mirrors),
        }
    }

    /// Returns the last known states together with an error, for a caller to whom the local database has not answered
    /// in time.
    pub(crate) fn overdue_states(&self) -> PublishedStates {
        let message = "The local database has not answered in time.";
        self.last_states_with(Failure::new(ErrorCode::LocalTimeout, message))
    }

    fn last_states_with(&self, failure: Failure) -> PublishedStates {
        PublishedStates {
            failure: Some(failure),
            ..self.observer.last().unwrap_or_default()
        }
    }

    /// Returns the published states if they were read at `time` or later. Otherwise waits until they are read again.
    async fn states_since(&self, time: Instant) -> PublishedStates {
        let mirrors = self.clone();
        let read = async move |last| mirrors.read_states(Option::unwrap_or_default(last)).await;
        let published = self.observer.since(time, &self.tasks, read).await;
        published.unwrap_or_else(|| {
            let message = "The states of the mirrors could not be read.";
            self.last_states_with(Failure::new(ErrorCode::Internal, message))
        })
    }

    async fn read_states(&self, last: PublishedStates) -> PublishedStates {
        let read = async {
            let mut connection = self.local()?.connect_to_read().await?;
            self.read(&mut connection, &last).await
        };
        let failure = match read.await {
            Ok(published) => return published,
            Err(failure) => Some(failure),
        };
        PublishedStates {
            changed_at: match last.failure == failure {
                true => last.changed_at,
                false => Some(Instant::now()),
            },
            failure,
            memory: Arc::default(),
            ..last
        }
    }

    async fn read(
        &self,
        connection: &mut Connection<Local>,
        last: &PublishedStates,
    ) -> Result<PublishedStates, Failure> {
        let marker = connection.commit_marker().await?;
        let mut states = last.mirrors.iter().map(|(_, state)| state);
        let is_open = states.any(|state| state.open_run.is_some());
        if marker.is_some() && marker == last.memory.marker && !is_open {
            return Ok(last.clone());
        }
        let tx = connection.begin("states").await?;
        let known = self.known(&tx).await?;
        let keys = keys(&tx, known.iter()).await?;
        let (mut memory, mut last_sweep, mut open_sweep) = (LastStatesRead::default(), None, None);
        let tables = migrations::tables(&tx).await?;
        if tables.sweeps {
            memory = LastStatesRead::clone(&last.memory);
            memory.update(&tx, &keys).await?;
            if tables.pauses {
                memory.update_pauses(&tx, &keys).await?;
            }
            let set = self.swept_set(&tx).await?;
            last_sweep = sweeps::last(&tx, &set).await?;
            if tables.due {
                open_sweep = due_mirrors::open_sweep(&tx, &set).await?;
            }
        }
        memory.marker = marker;
        let states = known.iter().zip(&keys).map(|(known, key)| {
            let state = memory.states.get(key).cloned().unwrap_or_default();
            (known.clone(), state)
        });
        Ok(PublishedStates {
            changed_at: Some(Instant::now()),
            mirrors: states.collect(),
            last_sweep,
            open_sweep,
            failure: None,
            memory: Arc::new(memory),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_processes_did_is_read_within_two_seconds() {
        let promised = Duration::from_secs(2);
        assert!(LEAST_PAUSE + PAUSE < promised);
        assert!(FRESH <= promised);
    }
}
