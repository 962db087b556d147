//! Compares what all rows hold by two digests a side, whatever versions and earlier runs say.
//!
//! A side gives three numbers: how many rows it has, and two sums of their hashes under seeds that the caller drew for
//! this comparison. Rows that differ go unseen with a chance of about 2^-128. Only if the numbers differ are buckets and rows
//! summed, as for a sync.

use tokio_postgres::SimpleQueryRow;

use crate::db::{DbError, Local, Remote, Side, Tx};
use crate::sync::{Compare, Job, Shape, SyncError};

use super::compare::{self, What};
use super::cursor::SAVEPOINT;
use super::image::{HashFunction, HashMode, Hasher, PROBE, Row};
use super::{Found, rows};

/// What a comparison of contents found.
#[derive(Clone, Debug)]
pub enum Contents {
    /// Both sides hold the same.
    Equal,
    /// They do not; this is what a sync is to compare.
    Differing(Compare),
    /// They differed at first, and did not any more when it was asked where.
    Unsettled,
    /// It cannot be told: a value of the remote does not become a value of the local type.
    Incomparable,
    /// They differ, and where could not be found within the time limits.
    Unfound,
}

/// Compares both sides by two digests of these seeds.
pub(in crate::sync) async fn compare_contents(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    seeds: [u64; 2],
) -> Result<Contents, SyncError> {
    let there_rows = format!("{} r where {}", shape.remote_from, shape.remote_filter);
    let here_rows = compare::local_rows(local, shape, job).await?;
    let mut mode = HashMode::USUAL;
    let rows = loop {
        let hashers = seeds.map(|seed| Hasher {
            seed,
            bits: job.hash_bits,
            mode,
        });
        let there = statement(shape, hashers, (Row::Remote, &there_rows));
        let here = statement(shape, hashers, (Row::Local, &here_rows));
        // Where one side fails nothing more is asked of the other, whose connection is given up.
        match tokio::try_join!(total(remote, &there), total(local, &here))? {
            (Some(there), Some(here))
                if mode.function == HashFunction::Server && there.probe != here.probe =>
            {
                mode.function = HashFunction::Portable;
            }
            (Some(there), Some(here)) if there == here => return Ok(Contents::Equal),
            (Some(_), Some(here)) => break here.rows,
            (None, _) | (_, None) if mode.casts && shape.has_one_text_a_key => {
                mode.casts = false;
            }
            (None, _) | (_, None) => return Ok(Contents::Incomparable),
        }
    };
    Ok(
        match compare::compare(remote, local, shape, job, (What::Rows, rows)).await? {
            Found::Equal(_) => Contents::Unsettled,
            Found::Differing(differing) => {
                let extent = rows::narrow(remote, local, shape, job, &differing).await?;
                Contents::Differing(extent.map_or(Compare::Everything, Compare::Also))
            }
            Found::Unclear => Contents::Differing(Compare::Everything),
            Found::Unknown => Contents::Unfound,
        },
    )
}

/// The digests of a side.
#[derive(Debug, PartialEq, Eq)]
struct Total {
    rows: i64,
    sums: [i64; 2],
    /// Equal where the servers hash alike.
    probe: String,
}

impl Total {
    fn of(row: &SimpleQueryRow) -> Option<Self> {
        let number = |n| row.get(n)?.parse().ok();
        Some(Self {
            rows: number(0)?,
            sums: [number(1)?, number(2)?],
            probe: row.get(3)?.to_owned(),
        })
    }
}

/// Sums a side. `None` if a value cannot be what it is to be; that is undone.
async fn total<S: Side>(tx: &Tx<'_, S>, sql: &str) -> Result<Option<Total>, DbError> {
    match tx.simple(sql).await {
        Err(error) if error.is_about_a_row() => {
            tx.back_to(SAVEPOINT).await?;
            Ok(None)
        }
        answered => Ok(answered?.first().and_then(Total::of)),
    }
}

fn statement(shape: &Shape, hashers: [Hasher; 2], (row, rows): (Row, &str)) -> String {
    let [one, other] = hashers.map(|hasher| What::Rows.hash(hasher, shape, row));
    format!(
        "-- compare the contents
savepoint {SAVEPOINT};
select pg_catalog.count(*), coalesce(pg_catalog.bit_xor({one}), 0), coalesce(pg_catalog.bit_xor({other}), 0), {PROBE}
from {rows};
release savepoint {SAVEPOINT}"
    )
}
