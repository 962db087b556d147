//! Copies rows that are in memory into a local table.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;

use crate::db::{DbError, Local, Tx};
use crate::model::saturating_i64;

use super::choose_copy_format::CopyFormat;
use super::split_copy_data;

/// The table to which remote rows are copied.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum CopyTarget {
    /// The local table that holds the meters.
    Meters,
    /// The temporary staging table, `meter_sync_stage`.
    Stage,
}

/// How many bytes are sent to the local server at a time.
pub(in crate::engine) const PIECE_BYTES: usize = 64 * 1024;

/// Sends rows that are in memory to the local server with the COPY statement `write`. Returns their number.
pub(in crate::engine) async fn copy_again(
    local: &Tx<'_, Local>,
    write: &str,
    format: &CopyFormat,
    rows: &[Bytes],
) -> Result<i64, DbError> {
    let mut sink = pin!(local.copy_in(write).await?);
    let (head, tail) = (split_copy_data::head(format), split_copy_data::tail(format));
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
    Ok(saturating_i64(rows))
}

/// Waits until one step of a COPY is done, such as sending a piece of data. Fails if this takes longer than
/// `local.answer_limit()`, the limit on every wait for the server.
pub(in crate::engine) async fn patiently<T>(
    local: &Tx<'_, Local>,
    taken: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, DbError> {
    let doing = "stage the meters";
    match tokio::time::timeout(local.answer_limit(), taken).await {
        Ok(taken) => taken.map_err(|error| local.failed(doing, error)),
        Err(_elapsed) => Err(DbError::silence::<Local>(doing, local.answer_limit())),
    }
}
