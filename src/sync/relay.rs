//! Relays rows from the remote snapshot into a local table by COPY, undecoded, each of them once.
//!
//! The remote writes one COPY; the local server reads it in several, each under a savepoint. If a row is not taken, its
//! COPY is undone, and the rows of that COPY, which are still in memory, go on to [`Leftover`]. So one row at fault
//! costs no second read of the others, at any speed of the line, and memory stays bounded by one COPY or one row.

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::CopyOutStream;

use crate::db::{DbError, Local, Remote, SideName, Tx, quote};

use super::convert::Leftover;
use super::format::Format;
use super::{Extent, Job, Observer, Shape, SyncError};
use super::{recode, rows, unsendable};

/// Where rows are relayed to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// The local table of the meters.
    Meters,
    /// The staging table.
    Stage,
}

/// What a relay came to.
pub(super) struct Relayed {
    /// How many rows the remote gave.
    pub(super) rows: i64,
    /// The rows that the target did not take.
    pub(super) left: Leftover,
}

/// How many bytes are passed on at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// How many bytes go into one local COPY: enough that its round trips do not count, and little to keep in memory.
const COPY_BYTES: usize = 2 * 1024 * 1024;

/// Relays the rows of the extent into the local table `to`.
pub(super) async fn relay(
    (remote, local): (&Tx<'_, Remote>, &Tx<'_, Local>),
    (shape, extent): (&Shape, &Extent),
    (to, format): (Target, Format),
    job: &Job<'_>,
    observer: &Observer,
) -> Result<Relayed, SyncError> {
    // A relay takes as long as the line does. That it goes on at all is watched row by row.
    remote.allow_each_statement(job.limits.run_timeout).await?;
    local.allow_each_statement(job.limits.run_timeout).await?;
    let from = remote
        .copy_out(&read((shape, extent), job, &format))
        .await?;
    let mut from = Source {
        remote,
        rows: pin!(from),
        told: Telling {
            remote,
            observer,
            before: job.earlier.bytes,
        },
        format: format.clone(),
        pieces: 0,
        is_over: false,
    };
    let write = write(shape, to, &format);
    let mut left = Leftover::new(to, format.clone());
    let mut rows = 0;
    while !from.is_over {
        local.savepoint("copy").await?;
        let mut kept = Vec::new();
        match copy(&mut from, local, &write, &mut kept).await {
            Ok(taken) => {
                rows += taken;
                local.release("copy").await?;
            }
            Err(error) if error.is_about_a_row() && error.side() == SideName::Local => {
                local.back_to("copy").await?;
                rows += Box::pin(left.take(local, shape, job, &kept)).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    from.told.rows(rows);
    if job.earlier.leaves_long_rows {
        let long = unsendable::find(remote, (shape, extent), job, &format).await?;
        rows += Box::pin(left.take_long(local, shape, job, &long)).await?;
    }
    local
        .allow_each_statement(job.limits.statement_timeout)
        .await?;
    Ok(Relayed { rows, left })
}

fn read((shape, extent): (&Shape, &Extent), job: &Job<'_>, format: &Format) -> String {
    let long = unsendable::left_out(shape, job, format);
    let (from, filter, within) = (&shape.remote_from, &shape.remote_filter, &extent.remote);
    let columns = format.columns(shape);
    format!(
        "-- read the meters
copy (select {} from {from} r where {filter} and {within}{long}) to stdout ({})",
        columns.join(", "),
        format.to_write()
    )
}

fn write(shape: &Shape, to: Target, format: &Format) -> String {
    let (to, columns) = match to {
        Target::Meters => (shape.local.as_str(), quote::columns("", &shape.names)),
        Target::Stage => ("pg_temp.meter_sync_stage", shape.places(&shape.names)),
    };
    let format = format.to_read();
    format!("-- stage the meters\ncopy {to} ({columns}) from stdin ({format})")
}

/// Copies the next rows here, as many as go into one COPY; gives their number. They are kept in `kept`, whole rows in
/// each piece.
async fn copy(
    from: &mut Source<'_, '_>,
    local: &Tx<'_, Local>,
    write: &str,
    kept: &mut Vec<Bytes>,
) -> Result<i64, DbError> {
    if let Some(encoding) = from.format.recoded().map(str::to_owned) {
        // The local transaction is idle meanwhile, which it may not be for long.
        let read = from.some(local.patience() / 4).await?;
        *kept = recode::to_utf8(local, (&from.format, &encoding), read).await?;
        return copy_again(local, (write, &from.format), kept).await;
    }
    let mut sink = pin!(local.copy_in(write).await?);
    let mut bytes = 0;
    let head = rows::head(&from.format);
    patiently(local, sink.send(Bytes::from_static(head))).await?;
    while bytes < COPY_BYTES
        && let Some(piece) = from.next().await?
    {
        bytes += piece.len();
        kept.push(piece.clone());
        patiently(local, sink.send(piece)).await?;
    }
    let tail = rows::tail(&from.format);
    patiently(local, sink.send(Bytes::from_static(tail))).await?;
    let rows = patiently(local, sink.finish()).await?;
    Ok(i64::try_from(rows).unwrap_or(i64::MAX))
}

/// Copies rows here that are in memory; gives their number.
pub(super) async fn copy_again(
    local: &Tx<'_, Local>,
    (write, format): (&str, &Format),
    rows: &[Bytes],
) -> Result<i64, DbError> {
    let mut sink = pin!(local.copy_in(write).await?);
    let (head, tail) = (rows::head(format), rows::tail(format));
    let (head, tail) = (Bytes::from_static(head), Bytes::from_static(tail));
    let mut piece = BytesMut::new();
    for row in [&head].into_iter().chain(rows).chain([&tail]) {
        piece.extend_from_slice(row);
        if piece.len() >= PIECE_BYTES {
            patiently(local, sink.send(piece.split().freeze())).await?;
        }
    }
    patiently(local, sink.send(piece.freeze())).await?;
    let rows = patiently(local, sink.finish()).await?;
    Ok(i64::try_from(rows).unwrap_or(i64::MAX))
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

/// The rows that the remote writes.
struct Source<'t, 'c> {
    remote: &'t Tx<'c, Remote>,
    rows: Pin<&'t mut CopyOutStream>,
    told: Telling<'t, 'c>,
    format: Format,
    /// How many rows came so far.
    pieces: i64,
    is_over: bool,
}

impl Source<'_, '_> {
    /// The next rows, as many as go into one COPY and come within about so long.
    async fn some(&mut self, longest: Duration) -> Result<Vec<Bytes>, DbError> {
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

    /// The next rows, whole ones; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, DbError> {
        let mut piece = BytesMut::new();
        while !self.is_over && piece.len() < PIECE_BYTES {
            let Some(row) = self.remote.next(&mut self.rows, "read the meters").await? else {
                self.is_over = true;
                break;
            };
            let row = rows::bare(&self.format, row);
            self.pieces += i64::from(!row.is_empty());
            // A long row is not copied about.
            if piece.is_empty() && row.len() >= PIECE_BYTES {
                self.told.rows(self.pieces);
                return Ok(Some(row));
            }
            piece.extend_from_slice(&row);
        }
        self.told.rows(self.pieces);
        Ok((!piece.is_empty()).then(|| piece.freeze()))
    }
}

/// Tells how much was read, at the latest when it is dropped: also of what was given up.
pub(super) struct Telling<'t, 'c> {
    pub(super) remote: &'t Tx<'c, Remote>,
    pub(super) observer: &'t Observer,
    /// How many bytes came before, in other snapshots of the same run.
    pub(super) before: i64,
}

impl Telling<'_, '_> {
    fn rows(&self, rows: i64) {
        self.observer.send_modify(|progress| {
            progress.rows = rows;
            progress.remote_bytes = self.before + self.remote.bytes_read();
        });
    }
}

impl Drop for Telling<'_, '_> {
    fn drop(&mut self) {
        self.observer
            .send_modify(|progress| progress.remote_bytes = self.before + self.remote.bytes_read());
    }
}
