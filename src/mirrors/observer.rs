//! Reads the states of all mirrors from the store and publishes them, for a process that keeps many.
//!
//! State flows one way: a run or a sweep writes the store, the observer reads it, and every surface reads what the
//! observer published. The observer reads every 2 s, so what another process did is seen by then, and whenever a run of
//! this process begins or ends. It asks the database one short statement, and more only if something was committed since
//! the last time or a run is open. Then it reads the states of the mirrors among the last 1,000 runs, since a lower
//! number may be committed late, and of those that are new or have an open run.
//!
//! A surface that needs a newer answer, because this process has just ended a run, asks for it and waits for the next
//! publication.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::db::{Connection, Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::store::checked_mirrors::MirrorKey;
use crate::store::mirror_states::MirrorState;
use crate::store::sweeps;

use super::local_table;
use super::mirror::TenantMirror;
use super::published_states::{Memory, Published, StateChanges, version};
use super::registry::Mirrors;

/// How often the store is read.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the observer waits at least, however many runs begin and end.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
/// How old a publication may be that a surface takes without asking for a newer one.
const FRESH: Duration = Duration::from_secs(4);

impl Mirrors {
    /// Publishes the states of all mirrors until `shutdown`.
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

    /// Listens for changes of the states. Something must publish them ([`Self::observe`]).
    pub fn state_changes(&self) -> StateChanges {
        StateChanges::of(&self.observer)
    }

    /// The states as they were published, not before the last run of this process began or ended.
    pub(in crate::mirrors) async fn states(&self) -> Published {
        let activity = self.process.last_activity();
        let fresh = Instant::now().checked_sub(FRESH);
        self.states_since(fresh.map_or(activity, |fresh| fresh.max(activity)))
            .await
    }

    /// The mirrors with their states as of now.
    pub(in crate::mirrors) async fn states_now(
        &self,
    ) -> Result<Arc<[(TenantMirror, MirrorState)]>, Failure> {
        let published = self.states_since(Instant::now()).await;
        match published.failure {
            Some(failure) => Err(failure),
            None => Ok(published.mirrors),
        }
    }

    /// The last known states, for a caller that no longer waits for the local database.
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

    /// The states as they were read at `time` or later.
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
        let mut memory = self.observer.memory.lock().await;
        let read = match self.local() {
            Ok(local) => match local.connect_to_read().await {
                Ok(mut connection) => self.read(&mut connection, &mut memory, last.as_ref()).await,
                Err(error) => Err(error.into()),
            },
            Err(failure) => Err(failure),
        };
        let (mirrors, failure) = match read {
            Ok(mirrors) => (mirrors, None),
            Err(failure) => {
                *memory = Memory::default();
                let known = last.as_ref().map(|last| Arc::clone(&last.mirrors));
                (known.unwrap_or_default(), Some(failure))
            }
        };
        let old = version(last.as_ref());
        let is_same = last
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(&last.mirrors, &mirrors) && last.failure == failure);
        Published {
            version: if is_same { old } else { old + 1 },
            mirrors,
            last_sweep: memory.last_sweep.clone(),
            failure,
        }
    }

    async fn read(
        &self,
        connection: &mut Connection<Local>,
        memory: &mut Memory,
        last: Option<&Published>,
    ) -> Result<Arc<[(TenantMirror, MirrorState)]>, Failure> {
        let moment = connection.moment().await?;
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

/// The keys of the mirrors in the store.
async fn keys(tx: &Tx<'_, Local>, known: &[TenantMirror]) -> Result<Vec<MirrorKey>, Failure> {
    let tables = known
        .iter()
        .map(|known| known.mirror.mapping().local_table.as_str());
    let tables = local_table::names(tx, tables).await?;
    let keys = known
        .iter()
        .zip(tables)
        .map(|(known, local_table)| MirrorKey {
            tenant: known.id.as_str().to_owned(),
            local_table,
        });
    Ok(keys.collect())
}
