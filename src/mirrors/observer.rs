//! Reads the states of all mirrors from the store and publishes them, for a process that keeps many.
//!
//! State flows one way: a run or a sweep writes the store, the observer reads it, and every surface reads what the
//! observer published. The observer reads at least every 1.75 s, so what another process did is seen within 2 s unless a
//! read is slow, and whenever a run of this process begins or ends. It asks the database one short statement, and more
//! only if something was committed since the last time or a run is open. Then it reads the states of the mirrors among
//! the last 1,000 runs, since a lower number may be committed late, and of those that are new or have an open run.
//!
//! A surface that needs a newer answer, because this process has just ended a run, asks for it and waits for the next
//! publication.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::db::{Connection, Local, Moment, Tx};
use crate::error::{ErrorCode, Failure};
use crate::store::checked_mirrors::{self, MirrorKey};
use crate::store::migrations;
use crate::store::mirror_states::{self, MirrorState};
use crate::store::sweeps::{self, SweepRecord};

use super::local_table;
use super::registry::{Mirrors, TenantMirror};
use super::shared_read::{Listener, SharedRead};

/// How long the observer waits for a run of this process to begin or end before it reads the store again. With
/// [`LEAST_PAUSE`] it is less than 2 s, within which runs of other processes are to be seen.
const PAUSE: Duration = Duration::from_millis(1500);
/// How long the observer waits at least, however many runs begin and end.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
/// How old a publication may be that a surface takes without asking for a newer one.
const FRESH: Duration = Duration::from_secs(2);

/// The states of all mirrors at one time.
#[derive(Clone, Debug)]
pub(in crate::mirrors) struct Published {
    /// Grows with each publication that may differ from the one before it.
    version: u64,
    /// The mirrors in the order of their ids, with their states. The last known ones, if `failure` is set.
    pub(in crate::mirrors) mirrors: Arc<[(TenantMirror, MirrorState)]>,
    /// The last sweep that ended; `None` before the first.
    pub(in crate::mirrors) last_sweep: Option<SweepRecord>,
    /// Why they could not be read this time.
    pub(in crate::mirrors) failure: Option<Failure>,
}

/// Reads and publishes the states.
#[derive(Debug, Default)]
pub(in crate::mirrors) struct Observer {
    /// What was read last. Held while reading.
    memory: Mutex<Memory>,
    published: Arc<SharedRead<Published>>,
}

/// What was read last, by which the next read is shorter.
#[derive(Debug, Default)]
struct Memory {
    moment: Option<Moment>,
    /// Whether the tables of sweeps exist.
    has_sweeps: bool,
    seq: i64,
    states: BTreeMap<MirrorKey, MirrorState>,
    last_sweep: Option<SweepRecord>,
}

/// A listener for changes of the states of all mirrors.
#[derive(Debug)]
pub struct StateChanges {
    published: Listener<Published>,
    observer: Arc<Observer>,
    version: u64,
}

impl StateChanges {
    /// Waits until the state of any mirror may have changed since the last call. Returns `false` when there can be no
    /// more changes.
    pub async fn next(&mut self) -> bool {
        let old = self.version;
        let is_other = |published: &Published| published.version != old;
        if !self.published.wait_for(is_other).await {
            return false;
        }
        self.version = version(self.observer.published.last().as_ref());
        true
    }
}

fn version(published: Option<&Published>) -> u64 {
    published.map_or(0, |published| published.version)
}

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
        let published = self.observer.published.listener();
        let version = version(self.observer.published.last().as_ref());
        StateChanges {
            published,
            observer: Arc::clone(&self.observer),
            version,
        }
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

impl Memory {
    /// Reads the states of those mirrors that may have changed, and of new ones.
    async fn update(&mut self, tx: &Tx<'_, Local>, keys: &[MirrorKey]) -> Result<(), Failure> {
        let tables = migrations::tables(tx).await?;
        self.has_sweeps = tables.sweeps;
        if !self.has_sweeps {
            *self = Self::default();
            return Ok(());
        }
        let keys: BTreeSet<&MirrorKey> = keys.iter().collect();
        self.states.retain(|key, _| keys.contains(key));
        let names: BTreeSet<&String> = keys.iter().map(|key| &key.local_table).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let (new_runs, seq) = mirror_states::changed_since(tx, &names, self.seq).await?;
        let is_unsettled = |key: &&&MirrorKey| {
            let state = self.states.get(**key);
            state.is_none_or(|state| state.open_run.is_some())
        };
        let unsettled = keys.iter().filter(is_unsettled).copied();
        let is_newer = |(key, newest): &&(MirrorKey, i64)| {
            let state = self.states.get(key);
            keys.contains(key) && state.is_some_and(|state| state.newest < *newest)
        };
        let changed = new_runs.iter().filter(is_newer).map(|(key, _)| key);
        let changed: BTreeSet<MirrorKey> = changed.chain(unsettled).cloned().collect();
        let changed: Vec<MirrorKey> = changed.into_iter().collect();
        let read = mirror_states::read(tx, &changed).await?;
        self.states.extend(changed.into_iter().zip(read));
        for (key, checked_at) in checked_mirrors::of_tables(tx, &names).await? {
            if let Some(state) = self.states.get_mut(&key) {
                state.checked_at = Some(checked_at);
            }
        }
        self.seq = seq;
        Ok(())
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
