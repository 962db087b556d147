//! The states of all mirrors as they were last read and published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::db::{CommitMarker, Local, Tx};
use crate::error::Failure;
use crate::store::migrations;
use crate::store::read_mirror_states::{self, MirrorState};
use crate::store::sweeps::SweepRecord;
use crate::store::unchanged_mirrors::{self, MirrorKey};

use super::mirror::TenantMirror;
use super::shared_read::{Listener, SharedRead};

/// The states of all mirrors at one time.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// Another number if the publication may differ from the one before it.
    pub(super) version: u64,
    /// The mirrors with their states, in the order of the tenants' ids. If `failure` is set, these are the last known
    /// states.
    pub(super) mirrors: Arc<[(TenantMirror, MirrorState)]>,
    /// The last sweep that ended; `None` before the first.
    pub(super) last_sweep: Option<SweepRecord>,
    /// Why the states could not be read this time; `None` if they were read.
    pub(super) failure: Option<Failure>,
}

/// The last read and the last publication of the states of all mirrors.
#[derive(Debug, Default)]
pub(super) struct Observer {
    /// What was read last.
    pub(super) memory: Mutex<Memory>,
    pub(super) published: Arc<SharedRead<Published>>,
    versions: AtomicU64,
}

impl Observer {
    /// Returns a version that no other read has, though two may go on at the same time.
    pub(super) fn next_version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was read last, by which the next read is shorter.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) moment: Option<CommitMarker>,
    /// Whether the tables of sweeps exist.
    pub(super) has_sweeps: bool,
    seq: i64,
    pub(super) states: BTreeMap<MirrorKey, MirrorState>,
    pub(super) last_sweep: Option<SweepRecord>,
}

/// A listener for changes in the states of all mirrors.
#[derive(Debug)]
pub struct StateChanges {
    published: Listener<Published>,
    observer: Arc<Observer>,
    version: u64,
}

impl StateChanges {
    pub(super) fn of(observer: &Arc<Observer>) -> Self {
        Self {
            published: observer.published.listener(),
            version: version(observer.published.last().as_ref()),
            observer: Arc::clone(observer),
        }
    }

    /// Waits until the state of any mirror may have changed since the last call. Returns `false` if no more changes
    /// can follow.
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

pub(super) fn version(published: Option<&Published>) -> u64 {
    published.map_or(0, |published| published.version)
}

impl Memory {
    /// Reads the states of new mirrors and of those that may have changed.
    pub(super) async fn update(
        &mut self,
        tx: &Tx<'_, Local>,
        keys: &[MirrorKey],
    ) -> Result<(), Failure> {
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
        let (new_runs, seq) = read_mirror_states::changed_since(tx, &names, self.seq).await?;
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
        let read = read_mirror_states::read(tx, &changed).await?;
        self.states.extend(changed.into_iter().zip(read));
        for (key, checked_at) in unchanged_mirrors::of_tables(tx, &names).await? {
            if let Some(state) = self.states.get_mut(&key) {
                state.checked_at = Some(checked_at);
            }
        }
        self.seq = seq;
        Ok(())
    }
}
