//! The first load: copies the remote rows straight into the local table if the tenant has no local meters yet.
//!
//! The result is the same as with a staging table and a plan, at half the cost. Rows that the local table does not take
//! by COPY are staged and planned afterwards. Some of them are valid: for example, a row may refer to a later row.

use tokio_postgres::Row;

use crate::db::{DbError, Remote, Tx};
use crate::model::Phase;

use super::read::choose_copy_format::CopyFormat;
use super::read::convert_uncopied_rows::UncopiedRowConverter;
use super::read::copy_from_memory::CopyTarget;
use super::read::relay_rows;
use super::relations::lock_relations;
use super::write_by_halving::{self, RowRange};
use super::{
    RowSelection, RunContext, SyncError, SyncResult, apply, enter, plan, read, record_changes,
};

/// Loads the tenant's meters by COPY. Returns `None`, with nothing changed, if the tenant already has local meters, or
/// if the local table is not suited, for instance because it has triggers.
pub(super) async fn load(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
) -> Result<Option<SyncResult>, SyncError> {
    if !run.relations.takes_copies || !is_empty(run).await? {
        return Ok(None);
    }
    let loaded = run.local.attempt("load", relay_all(remote, run));
    Ok(loaded.await?.ok())
}

/// Says that a load is undone, because the local table may store other values than those copied, or because another
/// session has inserted meters meanwhile.
struct LoadUndone;

async fn relay_all(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
) -> Result<Result<SyncResult, LoadUndone>, SyncError> {
    let RunContext {
        local,
        relations,
        job,
        ..
    } = *run;
    local.shorten_idle_limit().await?;
    let may_load = match relations.stores_rows_unchanged {
        true => lock_relations::stores_rows_unchanged(local, relations).await?,
        // Foreign keys that act on updates do not matter here, because a load updates nothing.
        false => relations.has_foreign_keys_acting_on_update,
    };
    if !may_load {
        return Ok(Err(LoadUndone));
    }
    // A constraint that is checked only at commit could not be traced to a row.
    local.batch(write_by_halving::CHECK).await?;
    let everything = RowSelection::everything();
    let format = CopyFormat::quickest(remote, run);
    let reading = relay_rows::start(remote, run, &everything, CopyTarget::Meters, format).await?;
    let relayed = relay_rows::relay(remote, run, &everything, reading).await?;
    let loaded = relayed.rows - relayed.left.rows;
    if loaded > 0 && is_empty(run).await? {
        return Err(read::other_spelling(job));
    }
    let mut synced = SyncResult::default();
    if relayed.left.rows > 0 {
        let Ok(brought) = bring_in(run, relayed.left, loaded).await? else {
            return Ok(Err(LoadUndone));
        };
        synced = brought;
    }
    synced.counts.inserted += loaded;
    if synced.counts.inserted > 0 {
        enter(run.observer, Phase::Apply);
        let limit = i64::from(job.limits.change_limit);
        synced.changes_truncated = synced.counts.inserted > limit;
        let rows = RowRange {
            first: 1,
            last: synced.counts.inserted.min(limit),
        };
        record_changes::load(run, rows).await?;
    }
    Ok(Ok(synced))
}

/// Plans and inserts the rows that the COPY did not take, and rejects those that cannot be stored. `loaded` is the
/// number of rows that the COPY took. Returns the inner error if another session has inserted meters meanwhile.
async fn bring_in(
    run: &RunContext<'_>,
    left: UncopiedRowConverter,
    loaded: i64,
) -> Result<Result<SyncResult, LoadUndone>, SyncError> {
    enter(run.observer, Phase::Plan);
    let rows = left.rows;
    let converted = left.converted();
    let staged = read::settle(run, rows, converted).await?;
    let twice = loaded_twice(run).await?;
    if !twice.is_empty() && count(run).await? > loaded {
        return Ok(Err(LoadUndone));
    }
    read::refuse_keys(run.job.tenant, &twice)?;
    // Meters that are already loaded need no comparison, and no meter will be deactivated.
    let leftover = RowSelection::nothing(rows);
    let plan = plan::make(run, &leftover, &staged, 1).await?;
    enter(run.observer, Phase::Apply);
    // The caller records these changes together with the loaded meters.
    record_changes::no_changes(run.local).await?;
    Ok(Ok(apply::apply(run, plan, staged).await?))
}

/// Returns at most three keys of rows that the COPY did not take and that a local row now has. The remote has two rows
/// with such a key, unless another session has inserted meters.
async fn loaded_twice(run: &RunContext<'_>) -> Result<Vec<Row>, DbError> {
    let relations = run.relations;
    let (table, filter) = (&relations.local, &run.scope.local_filter);
    let (key, same_key) = (
        relations.temp_columns(&relations.key),
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
    run.local.query(&sql, &[]).await
}

async fn count(run: &RunContext<'_>) -> Result<i64, DbError> {
    let sql = format!(
        "-- count the meters\nselect pg_catalog.count(*) from {} l where {}",
        run.relations.local, run.scope.local_filter
    );
    Ok(run.local.query_one(&sql, &[]).await?.get(0))
}

async fn is_empty(run: &RunContext<'_>) -> Result<bool, DbError> {
    let sql = format!(
        "-- look for meters\nselect not exists (select 1 from {} l where {})",
        run.relations.local, run.scope.local_filter
    );
    Ok(run.local.query_one(&sql, &[]).await?.get(0))
}
