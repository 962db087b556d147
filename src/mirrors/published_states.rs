//! The states of all mirrors as they were last read and published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::db::{CommittedState, Local, Tx};
use crate::error::Failure;
use crate::model::Pause;
use crate::store::due_mirrors::OpenSweep;
use crate::store::pauses;
use crate::store::read_mirror_states::{self, MirrorState};
use crate::store::sweeps::SweepRecord;
use crate::store::unchanged_mirrors::{self, MirrorKey};

use super::mirror::TenantAndMirror;
use crate::shared_read::PublishedValue;

/// The states of all mirrors as one read of the local database found them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PublishedStates {
    /// When a read last found that the states may have changed: something was committed in the database, or the read
    /// failed in another way than the one before. `None` before the first read.
    pub(super) changed_at: Option<Instant>,
    /// The mirrors with their states, in the order of the tenants' ids. If `failure` is set, these are the last known
    /// states.
    pub(crate) mirrors: Arc<[(TenantAndMirror, Arc<MirrorState>)]>,
    /// The last sweep (check of all mirrors) that ended; `None` before the first.
    pub(crate) last_sweep: Option<SweepRecord>,
    /// The sweep, of this or another process, that has mirrors whose run no process has taken; `None` if there is no
    /// such sweep.
    pub(super) open_sweep: Option<OpenSweep>,
    /// Why the states could not be read this time; `None` if they were read.
    pub(crate) failure: Option<Failure>,
    pub(super) memory: Arc<LastStatesRead>,
}

/// What the last read found, so that the next one reads only what may have changed. Empty after a failure.
#[derive(Clone, Debug, Default)]
pub(super) struct LastStatesRead {
    pub(super) marker: Option<CommittedState>,
    /// Which start of which server the states are from, see [`read_mirror_states::server_start`].
    server: String,
    seq: i64,
    /// The state of each mirror. The published states and the memory of the next read share these values while nothing
    /// changes.
    pub(super) states: BTreeMap<Arc<MirrorKey>, Arc<MirrorState>>,
}

/// A listener for changes in the states of all mirrors.
#[derive(Debug)]
pub struct StateChangeListener {
    published: watch::Receiver<Option<PublishedValue<PublishedStates>>>,
    changed_at: Option<Instant>,
}

impl StateChangeListener {
    pub(super) fn of(published: watch::Receiver<Option<PublishedValue<PublishedStates>>>) -> Self {
        let changed_at = changed_at(published.borrow().as_ref());
        Self {
            published,
            changed_at,
        }
    }

    /// Waits until the state of any mirror may have changed since the last call. Returns `false` if no more changes
    /// can follow.
    pub async fn next(&mut self) -> bool {
        let old = self.changed_at;
        let is_other = |last: &Option<_>| changed_at(last.as_ref()) != old;
        let Ok(published) = self.published.wait_for(is_other).await else {
            return false;
        };
        self.changed_at = changed_at(published.as_ref());
        true
    }
}

fn changed_at(published: Option<&PublishedValue<PublishedStates>>) -> Option<Instant> {
    published.and_then(|last| last.value.changed_at)
}

impl LastStatesRead {
    /// Reads the states of those of the mirrors `keys` that are new or may have changed. Forgets all mirrors that are
    /// not in `keys`. Forgets everything if the server was started anew or replaced by another one: the log may then
    /// have lost runs, and new runs may get the numbers of the lost ones.
    pub(super) async fn update(
        &mut self,
        tx: &Tx<'_, Local>,
        keys: &[MirrorKey],
    ) -> Result<(), Failure> {
        let server = read_mirror_states::server_start(tx).await?;
        if self.server != server {
            *self = Self::default();
            self.server = server;
        }
        let keys: BTreeSet<&MirrorKey> = keys.iter().collect();
        self.states.retain(|key, _| keys.contains(&**key));
        let names: BTreeSet<&String> = keys.iter().map(|key| &key.local_table).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let (new_runs, seq) = read_mirror_states::changed_since(tx, &names, self.seq).await?;
        let new_runs: BTreeMap<MirrorKey, i64> = new_runs.into_iter().collect();
        let may_have_changed = |key: &&MirrorKey| match self.states.get(*key) {
            Some(state) => {
                let newest = new_runs.get(*key);
                state.open_run.is_some() || newest.is_some_and(|newest| state.newest < *newest)
            }
            None => true,
        };
        let changed = keys.into_iter().filter(may_have_changed);
        let changed: Vec<MirrorKey> = changed.cloned().collect();
        let read = read_mirror_states::read(tx, &changed).await?;
        let changed = changed.into_iter().map(Arc::new);
        self.states
            .extend(changed.zip(read.into_iter().map(Arc::new)));
        for (key, checked_at) in unchanged_mirrors::of_tables(tx, &names).await? {
            let state = self.states.get_mut(&key);
            if let Some(state) = state.filter(|state| state.checked_at != Some(checked_at)) {
                Arc::make_mut(state).checked_at = Some(checked_at);
            }
        }
        self.seq = seq;
        Ok(())
    }

    /// Reads which mirrors are paused.
    pub(super) async fn update_pauses(
        &mut self,
        tx: &Tx<'_, Local>,
        keys: &[MirrorKey],
    ) -> Result<(), Failure> {
        let tables: BTreeSet<&String> = keys.iter().map(|key| &key.local_table).collect();
        let tables: Vec<String> = tables.into_iter().cloned().collect();
        let mut pauses: BTreeMap<MirrorKey, Pause> =
            pauses::of_tables(tx, &tables).await?.into_iter().collect();
        for (key, state) in &mut self.states {
            let pause = pauses.remove(&**key);
            if state.pause != pause {
                Arc::make_mut(state).pause = pause;
            }
        }
        Ok(())
    }
}
