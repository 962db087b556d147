//! Relays the tenant's rows from the remote snapshot into a local staging table by COPY.
//!
//! The bytes are passed on undecoded. The staging table has the local columns' types, so a value is
//! read once, by the local server, from what the remote wrote; where types differ that is text, of
//! which either can be made. A value that the local type will not take fails the whole COPY; the rows are then
//! fetched again from the same snapshot as plain text and converted set by set, and the rows at
//! fault are set aside.

use std::pin::pin;

use bytes::BytesMut;
use futures_util::SinkExt;
use tokio_postgres::Row;

use crate::db::{DbError, Local, Remote, SideName, Tx, json, quote};
use crate::meter::Rejection;

use super::format::Format;
use super::policies::may_hide_rows;
use super::{Extent, Job, Observer, Shape, SyncError, convert};

/// The tenant's remote rows, in the temporary table `meter_sync_stage`; the keys of rows that were
/// set aside in `meter_sync_aside`.
#[derive(Debug)]
pub(crate) struct Staged {
    /// How many rows the remote gave, set aside or not.
    pub(crate) rows: i64,
    /// Those that were set aside.
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
    local.savepoint("typed").await?;
    let to = (
        Target::Temporary("pg_temp.meter_sync_stage"),
        Format::quickest(&remote, shape),
    );
    let mut staged = match relay((&remote, local), (shape, extent), to, job, observer).await {
        Ok(rows) => {
            local.release("typed").await?;
            Staged {
                rows: extent.remote_rows.unwrap_or(rows),
                rejected: Vec::new(),
                unidentified: 0,
                may_be_hidden: false,
            }
        }
        Err(error) if error.is_about_a_row() && error.side() == SideName::Local => {
            local.back_to("typed").await?;
            convert::stage_as_text(&remote, local, (shape, extent), job, observer).await?
        }
        Err(error) => return Err(error.into()),
    };
    if staged.rows == 0 {
        staged.may_be_hidden = may_hide_rows(&remote, &job.mapping.source).await?;
    }
    remote.commit().await?;
    set_aside_without_key(local, shape, job, &mut staged).await?;
    let key = shape.places(&shape.key);
    local
        .batch(&format!(
            "-- analyze the staged rows\nanalyze pg_temp.meter_sync_stage ({key})"
        ))
        .await?;
    refuse_duplicates(local, shape, job).await?;
    Ok(staged)
}

async fn create_tables(local: &Tx<'_, Local>, shape: &Shape) -> Result<(), DbError> {
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

/// Where rows are relayed to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// The local table of the meters.
    Meters,
    /// A temporary table of ours.
    Temporary(&'a str),
}

/// How many bytes are passed on at a time.
const BATCH_BYTES: usize = 64 * 1024;

/// Relays the rows into the local table `to`, in that format; gives their number.
pub(super) async fn relay(
    (remote, local): (&Tx<'_, Remote>, &Tx<'_, Local>),
    (shape, extent): (&Shape, &Extent),
    (to, format): (Target<'_>, Format),
    job: &Job<'_>,
    observer: &Observer,
) -> Result<i64, DbError> {
    // A relay takes as long as the line does. That it goes on at all is watched row by row.
    remote.allow_each_statement(job.limits.run_timeout).await?;
    local.allow_each_statement(job.limits.run_timeout).await?;
    let (from, filter, within) = (&shape.remote_from, &shape.remote_filter, &extent.remote);
    let (columns, format) = (quote::columns("r.", &shape.names), format.name());
    let read = format!(
        "-- read the meters
copy (select {columns} from {from} r where {filter} and {within}) to stdout (format {format})"
    );
    let (to, columns) = match to {
        Target::Meters => (shape.local.as_str(), quote::columns("", &shape.names)),
        Target::Temporary(table) => (table, shape.places(&shape.names)),
    };
    let write = format!("-- stage the meters\ncopy {to} ({columns}) from stdin (format {format})");
    let mut source = pin!(remote.copy_out(&read).await?);
    let mut sink = pin!(local.copy_in(&write).await?);
    let mut batch = BytesMut::with_capacity(BATCH_BYTES);
    let tell = |rows| {
        observer.send_modify(|progress| {
            progress.rows = rows;
            progress.remote_bytes = remote.bytes_read();
        });
    };
    let mut pieces = 0;
    while let Some(piece) = remote.next(&mut source, "read the meters").await? {
        pieces += 1;
        batch.extend_from_slice(&piece);
        if batch.len() >= BATCH_BYTES {
            tell(pieces);
            patiently(local, sink.send(batch.split().freeze())).await?;
        }
    }
    patiently(local, sink.send(batch.freeze())).await?;
    let rows = patiently(local, sink.finish()).await?;
    // A piece is a row, but for the end of the binary format.
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    tell(rows);
    local
        .allow_each_statement(job.limits.statement_timeout)
        .await?;
    Ok(rows)
}

/// What the local server makes of what it is given, waited for no longer than for any answer.
async fn patiently<T>(
    local: &Tx<'_, Local>,
    taken: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, DbError> {
    let doing = "stage the meters";
    match tokio::time::timeout(local.patience(), taken).await {
        Ok(taken) => taken.map_err(|error| local.failed(doing, error)),
        Err(_elapsed) => Err(DbError::silence::<Local>(doing, local.patience())),
    }
}

/// Takes rows without a key out of the staging table.
async fn set_aside_without_key(
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
        "-- set aside rows without a key
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
        key: json::fields(row.get(0)),
        reason: reason.clone(),
    };
    staged.rejected.extend(rows.iter().map(reject));
    staged.unidentified += i64::try_from(rows.len()).unwrap_or(i64::MAX);
    Ok(())
}

/// How many duplicate keys an error names.
const DUPLICATES_NAMED: usize = 3;

async fn refuse_duplicates(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<(), SyncError> {
    let (key, keys) = (shape.places(&shape.key), shape.list("k", &shape.key));
    let key_json = shape.key_json("k");
    // Rows without a key are set aside each on its own.
    let whole = shape.has_key("k");
    let sql = format!(
        "-- look for duplicate keys
select {key_json}::text
from (select {key} from pg_temp.meter_sync_stage union all select {key} from pg_temp.meter_sync_aside) k
where {whole} group by {keys} having pg_catalog.count(*) > 1 order by {keys} limit {DUPLICATES_NAMED}"
    );
    let rows = local.query(&sql, &[]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let keys: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Err(SyncError::DuplicateSourceKey {
        tenant: job.tenant.clone(),
        keys: keys.join(", "),
    })
}
