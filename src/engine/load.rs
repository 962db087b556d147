//! The first load: relays the remote rows straight into the local table if the tenant has no meters there yet.
//!
//! The result is the same as with staging and planning, at half the cost. Rows that the table does not take this way
//! are staged and planned. Not all of them are at fault: for example, a row may refer to a later row.

use tokio_postgres::Row;

use crate::db::{DbError, Local, Remote, Tx};
use crate::model::Phase;

use super::apply::try_rows::{self, Rows};
use super::read::convert::Leftover;
use super::read::copy_format::Format;
use super::read::relay::{self, Target};
use super::relations::locks;
use super::{
    Extent, Job, Observer, SyncError, Synced, apply, enter, plan, read, record, scope::Scoped,
};

/// Loads the meters by COPY. Returns `None`, with nothing changed, if that is not possible: the tenant has local
/// meters already, or the local table is not suited.
pub(super) async fn load(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    relations: &Scoped,
    job: &Job<'_>,
    observer: &Observer,
) -> Result<Option<Synced>, SyncError> {
    if !relations.takes_copies || !is_empty(local, relations).await? {
        return Ok(None);
    }
    local.savepoint("load").await?;
    local.hold_rows().await?;
    let may_load = match relations.stores_rows_unchanged {
        true => locks::stores_rows_unchanged(local, relations).await?,
        // Foreign keys that act on updates do not matter, because a load updates nothing.
        false => relations.has_foreign_keys_acting_on_update,
    };
    if !may_load {
        return Ok(None);
    }
    // A constraint that is checked only at commit could not be traced to a row.
    local.batch(try_rows::CHECK).await?;
    let everything = Extent::everything();
    let to = (Target::Meters, Format::quickest(remote, local, relations));
    let (sides, what) = ((remote, local), (relations, &everything));
    let reading = relay::start(remote, what, to, job).await?;
    let relayed = relay::relay(sides, what, reading, job, observer).await?;
    let loaded = relayed.rows - relayed.left.rows;
    if loaded > 0 && is_empty(local, relations).await? {
        return Err(read::other_spelling(job));
    }
    let mut synced = Synced::default();
    if relayed.left.rows > 0 {
        let brought = bring_in(local, relations, job, (relayed.left, loaded), observer).await?;
        let Some(brought) = brought else {
            local.back_to("load").await?;
            return Ok(None);
        };
        synced = brought;
    }
    synced.counts.inserted += loaded;
    if synced.counts.inserted > 0 {
        enter(observer, Phase::Apply);
        let limit = i64::from(job.limits.change_limit);
        synced.changes_truncated = synced.counts.inserted > limit;
        let rows = Rows {
            first: 1,
            last: synced.counts.inserted.min(limit),
        };
        record::load(local, relations, job.run_id.as_uuid(), rows).await?;
    }
    Ok(Some(synced))
}

/// Inserts the rows that the COPY did not take, except those at fault. Returns `None` if another session has
/// inserted meters meanwhile.
async fn bring_in(
    local: &Tx<'_, Local>,
    relations: &Scoped,
    job: &Job<'_>,
    (left, loaded): (Leftover, i64),
    observer: &Observer,
) -> Result<Option<Synced>, SyncError> {
    enter(observer, Phase::Plan);
    let rows = left.rows;
    let converted = left.converted();
    let staged = read::settle(local, relations, job, (rows, converted)).await?;
    let twice = loaded_twice(local, relations).await?;
    if !twice.is_empty() && count(local, relations).await? > loaded {
        return Ok(None);
    }
    read::refuse_keys(job.tenant, &twice)?;
    // Meters that are loaded already need no comparison, and no meter is to be deactivated.
    let leftover = Extent::nothing(rows);
    let plan = plan::make(local, relations, job, &leftover, &staged).await?;
    enter(observer, Phase::Apply);
    // The caller records these changes together with the loaded meters.
    record::no_changes(local).await?;
    Ok(Some(
        apply::apply(local, relations, job, plan, staged).await?,
    ))
}

/// Finds keys of rows that the COPY did not take but that are in the local table by now. If only this run inserted
/// meters, the remote has these keys twice.
async fn loaded_twice(local: &Tx<'_, Local>, relations: &Scoped) -> Result<Vec<Row>, DbError> {
    let (table, filter) = (&relations.local, &relations.scope.local_filter);
    let (key, same_key) = (
        relations.places(&relations.key),
        relations.same_key("l", "k"),
    );
    let sql = format!(
        "-- look for keys loaded before
select {}::text
from (select {key} from pg_temp.meter_sync_stage union all select {key} from pg_temp.meter_sync_aside) k
join {table} l on {same_key} and {filter} limit {}",
        relations.key_json("k"),
        read::DUPLICATES_NAMED
    );
    local.query(&sql, &[]).await
}

async fn count(local: &Tx<'_, Local>, relations: &Scoped) -> Result<i64, DbError> {
    let sql = format!(
        "-- count the meters\nselect pg_catalog.count(*) from {} l where {}",
        relations.local, relations.scope.local_filter
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}

async fn is_empty(local: &Tx<'_, Local>, relations: &Scoped) -> Result<bool, DbError> {
    let sql = format!(
        "-- look for meters\nselect not exists (select from {} l where {})",
        relations.local, relations.scope.local_filter
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}
