//! The *look*: the first step of a sweep (a check of all mirrors). It finds out which of many mirrors are unchanged.
//!
//! Mirrors that share a local table are compared in one transaction on each side. If each mirror has a local table of
//! its own, the local tables are read in several transactions. One statement records that the unchanged mirrors were
//! found so.

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::config::{Mapping, SourceSetting};
use crate::db::{Database, DbError, Local, Remote, Tx};
use crate::engine::{
    self, BATCHES_AT_ONCE, LocalTableFinding, SweepResult, SweptMirror, SyncError, TABLES_AT_ONCE,
    TablePerTenantSweep,
};
use crate::error::Failure;
use crate::mirrors::mirror::TenantAndMirror;
use crate::mirrors::mirror_keys::keys;
use crate::mirrors::registry::Mirrors;
use crate::model::TenantId;
use crate::store::unchanged_mirrors::{self, MirrorKey};

impl Mirrors {
    /// Finds out which of the mirrors are unchanged, which means that both sides are still equal. Unless this is a dry
    /// run, records in the local database when they were found unchanged.
    pub(super) async fn look(
        &self,
        mirrors: &[&TenantAndMirror],
        dry_run: bool,
    ) -> Result<SweepResult, Failure> {
        let (Some(remote), Some(local)) = (&self.remote, &self.local) else {
            return Err(self.unconfigured());
        };
        let mapping = &self.config().mapping;
        let looked = Box::pin(look(remote, local, mapping, mirrors, dry_run)).await;
        looked.map_err(|error| engine::failure(&error, &mapping.source))
    }
}

async fn look(
    remote: &Database<Remote>,
    local: &Database<Local>,
    mapping: &Mapping,
    mirrors: &[&TenantAndMirror],
    dry_run: bool,
) -> Result<SweepResult, SyncError> {
    let read = async |tx: &Tx<'_, Local>| {
        Ok::<_, DbError>((time(tx).await?, keys(tx, mirrors.iter().copied()).await?))
    };
    let (at, keys) = local.read("sweep", read).await?;
    let swept = swept(mirrors, &keys);
    let mut found = match mapping.has_table_per_tenant() {
        true => look_at_own_tables(remote, local, mapping, &swept).await?,
        false => look_at_shared_table(remote, local, mapping, &swept).await?,
    };
    if !dry_run {
        let note = async |tx: &Tx<'_, Local>| {
            found.remember(tx).await?;
            let equal = keys.iter().zip(&found.is_equal);
            let equal = equal.filter(|(_, is_equal)| **is_equal);
            let equal = equal.map(|(key, _)| key);
            Ok::<_, SyncError>(unchanged_mirrors::mark(tx, equal, at).await?)
        };
        local.write("sweep", note).await?;
    }
    Ok(found)
}

async fn look_at_shared_table(
    remote: &Database<Remote>,
    local: &Database<Local>,
    mapping: &Mapping,
    mirrors: &[SweptMirror<'_>],
) -> Result<SweepResult, SyncError> {
    let mut here = local.connect().await?;
    let tx = here.begin_for_run("sweep").await?;
    let mut there = remote.connect().await?;
    let locks = engine::locks_of(&mut there, &mapping.source, false).await?;
    let snapshot = there.snapshot("sweep", &locks).await?;
    let found = engine::sweep(snapshot, &tx, mapping, mirrors).await;
    there.discard();
    found
}

async fn look_at_own_tables(
    remote: &Database<Remote>,
    local: &Database<Local>,
    mapping: &Mapping,
    mirrors: &[SweptMirror<'_>],
) -> Result<SweepResult, SyncError> {
    let mut there = remote.connect().await?;
    let before = there.snapshot("look at the source", &[]).await?;
    let sweep = TablePerTenantSweep::begin(before, mapping).await?;
    drop(there);
    let batches = mirrors.chunks(TABLES_AT_ONCE);
    let looks = batches.map(|some| read_own_tables(&sweep, local, &mapping.source, some));
    let looks: Vec<_> = looks.collect();
    let looks = stream::iter(looks).buffered(BATCHES_AT_ONCE);
    let findings: Vec<LocalTableFinding> = looks.try_concat().await?;
    let tenants: Vec<TenantId> = mirrors.iter().map(|one| one.tenant.clone()).collect();
    let mut there = remote.connect().await?;
    let locks = engine::locks_of(&mut there, &mapping.source, false).await?;
    let snapshot = there.snapshot("sweep", &locks).await?;
    let found = Box::pin(sweep.compare(snapshot, mapping, &tenants, &findings)).await;
    there.discard();
    found
}

/// Reads the local tables of these mirrors in one transaction. If that fails, returns [`LocalTableFinding::Nothing`]
/// for each mirror, so that each gets a run. Fails only if the local database cannot be used at all.
async fn read_own_tables(
    sweep: &TablePerTenantSweep,
    local: &Database<Local>,
    source: &SourceSetting,
    mirrors: &[SweptMirror<'_>],
) -> Result<Vec<LocalTableFinding>, SyncError> {
    let mut here = local.connect().await?;
    let tx = here.begin_for_run("sweep").await?;
    match sweep.look(&tx, mirrors).await {
        Err(SyncError::Database(error)) if error.ends_the_connection() && !tx.is_answer_due() => {
            Err(error.into())
        }
        Err(error) => {
            drop(tx);
            here.discard();
            let tenants = mirrors.iter().map(|one| one.tenant.as_str());
            let tenants = tenants.collect::<Vec<_>>().join(", ");
            let error = engine::failure(&error, source);
            tracing::warn!(%error, %tenants, "some local tables could not be looked at together, so each gets a run");
            Ok(vec![LocalTableFinding::Nothing; mirrors.len()])
        }
        findings => findings,
    }
}

/// Combines the mirrors and their keys to the input of the engine's sweep functions.
fn swept<'m>(mirrors: &[&'m TenantAndMirror], keys: &'m [MirrorKey]) -> Vec<SweptMirror<'m>> {
    let swept = mirrors.iter().zip(keys).map(|(known, key)| {
        let mapping = known.mirror.mapping();
        SweptMirror {
            mapping,
            tenant: mapping.tenant.as_ref().unwrap_or(&known.id),
            key,
        }
    });
    swept.collect()
}

/// Returns the time at which the transaction began, by the local database's clock.
async fn time(tx: &Tx<'_, Local>) -> Result<DateTime<Utc>, DbError> {
    let row = tx.query_one("-- tell the time\nselect now()", &[]).await?;
    Ok(row.get(0))
}
