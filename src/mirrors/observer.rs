//! Reads the states of all mirrors from the database and publishes them, for a process that keeps many mirrors.
//!
//! State flows one way: a run or a sweep writes to the database, the observer reads it, and every surface reads what
//! the observer published.
//!
//! The observer reads at least every 1.75 s, so it sees what other processes did within 2 s unless a read is slow. It
//! also reads whenever a run of this process begins or ends. A read costs one short statement, unless something was
//! committed since the last read or a run is open. In that case the observer also reads the states of mirrors that are
//! new, that have an open run, or that have a new run. It looks for new runs among the last 1,000 run numbers as well,
//! because a run with a lower number may be committed later.
//!
//! A surface that needs a newer answer, because this process has just ended a run, asks for it and waits for the next
//! publication.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::db::{Connection, Local};
use crate::error::{ErrorCode, Failure};
use crate::store::read_mirror_states::MirrorState;
use crate::store::sweeps;

use super::mirror::TenantMirror;
use super::mirror_keys::keys;
use super::published_states::{Memory, Published, StateChanges, version};
use super::registry::Mirrors;

/// How often the states are read if nothing happens in this process. With [`LEAST_PAUSE`] it is less than 2 s, within
/// which runs of other processes are to be seen.
const PAUSE: Duration = Duration::from_millis(1500);
/// The shortest pause between two reads, even if many runs begin and end.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
/// The maximum age of a publication that a surface accepts without asking for a newer one.
const FRESH: Duration = Duration::from_secs(2);

impl Mirrors {
    /// Reads and publishes the states of all mirrors until `shutdown`.
    pub async fn observe(self, shutdown: CancellationToken) {
        let observed = async {
            loop {
                let asked_at = Instant::now();
                self.states_since(asked_at).await;
                tokio::time::sleep(LEAST_PAUSE).await;
                self.process.activity_after(asked_at, PAUSE).await;
            }
        };
        shutdown.run_until_cancelled(observed).await;
    }

    /// Listens for changes of the states. There are changes only while something reads the states, such as
    /// [`Self::observe`].
    pub fn state_changes(&self) -> StateChanges {
        StateChanges::of(&self.observer)
    }

    /// Returns the published states, if they are at most 4 s old and were read after a run of this process last began
    /// or ended. Otherwise waits until they are read again.
    pub(in crate::mirrors) async fn states(&self) -> Published {
        let activity = self.process.last_activity();
        let fresh = Instant::now().checked_sub(FRESH);
        self.states_since(fresh.map_or(activity, |fresh| fresh.max(activity)))
            .await
    }

    /// Reads the states of all mirrors now. Fails if they cannot be read.
    pub(in crate::mirrors) async fn states_now(
        &self,
    ) -> Result<Arc<[(TenantMirror, MirrorState)]>, Failure> {
        let published = self.states_since(Instant::now()).await;
        match published.failure {
            Some(failure) => Err(failure),
            None => Ok(published.mirrors),
        }
    }

    /// Returns the last known states with a failure, for a caller that gave up waiting for the local database.
    pub(in crate::mirrors) fn overdue_states(&self) -> Published {
        let message = "The local database has not answered in time.";
        self.last_states_with(Failure::new(ErrorCode::LocalTimeout, message))
    }

    fn last_states_with(&self, failure: Failure) -> Published {
        let last = self.observer.published.last();
        Published {
            version: version(last.as_ref()),
            last_sweep: last.as_ref().and_then(|last| last.last_sweep.clone()),
            mirrors: last.map(|last| last.mirrors).unwrap_or_default(),
            failure: Some(failure),
        }
    }

    /// Returns the states as they were read at `time` or later, and starts a read if needed.
    async fn states_since(&self, time: Instant) -> Published {
        let mirrors = self.clone();
        let read = move |last| {
            let mirrors = mirrors.clone();
            async move { mirrors.read_states(last).await }
        };
        let tasks = &self.process.tasks;
        let published = self.observer.published.since(time, tasks, read).await;
        published.unwrap_or_else(|| {
            let message = "The states of the mirrors could not be read.";
            self.last_states_with(Failure::new(ErrorCode::Internal, message))
        })
    }

    async fn read_states(&self, last: Option<Published>) -> Published {
        // Taken out, so that a second read can go on beside one that hangs, and a read that is given up leaves nothing half
        // done.
        let mut memory = std::mem::take(&mut *self.observer.memory());
        let read = match self.local() {
            Ok(local) => match local.connect_to_read().await {
                Ok(mut connection) => self.read(&mut connection, &mut memory, last.as_ref()).await,
                Err(error) => Err(error.into()),
            },
            Err(failure) => Err(failure),
        };
        let last_sweep = memory.last_sweep.clone();
        let (mirrors, failure) = match read {
            Ok(mirrors) => {
                *self.observer.memory() = memory;
                (mirrors, None)
            }
            Err(failure) => {
                let known = last.as_ref().map(|last| Arc::clone(&last.mirrors));
                (known.unwrap_or_default(), Some(failure))
            }
        };
        let old = version(last.as_ref());
        let is_same = last
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(&last.mirrors, &mirrors) && last.failure == failure);
        Published {
            version: match is_same {
                true => old,
                false => self.observer.next_version(),
            },
            mirrors,
            last_sweep,
            failure,
        }
    }

    async fn read(
        &self,
        connection: &mut Connection<Local>,
        memory: &mut Memory,
        last: Option<&Published>,
    ) -> Result<Arc<[(TenantMirror, MirrorState)]>, Failure> {
        let moment = connection.commit_marker().await?;
        let is_open = memory.states.values().any(|state| state.open_run.is_some());
        if let Some(last) = last.filter(|last| last.failure.is_none())
            && moment.is_some()
            && moment == memory.moment
            && !is_open
        {
            return Ok(Arc::clone(&last.mirrors));
        }
        let tx = connection.begin("states").await?;
        let known = self.known(&tx).await?;
        let keys = keys(&tx, &known).await?;
        memory.update(&tx, &keys).await?;
        let set = self.swept_set(&tx).await?;
        memory.last_sweep = match memory.has_sweeps {
            true => sweeps::last(&tx, &set).await?,
            false => None,
        };
        memory.moment = moment;
        let states = known.iter().zip(&keys).map(|(known, key)| {
            let state = memory.states.get(key).cloned().unwrap_or_default();
            (known.clone(), state)
        });
        Ok(states.collect())
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
