//! Copies rows from the remote snapshot into a local table by COPY, without decoding them. Each row is read once.
//!
//! The remote writes one COPY, which the local server reads as several COPYs, each under a savepoint. If the local
//! server refuses a row, the COPY with this row is undone, and its rows, which are still in memory, are given to
//! [`UncopiedRowConverter`]. So a refused row causes no second read, however slow the connection is. Memory is bounded
//! by one local COPY or one row, whichever is larger.

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::CopyOutStream;

use crate::db::{DbError, Local, Remote, SideName, Tx, quote};
use crate::model::saturating_i64;

use super::choose_copy_format::CopyFormat;
use super::convert_uncopied_rows::UncopiedRowConverter;
use super::copy_from_memory::{CopyTarget, PIECE_BYTES, copy_again, patiently};
use super::{oversized_rows, recode_rows, split_copy_data};
use crate::engine::{ProgressSender, Relations, RowSelection, RunContext, SyncError};

/// How many rows [`relay`] has read, and which of them it could not copy.
pub(in crate::engine) struct RelayReport {
    /// How many rows of the selection the remote has, including those in `left`.
    pub(in crate::engine) rows: i64,
    /// The rows that the target table did not take by COPY, including rows too long to send.
    pub(in crate::engine) left: UncopiedRowConverter,
}

/// How many bytes go into one local COPY: enough to make its round trips negligible, and few enough to keep in
/// memory.
const COPY_BYTES: usize = 2 * 1024 * 1024;

/// A COPY that the remote has begun to send, its format, and the local table for its rows.
pub(in crate::engine) struct OpenRemoteCopy {
    rows: CopyOutStream,
    to: CopyTarget,
    format: CopyFormat,
}

/// Starts the COPY of the selected rows on the remote. [`relay`] then copies the rows into the local table `to`.
pub(in crate::engine) async fn start(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    selection: &RowSelection,
    to: CopyTarget,
    format: CopyFormat,
) -> Result<OpenRemoteCopy, DbError> {
    // A relay may take as long as the connection needs. Each row has a timeout of its own, which detects a stall.
    let limit = remote.allow_each_statement(run.job.limits.run_timeout);
    let sql = read(run, selection, &format);
    // Both are sent at once, in this order.
    let (limited, rows) = tokio::join!(limit, remote.copy_out(&sql));
    limited?;
    Ok(OpenRemoteCopy {
        rows: rows?,
        to,
        format,
    })
}

/// Copies the rows that [`start`] has requested from the remote into the local table. Rows that this table does not
/// take are converted one set at a time, and rejected if they do not convert.
pub(in crate::engine) async fn relay(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    selection: &RowSelection,
    OpenRemoteCopy { rows, to, format }: OpenRemoteCopy,
) -> Result<RelayReport, SyncError> {
    let RunContext { local, job, .. } = *run;
    local.allow_each_statement(job.limits.run_timeout).await?;
    let rows_before = run.observer.borrow().rows;
    let mut from = RemoteRowStream {
        remote,
        rows: pin!(rows),
        progress: ReadProgressReporter {
            remote,
            observer: run.observer,
            before: job.earlier.bytes,
        },
        format: format.clone(),
        rows_arrived: rows_before,
        is_over: false,
    };
    let write = write(run.relations, to, &format);
    let mut left = UncopiedRowConverter::new(to, format.clone());
    let mut rows = 0;
    while !from.is_over {
        let mut kept = Vec::new();
        let copied = local.attempt("copy", async {
            match copy(&mut from, local, &write, &mut kept).await {
                Err(error) if error.is_about_a_row() && error.side() == SideName::Local => {
                    Ok(Err(error))
                }
                copied => copied.map(Ok),
            }
        });
        rows += match copied.await? {
            Ok(taken) => taken,
            Err(_refused) => Box::pin(left.take(run, &kept)).await?,
        };
    }
    from.progress.rows(rows_before + rows);
    if job.earlier.leaves_long_rows {
        let long = oversized_rows::find(remote, run, selection, &format).await?;
        rows += Box::pin(left.take_long(run, &long)).await?;
    }
    local
        .allow_each_statement(job.limits.statement_timeout)
        .await?;
    Ok(RelayReport { rows, left })
}

fn read(run: &RunContext<'_>, selection: &RowSelection, format: &CopyFormat) -> String {
    let long = oversized_rows::left_out(run, format);
    let (from, filter, within) = (
        &run.relations.remote_from,
        &run.scope.remote_filter,
        &selection.remote,
    );
    let columns = format.columns(run.relations);
    format!(
        "-- read the meters
copy (select {} from {from} r where {filter} and {within}{long}) to stdout ({})",
        columns.join(", "),
        format.to_write()
    )
}

fn write(relations: &Relations, to: CopyTarget, format: &CopyFormat) -> String {
    let (to, columns) = match to {
        CopyTarget::Meters => (
            relations.local.as_str(),
            quote::columns("", &relations.names),
        ),
        CopyTarget::Stage => (
            "pg_temp.meter_sync_stage",
            relations.temp_columns(&relations.names),
        ),
    };
    let format = format.to_read();
    format!("-- stage the meters\ncopy {to} ({columns}) from stdin ({format})")
}

/// Copies the next rows to the local server, as many as go into one COPY, and returns their number. Also puts these
/// rows into `kept`, in pieces of whole rows, so that they are not lost if the COPY fails.
async fn copy(
    from: &mut RemoteRowStream<'_, '_>,
    local: &Tx<'_, Local>,
    write: &str,
    kept: &mut Vec<Bytes>,
) -> Result<i64, DbError> {
    if let Some(encoding) = from.format.recoded().map(str::to_owned) {
        // While rows are read, the local transaction is idle. Its server allows that only for a short time.
        let read = from.next_pieces(local.answer_limit() / 4).await?;
        *kept = recode_rows::to_utf8(local, &from.format, &encoding, read).await?;
        return copy_again(local, write, &from.format, kept).await;
    }
    let mut sink = pin!(local.copy_in(write).await?);
    let mut bytes = 0;
    let head = split_copy_data::head(&from.format);
    patiently(local, sink.send(Bytes::from_static(head))).await?;
    while bytes < COPY_BYTES
        && let Some(piece) = from.next().await?
    {
        bytes += piece.len();
        kept.push(piece.clone());
        patiently(local, sink.send(piece)).await?;
    }
    let tail = split_copy_data::tail(&from.format);
    patiently(local, sink.send(Bytes::from_static(tail))).await?;
    let rows = patiently(local, sink.finish()).await?;
    Ok(saturating_i64(rows))
}

/// The stream of rows that the remote writes.
struct RemoteRowStream<'t, 'c> {
    remote: &'t Tx<'c, Remote>,
    rows: Pin<&'t mut CopyOutStream>,
    progress: ReadProgressReporter<'t, 'c>,
    format: CopyFormat,
    /// The number of rows of this run that have arrived so far.
    rows_arrived: i64,
    is_over: bool,
}

impl RemoteRowStream<'_, '_> {
    /// Returns the next rows, in pieces. Stops after about [`COPY_BYTES`], or after about the time `longest`.
    async fn next_pieces(&mut self, longest: Duration) -> Result<Vec<Bytes>, DbError> {
        let begun = Instant::now();
        let mut pieces = Vec::new();
        let mut bytes = 0;
        while bytes < COPY_BYTES
            && begun.elapsed() < longest
            && let Some(piece) = self.next().await?
        {
            bytes += piece.len();
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// Returns the next whole rows as one piece of bytes; `None` after the last row.
    async fn next(&mut self) -> Result<Option<Bytes>, DbError> {
        let mut piece = BytesMut::new();
        while !self.is_over && piece.len() < PIECE_BYTES {
            let Some(row) = self.remote.next(&mut self.rows, "read the meters").await? else {
                self.is_over = true;
                break;
            };
            let row = split_copy_data::without_head_and_tail(&self.format, row);
            self.rows_arrived += i64::from(!row.is_empty());
            // A long row is passed on without copying it.
            if piece.is_empty() && row.len() >= PIECE_BYTES {
                self.progress.rows(self.rows_arrived);
                return Ok(Some(row));
            }
            piece.extend_from_slice(&row);
        }
        self.progress.rows(self.rows_arrived);
        Ok((!piece.is_empty()).then(|| piece.freeze()))
    }
}

/// Publishes how many rows and bytes have been read from the remote. Publishes the bytes once more when dropped, so
/// that a failed or cancelled read is counted, too.
pub(in crate::engine) struct ReadProgressReporter<'t, 'c> {
    pub(in crate::engine) remote: &'t Tx<'c, Remote>,
    pub(in crate::engine) observer: &'t ProgressSender,
    /// How many bytes earlier attempts of the same run received.
    pub(in crate::engine) before: i64,
}

impl ReadProgressReporter<'_, '_> {
    fn rows(&self, rows: i64) {
        self.observer.send_modify(|progress| {
            progress.rows = rows;
            progress.remote_bytes = self.before + self.remote.bytes_read();
        });
    }
}

impl Drop for ReadProgressReporter<'_, '_> {
    fn drop(&mut self) {
        self.observer
            .send_modify(|progress| progress.remote_bytes = self.before + self.remote.bytes_read());
    }
}
