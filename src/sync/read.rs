//! Reads the tenant's rows into a local staging table.
//!
//! The staging table has the local columns' types, so a value is read once, by the local server, from what the remote
//! wrote. Rows with a value that the local type does not take are rejected.

use tokio_postgres::Row;

use crate::db::{DbError, Local, Remote, Tx, json, quote};
use crate::meter::{Rejection, TenantId};

use super::convert::Converted;
use super::format::Format;
use super::policies::may_hide_rows;
use super::relay::{self, Target};
use super::{Extent, Job, Observer, Shape, SyncError, rewritten};

/// The tenant's remote rows, in the temporary table `meter_sync_stage`; the keys of rows that were
/// rejected in `meter_sync_aside`.
#[derive(Debug)]
pub(crate) struct Staged {
    /// How many rows the remote gave, rejected or not.
    pub(crate) rows: i64,
    /// Those that were rejected.
    pub(crate) rejected: Vec<Rejection>,
    /// How many of these have no key that a local row could have.
    pub(crate) unidentified: i64,
    /// Whether there is none, and row security may hide them.
    pub(crate) may_be_hidden: bool,
}

/// Reads the tenant's rows into the staging table, and ends the remote transaction: the central
/// database does not keep a snapshot for us while we plan and write.
pub(crate) async fn stage(
    remote: Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    (shape, extent): (&Shape, &Extent),
    job: &Job<'_>,
    observer: &Observer,
) -> Result<Staged, SyncError> {
    create_tables(local, shape).await?;
    let to = (Target::Stage, Format::quickest(&remote, local, shape));
    let relayed = relay::relay((&remote, local), (shape, extent), to, job, observer).await?;
    let rows = extent.remote_rows.unwrap_or(relayed.rows);
    let may_be_hidden = rows == 0 && may_hide_rows(&remote, &job.mapping.source).await?;
    rewritten::end_reading(remote).await?;
    let converted = relayed.left.converted();
    let staged = settle(local, shape, job, (rows, converted)).await?;
    Ok(Staged {
        may_be_hidden,
        ..staged
    })
}

/// Makes staged rows ready to be compared.
pub(super) async fn settle(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (rows, converted): (i64, Converted),
) -> Result<Staged, SyncError> {
    let mut staged = Staged {
        rows,
        rejected: converted.rejected,
        unidentified: converted.unidentified,
        may_be_hidden: false,
    };
    reject_without_key(local, shape, job, &mut staged).await?;
    let key = shape.places(&shape.key);
    local
        .batch(&format!(
            "-- analyze the staged rows\nanalyze pg_temp.meter_sync_stage ({key})"
        ))
        .await?;
    refuse_duplicates(local, shape, job).await?;
    refuse_other_spelling(local, shape, job).await?;
    Ok(staged)
}

pub(super) async fn create_tables(local: &Tx<'_, Local>, shape: &Shape) -> Result<(), DbError> {
    let placed = |name: &str| format!("{} as {}", shape.column("l", name), shape.place(name));
    let columns = quote::list(&shape.names, ", ", placed);
    let key = quote::list(&shape.key, ", ", placed);
    let table = &shape.local;
    local
        .batch(&format!(
            "-- create the staging tables
create temp table meter_sync_stage on commit drop as select {columns} from {table} l with no data;
create temp table meter_sync_aside on commit drop as select {key} from {table} l with no data"
        ))
        .await
}

/// Refuses rows that would not be the tenant's here: a local type that compares by text may tell apart what is one id to the
/// remote, such as `7` and `7.00`.
async fn refuse_other_spelling(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<(), SyncError> {
    let tenant = &job.mapping.tenant_column;
    if !shape.names.contains(tenant) {
        return Ok(());
    }
    let (value, equals) = (shape.column("s", tenant), shape.equals(tenant));
    let id = quote::literal(job.tenant.as_str());
    let sql = format!(
        "-- look for rows of no tenant here
select 1 from pg_temp.meter_sync_stage s where ({value} {equals} {id}) is not true limit 1"
    );
    match local.query_opt(&sql, &[]).await? {
        Some(_) => Err(other_spelling(job)),
        None => Ok(()),
    }
}

/// The remote writes the tenant's id in another way than the setting.
pub(super) fn other_spelling(job: &Job<'_>) -> SyncError {
    let (table, column) = (&job.mapping.local_table, &job.mapping.tenant_column);
    SyncError::LocalSchema(format!(
        "column {column} of table {table} would hold the tenant's id as the remote writes it, which is another one here than \"{}\": \
         give the column the type that it has on the remote, or set METER_SYNC_TENANT_ID as the remote writes the id",
        job.tenant
    ))
}

/// Takes rows without a key out of the staging table.
async fn reject_without_key(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    staged: &mut Staged,
) -> Result<(), SyncError> {
    let is_null = quote::list(&shape.key, " or ", |name| {
        format!("{} is null", shape.column("s", name))
    });
    let key = shape.key_json("s");
    let limit = job.limits.rejected_limit as usize;
    let left = limit.saturating_sub(staged.rejected.len());
    let sql = format!(
        "-- reject rows without a key
with taken as (
    delete from pg_temp.meter_sync_stage s where {is_null} returning {key}::text as key
)
select k.key from taken k limit {left} + 1"
    );
    let rows = local.query(&sql, &[]).await?;
    let reason = "the key is null".to_owned();
    if rows.len() > left {
        return Err(SyncError::TooManyRejected {
            tenant: job.tenant.clone(),
            limit,
            reason,
        });
    }
    let reject = |row: &Row| Rejection {
        key: json::stored_fields(row.get(0)),
        reason: reason.clone(),
    };
    staged.rejected.extend(rows.iter().map(reject));
    staged.unidentified += i64::try_from(rows.len()).unwrap_or(i64::MAX);
    Ok(())
}

/// How many duplicate keys an error names.
pub(crate) const DUPLICATES_NAMED: usize = 3;

async fn refuse_duplicates(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<(), SyncError> {
    let (key, keys) = (shape.places(&shape.key), shape.list("k", &shape.key));
    let key_json = shape.key_json("k");
    // Rows without a key are rejected each on its own.
    let whole = shape.has_key("k");
    let sql = format!(
        "-- look for duplicate keys
select {key_json}::text
from (select {key} from pg_temp.meter_sync_stage union all select {key} from pg_temp.meter_sync_aside) k
where {whole} group by {keys} having pg_catalog.count(*) > 1 order by {keys} limit {DUPLICATES_NAMED}"
    );
    let rows = local.query(&sql, &[]).await?;
    refuse_keys(job.tenant, &rows)
}

/// Refuses the keys that the rows name, if there are any.
pub(crate) fn refuse_keys(tenant: &TenantId, rows: &[Row]) -> Result<(), SyncError> {
    if rows.is_empty() {
        return Ok(());
    }
    // A remote in SQL_ASCII may hold bytes that are no UTF-8.
    let key = |row: &Row| row.try_get(0).unwrap_or_else(|_| "(not UTF-8)".to_owned());
    let keys: Vec<String> = rows.iter().map(key).collect();
    Err(SyncError::DuplicateSourceKey {
        tenant: tenant.clone(),
        keys: keys.join(", "),
    })
}
