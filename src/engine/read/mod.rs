//! Reads the tenant's remote rows into a local staging table.
//!
//! The staging table has the types of the local columns. This process does not decode values: the local server reads
//! the bytes that the remote wrote. Rows with a value that the local type does not take are rejected.

use tokio_postgres::Row;

use crate::db::{DbError, EndedTx, Remote, Tx, both, quote, read_lossless_json};
use crate::model::{Rejection, TenantId, saturating_i64};

use super::relations::detect_row_security::may_hide_rows;
use super::{RowSelection, RunContext, SyncError, SyncJob, stage_local_rows};
use choose_copy_format::CopyFormat;
use convert_uncopied_rows::RejectedRows;
use copy_from_memory::CopyTarget;
use relay_rows::RelayReport;

pub(super) mod choose_copy_format;
pub(super) mod commit_unless_rewritten;
pub(super) mod conversion_sql;
pub(super) mod convert_uncopied_rows;
pub(super) mod copy_from_memory;
mod misfit_values;
mod oversized_rows;
mod recode_rows;
pub(super) mod relay_rows;
mod split_copy_data;

/// The remote rows that were read into the temporary table `meter_sync_stage`. The temporary table `meter_sync_aside`
/// has the keys of rejected rows, except keys that no local row can have.
#[derive(Debug)]
pub(crate) struct StagedRows {
    /// How many rows the remote has for the tenant, including rows that were rejected or were not selected for reading.
    pub(crate) rows: i64,
    /// The rows that were rejected.
    pub(crate) rejected: Vec<Rejection>,
    /// How many of the rejected rows have a key that no local row can have, such as NULL.
    pub(crate) unidentified: i64,
    /// Whether [`stage_local_rows::select`] has put the local rows of the selection into a temporary table.
    pub(crate) has_candidates: bool,
    /// Whether the remote shows no row of the tenant at all, and row security may be the reason.
    pub(crate) may_be_hidden: bool,
    /// How many rows were read.
    pub(crate) read: i64,
    /// Whether `overwrite` may be worth a try: both sides have the same keys, a large part of the tenant's rows was
    /// read, and these are a large part of the local table. The rows are then not yet prepared for a plan
    /// ([`prepare_to_plan`]).
    pub(crate) may_overwrite: bool,
}

/// If at least one row in so many is written, overwriting costs less than a plan.
const MANY: i64 = 4;

/// Creates the staging table and reads the remote rows of the selection into it, see [`read_selected`].
pub(crate) async fn stage<'r>(
    remote: Tx<'r, Remote>,
    run: &RunContext<'_>,
    selection: RowSelection,
) -> Result<StagedSelection<'r>, SyncError> {
    create_tables(run).await?;
    read_selected(remote, run, selection).await
}

/// A selection of rows, these rows as they were staged, and the remote transaction, which has ended.
pub(crate) type StagedSelection<'r> = (RowSelection, StagedRows, EndedTx<'r>);

/// Reads the remote rows of the selection into the staging table, and ends the remote transaction, so that the remote
/// keeps no snapshot while the run plans and writes.
pub(super) async fn read_selected<'r>(
    remote: Tx<'r, Remote>,
    run: &RunContext<'_>,
    selection: RowSelection,
) -> Result<StagedSelection<'r>, SyncError> {
    let format = CopyFormat::quickest(&remote, run);
    let reading = relay_rows::start(&remote, run, &selection, CopyTarget::Stage, format);
    // If all rows are read, all local rows are candidates, so selecting them into a table would only cost time.
    let has_candidates = selection.remote_rows.is_some() && !selection.has_no_local_rows();
    let selecting = async {
        match has_candidates {
            true => stage_local_rows::select(run, &selection).await,
            false => Ok(()),
        }
    };
    let (reading, ()) = both(reading, selecting).await?;
    let relayed = relay_rows::relay(&remote, run, &selection, reading).await?;
    let (staged, ended) = finish(remote, run, &selection, relayed, has_candidates).await?;
    Ok((selection, staged, ended))
}

/// Ends the remote transaction after the rows of the selection were staged, and prepares these for the plan or for
/// being overwritten. `has_candidates` is whether [`stage_local_rows::select`] has listed the local rows.
pub(super) async fn finish<'r>(
    remote: Tx<'r, Remote>,
    run: &RunContext<'_>,
    selection: &RowSelection,
    relayed: RelayReport,
    has_candidates: bool,
) -> Result<(StagedRows, EndedTx<'r>), SyncError> {
    let rows = selection.remote_rows.unwrap_or(relayed.rows);
    let may_be_hidden = rows == 0 && may_hide_rows(&remote, &run.job.mapping.source).await?;
    let ended = commit_unless_rewritten::commit_unless_rewritten(remote).await?;
    let converted = relayed.left.converted();
    let mut staged = StagedRows {
        rows,
        rejected: converted.rejected,
        unidentified: converted.unidentified,
        has_candidates,
        may_be_hidden,
        read: relayed.rows,
        may_overwrite: selection.has_same_keys
            && relayed.rows * MANY >= rows
            && rows * MANY >= run.relations.estimated_rows,
    };
    match staged.may_overwrite {
        true => refuse_other_spelling(run).await?,
        false => prepare_to_plan(run, &mut staged).await?,
    }
    Ok((staged, ended))
}

/// Prepares the staged rows for the plan: rejects rows without a key. Returns an error if two rows have the same key,
/// or if the local table would not assign a row to the tenant, because the remote spells the tenant's id in another
/// way.
pub(super) async fn settle(
    run: &RunContext<'_>,
    rows: i64,
    converted: RejectedRows,
) -> Result<StagedRows, SyncError> {
    let mut staged = StagedRows {
        rows,
        rejected: converted.rejected,
        unidentified: converted.unidentified,
        has_candidates: false,
        may_be_hidden: false,
        read: rows,
        may_overwrite: false,
    };
    prepare_to_plan(run, &mut staged).await?;
    Ok(staged)
}

/// Rejects staged rows without a key, and looks for those that make the run fail, see [`settle`]. Gives the planner
/// statistics of the staged keys.
pub(super) async fn prepare_to_plan(
    run: &RunContext<'_>,
    staged: &mut StagedRows,
) -> Result<(), SyncError> {
    reject_without_key(run, staged).await?;
    let key = run.relations.temp_columns(&run.relations.key);
    run.local
        .batch(&format!(
            "-- analyze the staged rows\nanalyze pg_temp.meter_sync_stage ({key})"
        ))
        .await?;
    refuse_duplicates(run).await?;
    refuse_other_spelling(run).await
}

pub(super) async fn create_tables(run: &RunContext<'_>) -> Result<(), DbError> {
    let relations = run.relations;
    let placed = |name: &str| {
        format!(
            "{} as {}",
            relations.column("l", name),
            relations.temp_column(name)
        )
    };
    let columns = quote::list(&relations.names, ", ", placed);
    let key = quote::list(&relations.key, ", ", placed);
    let table = &relations.local;
    run.local
        .batch(&format!(
            "-- create the staging tables
create temp table meter_sync_stage on commit drop as select {columns} from {table} l with no data;
create temp table meter_sync_aside on commit drop as select {key} from {table} l with no data"
        ))
        .await
}

/// Returns an error if the local table would not assign a staged row to the tenant. This happens if the local type
/// compares ids as text, and so distinguishes ids that are equal on the remote, such as `7` and `7.00`.
async fn refuse_other_spelling(run: &RunContext<'_>) -> Result<(), SyncError> {
    let RunContext { relations, job, .. } = *run;
    let tenant = &job.mapping.tenant_column;
    if !relations.names.contains(tenant) {
        return Ok(());
    }
    let (value, equals) = (relations.column("s", tenant), relations.equals(tenant));
    let id = quote::literal(job.tenant.as_str());
    let sql = format!(
        "-- look for rows of no tenant here
select 1 from pg_temp.meter_sync_stage s where ({value} {equals} {id}) is not true limit 1"
    );
    match run.local.query_opt(&sql, &[]).await? {
        Some(_) => Err(other_spelling(job)),
        None => Ok(()),
    }
}

/// Returns the error for a remote that spells the tenant's id in another way than the job does.
pub(super) fn other_spelling(job: &SyncJob<'_>) -> SyncError {
    let (table, column) = (&job.mapping.local_table, &job.mapping.tenant_column);
    SyncError::LocalSchema(format!(
        "column {column} of table {table} would hold the tenant's id as the remote writes it, which is another one here than \"{}\": \
         give the column the type that it has on the remote, or set METER_SYNC_TENANT_ID as the remote writes the id",
        job.tenant
    ))
}

/// Rejects staged rows with NULL in their key, and deletes them from the staging table. Fails if too many rows are
/// rejected.
async fn reject_without_key(
    run: &RunContext<'_>,
    staged: &mut StagedRows,
) -> Result<(), SyncError> {
    let relations = run.relations;
    let is_null = quote::list(&relations.key, " or ", |name| {
        format!("{} is null", relations.column("s", name))
    });
    let key = relations.key_json("s");
    let limit = run.job.limits.rejected_limit as usize;
    let left = limit.saturating_sub(staged.rejected.len());
    let sql = format!(
        "-- reject rows without a key
with taken as (
    delete from pg_temp.meter_sync_stage s where {is_null} returning {key}::text as key
)
select k.key from taken k limit {left} + 1"
    );
    let rows = run.local.query(&sql, &[]).await?;
    let reason = "the key is null".to_owned();
    if rows.len() > left {
        return Err(SyncError::TooManyRejected {
            tenant: run.job.tenant.clone(),
            limit,
            reason,
        });
    }
    let reject = |row: &Row| Rejection {
        key: read_lossless_json::stored_fields(row.get(0)),
        reason: reason.clone(),
    };
    staged.rejected.extend(rows.iter().map(reject));
    staged.unidentified += saturating_i64(rows.len());
    Ok(())
}

/// How many duplicate keys an error names at most.
pub(crate) const DUPLICATES_NAMED: usize = 3;

async fn refuse_duplicates(run: &RunContext<'_>) -> Result<(), SyncError> {
    let relations = run.relations;
    let (key, keys) = (
        relations.temp_columns(&relations.key),
        relations.list("k", &relations.key),
    );
    let key_json = relations.key_json("k");
    // Rows without a key are not duplicates. Each is rejected by itself.
    let whole = relations.has_key("k");
    let sql = format!(
        "-- look for duplicate keys
select {key_json}::text
from (select {key} from pg_temp.meter_sync_stage union all select {key} from pg_temp.meter_sync_aside) k
where {whole} group by {keys} having pg_catalog.count(*) > 1 order by {keys} limit {DUPLICATES_NAMED}"
    );
    let rows = run.local.query(&sql, &[]).await?;
    refuse_keys(run.job.tenant, &rows)
}

/// Returns the error for duplicate remote keys, unless `rows` is empty. Each row of `rows` has one such key, as the
/// text of a JSON object.
pub(crate) fn refuse_keys(tenant: &TenantId, rows: &[Row]) -> Result<(), SyncError> {
    if rows.is_empty() {
        return Ok(());
    }
    // Keys from a remote in SQL_ASCII may have bytes that are not valid UTF-8.
    let key = |row: &Row| row.try_get(0).unwrap_or_else(|_| "(not UTF-8)".to_owned());
    let keys: Vec<String> = rows.iter().map(key).collect();
    Err(SyncError::DuplicateSourceKey {
        tenant: tenant.clone(),
        keys: keys.join(", "),
    })
}
