//! The first load: where the tenant has no meters here yet, the remote rows are relayed straight into
//! the local table.
//!
//! What comes out is what staging and planning would have come to, at half the cost. Rows that the table does not take
//! so are staged and planned; among them may be some that are not at fault, such as one that refers to a later row.

use tokio_postgres::Row;

use crate::db::{DbError, Local, Remote, Tx};
use crate::meter::Phase;

use super::convert::Leftover;
use super::format::Format;
use super::rejected::{self, Rows};
use super::relay::{self, Target};
use super::{
    Extent, Job, Observer, Shape, SyncError, Synced, apply, enter, locks, plan, read, record,
};

/// Loads the meters, if they can be loaded so; `None` if not, with nothing changed.
pub(super) async fn load(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    observer: &Observer,
) -> Result<Option<Synced>, SyncError> {
    if !shape.takes_copies || !is_empty(local, shape).await? {
        return Ok(None);
    }
    local.savepoint("load").await?;
    local.hold_rows().await?;
    let may_load = match shape.keeps_what_is_written {
        true => locks::keeps_what_is_written(local, shape).await?,
        // Nothing is updated, so that no key acts.
        false => shape.has_acting_keys,
    };
    if !may_load {
        return Ok(None);
    }
    // A constraint checked only at commit could not be traced to a row.
    local.batch(rejected::CHECK).await?;
    let everything = Extent::everything();
    let to = (Target::Meters, Format::quickest(remote, local, shape));
    let relayed = relay::relay((remote, local), (shape, &everything), to, job, observer).await?;
    let loaded = relayed.rows - relayed.left.rows;
    if loaded > 0 && is_empty(local, shape).await? {
        return Err(read::other_spelling(job));
    }
    let mut synced = Synced::default();
    if relayed.left.rows > 0 {
        let brought = bring_in(local, shape, job, (relayed.left, loaded), observer).await?;
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
        record::load(local, shape, job.run_id.as_uuid(), rows).await?;
    }
    Ok(Some(synced))
}

/// Brings in the rows that a COPY did not take, but for those at fault; `None` where somebody else inserted meters meanwhile.
async fn bring_in(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (left, loaded): (Leftover, i64),
    observer: &Observer,
) -> Result<Option<Synced>, SyncError> {
    enter(observer, Phase::Plan);
    let rows = left.rows;
    let converted = left.converted();
    let staged = read::settle(local, shape, job, (rows, converted)).await?;
    let twice = loaded_twice(local, shape).await?;
    if !twice.is_empty() && count(local, shape).await? > loaded {
        return Ok(None);
    }
    read::refuse_keys(job.tenant, &twice)?;
    // The meters that are in already are not to be compared, and none is to go.
    let leftover = Extent::nothing(rows);
    let plan = plan::make(local, shape, job, &leftover, &staged).await?;
    enter(observer, Phase::Apply);
    // They are recorded together with those.
    record::no_changes(local).await?;
    Ok(Some(apply::apply(local, shape, job, plan, staged).await?))
}

/// Keys of rows that were not taken which are here by now: those of rows that were loaded are keys that the remote gives twice.
async fn loaded_twice(local: &Tx<'_, Local>, shape: &Shape) -> Result<Vec<Row>, DbError> {
    let (table, filter) = (&shape.local, &shape.local_filter);
    let (key, same_key) = (shape.places(&shape.key), shape.same_key("l", "k"));
    let sql = format!(
        "-- look for keys loaded before
select {}::text
from (select {key} from pg_temp.meter_sync_stage union all select {key} from pg_temp.meter_sync_aside) k
join {table} l on {same_key} and {filter} limit {}",
        shape.key_json("k"),
        read::DUPLICATES_NAMED
    );
    local.query(&sql, &[]).await
}

async fn count(local: &Tx<'_, Local>, shape: &Shape) -> Result<i64, DbError> {
    let sql = format!(
        "-- count the meters\nselect pg_catalog.count(*) from {} l where {}",
        shape.local, shape.local_filter
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}

async fn is_empty(local: &Tx<'_, Local>, shape: &Shape) -> Result<bool, DbError> {
    let sql = format!(
        "-- look for meters\nselect not exists (select from {} l where {})",
        shape.local, shape.local_filter
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}
