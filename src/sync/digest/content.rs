//! Compares what the rows hold: each server hashes its own rows, both at once.
//!
//! Rows whose hashes meet are the risk, of about 2^-64 a row. Each run hashes with another seed, so
//! two rows that meet once do not meet again; and now and then everything is compared.

use crate::db::{DbError, Local, Remote, Tx};
use crate::meter::RunId;
use crate::sync::{Job, Shape, SyncError};

use super::buckets::Buckets;
use super::cursor::{self, CHUNKS_AT_A_TIME, Cursor};
use super::image::{HashFunction, Hasher, Row};
use super::{Difference, gone, sums};

/// Compares the rows of both sides.
pub(super) async fn compare(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<Difference, SyncError> {
    let mut hasher = Hasher {
        seed: seed(job.run_id),
        bits: job.hash_bits,
        function: HashFunction::Server,
    };
    let here_rows = local_rows(local, shape, job).await?;
    let there_rows = format!("{} r where {}", shape.remote_from, shape.remote_filter);
    loop {
        let buckets = Buckets::of(shape, hasher);
        let sum = |row| hasher.hash(shape, row, |_| true);
        let bucket = |row| buckets.number(shape, row);
        let opened = cursor::both(
            Cursor::open(remote, (bucket(Row::Remote), sum(Row::Remote)), &there_rows),
            Cursor::open(local, (bucket(Row::Local), sum(Row::Local)), &here_rows),
        );
        let Some((there, here)) = opened.await? else {
            return Ok(Difference::Unclear);
        };
        if there.total.probe != here.total.probe && hasher.function == HashFunction::Server {
            hasher.function = HashFunction::Md5;
            tokio::try_join!(there.close(), here.close())?;
            continue;
        }
        return Ok(difference(buckets, shape, there, here).await?);
    }
}

async fn difference(
    buckets: Buckets,
    shape: &Shape,
    mut there: Cursor<'_, '_, Remote>,
    mut here: Cursor<'_, '_, Local>,
) -> Result<Difference, DbError> {
    let remote_rows = there.total.rows;
    if there.total == here.total {
        here.close().await?;
        return Ok(Difference::None(remote_rows));
    }
    let (chunks_there, chunks_here) = tokio::try_join!(there.chunks(), here.chunks())?;
    let mut numbers = Vec::new();
    for chunks in sums::unequal(&chunks_there, &chunks_here).chunks(CHUNKS_AT_A_TIME) {
        let (there, here) = tokio::try_join!(there.buckets(chunks), here.buckets(chunks))?;
        numbers.extend(sums::unequal(&there, &here));
    }
    tokio::try_join!(there.close(), here.close())?;
    // Rows that the remote gives twice cancel out, and none seems to differ.
    let extent = buckets
        .extent(shape, &numbers, remote_rows)
        .filter(|_| !numbers.is_empty());
    Ok(extent.map_or(Difference::Unclear, Difference::Within))
}

/// The local rows that a remote row could answer to. A row without a key is no meter that the remote
/// could name.
async fn local_rows(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<String, DbError> {
    let (table, filter, has_key) = (&shape.local, &shape.local_filter, shape.has_key("l"));
    let rows = format!("{table} l where {filter} and {has_key}");
    Ok(match gone::is_known(local, shape, job).await? {
        true => format!("{rows} and not {}", gone::condition(shape, job)),
        false => rows,
    })
}

/// The second half of a UUIDv7 is random.
fn seed(run_id: RunId) -> u64 {
    run_id.as_uuid().as_u64_pair().1
}
