//! Compares the contents of all rows of both sides by digests. Unlike in a sync, row versions of earlier runs are not
//! used. Inactive local rows with a tombstone (known to be gone from the remote) are left out.
//!
//! The digest of a side is three numbers: how many rows it has, and two sums of row hashes. The caller chooses the
//! seeds of the hashes at random for each comparison. A difference stays unseen with a probability of about 2^-128.
//! Only if the numbers differ, the buckets and rows that differ are looked for, as in a sync.

use tokio_postgres::SimpleQueryRow;

use crate::db::{DbError, Remote, Side, Tx};
use crate::engine::{Relations, RowsToCompare, RunContext, SyncError};

use super::bucket_sum_cursor::SAVEPOINT;
use super::find_differing_buckets;
use super::row_hash::HashedColumns;
use super::row_hash::{HashFunction, HashMode, Hasher, PROBE, RowSide};
use super::{DigestVerdict, find_differing_rows};

/// The result of a comparison of contents.
#[derive(Clone, Debug)]
pub enum ContentsComparison {
    /// Both sides hold the same rows.
    Equal,
    /// The sides differ. Holds the rows that a sync must compare value by value.
    Differing(RowsToCompare),
    /// The digests differed, but the search for the differing rows then found both sides equal.
    Unsettled,
    /// The sides cannot be compared, usually because a remote value cannot be converted to the type of the local
    /// column.
    Incomparable,
    /// The sides differ, but it could not be found out where, usually because of a time limit.
    Unfound,
}

/// Compares the rows of both sides by two sums of their hashes. `seeds` are the seeds of the two hash functions.
pub(in crate::engine) async fn compare_contents(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    seeds: [u64; 2],
) -> Result<ContentsComparison, SyncError> {
    let relations = run.relations;
    let there_rows = format!(
        "{} r where {}",
        relations.remote_from, run.scope.remote_filter
    );
    let here_rows = find_differing_buckets::local_rows(run).await?;
    let mut mode = HashMode::USUAL;
    let rows = loop {
        let hashers = seeds.map(|seed| Hasher {
            seed,
            bits: run.job.hash_bits,
            mode,
        });
        let there = statement(relations, hashers, RowSide::Remote, &there_rows);
        let here = statement(relations, hashers, RowSide::Local, &here_rows);
        // If one side fails, the statement on the other is abandoned and its connection is closed.
        match tokio::try_join!(
            contents_digest(remote, &there),
            contents_digest(run.local, &here)
        )? {
            (Some(there), Some(here))
                if mode.function == HashFunction::Server && there.probe != here.probe =>
            {
                mode.function = HashFunction::Portable;
            }
            (Some(there), Some(here)) if there == here => return Ok(ContentsComparison::Equal),
            (Some(_), Some(here)) => break here.rows,
            (None, _) | (_, None) if mode.casts && relations.has_one_text_a_key => {
                mode.casts = false;
            }
            (None, _) | (_, None) => return Ok(ContentsComparison::Incomparable),
        }
    };
    Ok(
        match find_differing_buckets::compare(remote, run, HashedColumns::Rows, rows).await? {
            DigestVerdict::Equal(_) => ContentsComparison::Unsettled,
            DigestVerdict::DifferingBuckets(differing) => {
                let selection = find_differing_rows::narrow(remote, run, &differing).await?;
                ContentsComparison::Differing(
                    selection.map_or(RowsToCompare::Everything, RowsToCompare::Also),
                )
            }
            DigestVerdict::Unclear => ContentsComparison::Differing(RowsToCompare::Everything),
            DigestVerdict::Unknown => ContentsComparison::Unfound,
        },
    )
}

/// The digest of one side: the number of rows, and two sums of their hashes.
#[derive(Debug, PartialEq, Eq)]
struct ContentsDigest {
    rows: i64,
    sums: [i64; 2],
    /// The hashes of [`PROBE`]. They are equal on both sides if both servers compute hashes in the same way.
    probe: String,
}

impl ContentsDigest {
    fn of(row: &SimpleQueryRow) -> Option<Self> {
        let number = |n| row.get(n)?.parse().ok();
        Some(Self {
            rows: number(0)?,
            sums: [number(1)?, number(2)?],
            probe: row.get(3)?.to_owned(),
        })
    }
}

/// Computes the digest of one side with the statement `sql`. If a value cannot be converted, undoes the statement and
/// returns `None`.
async fn contents_digest<S: Side>(
    tx: &Tx<'_, S>,
    sql: &str,
) -> Result<Option<ContentsDigest>, DbError> {
    let answered = tx.undo_simple_if(
        SAVEPOINT,
        DbError::is_about_a_row,
        "compare the contents",
        sql,
    );
    let rows = answered.await?.unwrap_or_default();
    Ok(rows.first().and_then(ContentsDigest::of))
}

fn statement(relations: &Relations, hashers: [Hasher; 2], row: RowSide, rows: &str) -> String {
    let [one, other] = hashers.map(|hasher| HashedColumns::Rows.hash(hasher, relations, row));
    format!(
        "select pg_catalog.count(*), coalesce(pg_catalog.bit_xor({one}), 0), coalesce(pg_catalog.bit_xor({other}), 0), {PROBE}
from {rows}"
    )
}
