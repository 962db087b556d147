//! Compares the totals of both sides: the number of their rows, and sums of the hashes of all rows.
//!
//! A total costs a third of the sums of buckets (`bucket_sum_cursor`): the server need not group the rows, and it may use
//! several processes. It does not show where the sides differ. Hashes are added up, and not combined by exclusive or, so
//! that two equal rows do not cancel each other out.

use tokio_postgres::SimpleQueryRow;

use crate::db::{DbError, Remote, Side, Tx, both};
use crate::engine::RunContext;
use crate::store::tombstones;

use super::bucket_sum_cursor::SAVEPOINT;
use super::is_remembered_as_gone;
use super::row_hash::{HashFunction, HashMode, Hasher, PROBE, RowSide};

/// The rows of both sides to be compared, each as SQL to follow the keyword `from`.
pub(super) struct FromClausesOfBothSides {
    /// The tenant's remote rows.
    pub(super) there: String,
    /// The tenant's rows that have a key, without inactive rows that have a tombstone (known to be gone from the
    /// remote). Rows without a key are left out because no remote row can match them.
    pub(super) here: String,
}

impl FromClausesOfBothSides {
    pub(super) async fn of(run: &RunContext<'_>) -> Result<Self, DbError> {
        let (relations, scope) = (run.relations, run.scope);
        let (table, filter) = (&relations.local, &scope.local_filter);
        let rows = format!("{table} l where {filter} and {}", relations.has_key("l"));
        let has_tombstones = tombstones::are_known(run.local, run.job.tenant, table).await?;
        Ok(Self {
            there: format!("{} r where {}", relations.remote_from, scope.remote_filter),
            here: match has_tombstones {
                true => format!("{rows} and not {}", is_remembered_as_gone(run)),
                false => rows,
            },
        })
    }
}

/// The total of one side.
#[derive(Clone, Debug)]
pub(super) struct Total {
    rows: i64,
    sums: Vec<i128>,
    /// The hashes of [`PROBE`]. They are equal on both sides if both servers compute hashes in the same way.
    probe: String,
}

/// What the totals of both sides show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TotalsComparison {
    /// Both sides have the same rows. Holds the number of remote rows.
    Equal(i64),
    Differing,
    /// Nothing, because the servers do not compute hashes in the same way.
    HashedDifferently,
}

impl Total {
    /// SQL for the columns of a total: the sums of these hashes over the rows that meet the condition, if there is one.
    pub(super) fn columns(hashes: &[String], condition: Option<&str>) -> String {
        let filter = condition.map_or_else(String::new, |met| format!(" filter (where {met})"));
        let sums: String = hashes
            .iter()
            .map(|hash| format!("coalesce(pg_catalog.sum({hash}){filter}, 0), "))
            .collect();
        format!("{sums}{PROBE}, pg_catalog.count(*){filter}")
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> i64 {
        self.rows
    }

    /// The sums of the hashes.
    pub(super) fn sums(&self) -> &[i128] {
        &self.sums
    }

    /// Reads the total from the columns of `row` from the number `first` on, to the last one.
    pub(super) fn read(row: &SimpleQueryRow, first: usize) -> Option<Self> {
        let last = row.len().checked_sub(1)?;
        let sums = first..last.checked_sub(1)?;
        let sum = |n| row.get(n)?.parse().ok();
        Some(Self {
            rows: row.get(last)?.parse().ok()?,
            sums: sums.map(sum).collect::<Option<_>>()?,
            probe: row.get(last - 1)?.to_owned(),
        })
    }

    /// Compares this total of the remote with that of the local side. `function` is the one that hashed the rows.
    pub(super) fn compare(&self, here: &Self, function: HashFunction) -> TotalsComparison {
        if function == HashFunction::Server && self.probe != here.probe {
            return TotalsComparison::HashedDifferently;
        }
        match (self.rows, &self.sums) == (here.rows, &here.sums) {
            true => TotalsComparison::Equal(self.rows),
            false => TotalsComparison::Differing,
        }
    }
}

/// Which totals to compare, and how.
pub(super) struct TotalsQuery<'a, F> {
    /// The name of the statements in errors and on the server.
    pub(super) doing: &'static str,
    pub(super) rows: &'a FromClausesOfBothSides,
    /// Returns the hash of a row of the given side, as SQL.
    pub(super) hash: F,
    /// If there is a seed, a second sum is computed, of the hashes of the hashes with this seed.
    pub(super) second_seed: Option<u64>,
    /// Whether the totals are unknown after this error. After any other error, the comparison fails.
    pub(super) is_unknown_after: fn(&DbError) -> bool,
}

/// The result of comparing the totals of both sides.
#[derive(Debug)]
pub(super) enum TotalsVerdict {
    /// Both sides have the same rows. Holds the number of remote rows.
    Equal(i64),
    Differing {
        /// How the rows were hashed. Other sums can be computed in the same way.
        mode: HashMode,
        /// The number of local rows.
        rows: i64,
    },
    /// One side could not compute its total.
    Unknown,
}

/// The totals of both sides, whose rows were hashed in the same way.
pub(super) struct TotalsOfBothSides {
    pub(super) mode: HashMode,
    pub(super) there: Total,
    pub(super) here: Total,
}

impl TotalsOfBothSides {
    /// The number of rows of each side if the totals are equal; `None` if they differ.
    pub(super) fn equal_rows(&self) -> Option<i64> {
        match self.there.compare(&self.here, self.mode.function) {
            TotalsComparison::Equal(rows) => Some(rows),
            TotalsComparison::Differing | TotalsComparison::HashedDifferently => None,
        }
    }
}

/// Compares the totals of both sides. Tries the ways to hash in the order of their cost, starting with `mode`.
pub(super) async fn compare<F: Fn(HashMode, RowSide) -> String>(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    query: &TotalsQuery<'_, F>,
    mode: HashMode,
) -> Result<TotalsVerdict, DbError> {
    let Some(totals) = sum(remote, run, query, mode).await? else {
        return Ok(TotalsVerdict::Unknown);
    };
    Ok(match totals.equal_rows() {
        Some(rows) => TotalsVerdict::Equal(rows),
        None => TotalsVerdict::Differing {
            mode: totals.mode,
            rows: totals.here.rows,
        },
    })
}

/// Computes the totals of both sides. Tries the ways to hash as [`compare`] does. Returns `None` if one side could not
/// compute its total.
pub(super) async fn sum<F: Fn(HashMode, RowSide) -> String>(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    query: &TotalsQuery<'_, F>,
    mut mode: HashMode,
) -> Result<Option<TotalsOfBothSides>, DbError> {
    loop {
        let sql = |row, rows| statement((query.hash)(mode, row), query.second_seed, mode, rows);
        let there = sql(RowSide::Remote, &query.rows.there);
        let here = sql(RowSide::Local, &query.rows.here);
        let totals = both(total(remote, query, &there), total(run.local, query, &here));
        let (Some(there), Some(here)) = totals.await? else {
            if mode.casts && run.relations.has_one_text_a_key {
                mode.casts = false;
                continue;
            }
            return Ok(None);
        };
        match there.compare(&here, mode.function) {
            TotalsComparison::HashedDifferently => mode.function = HashFunction::Portable,
            TotalsComparison::Equal(_) | TotalsComparison::Differing => {
                return Ok(Some(TotalsOfBothSides { mode, there, here }));
            }
        }
    }
}

/// SQL for the total of the rows that `rows` selects. Without `offset 0` the server would compute each hash twice.
fn statement(hash: String, second_seed: Option<u64>, mode: HashMode, rows: &str) -> String {
    let Some(seed) = second_seed else {
        return format!("select {}\nfrom {rows}", Total::columns(&[hash], None));
    };
    let hasher = Hasher {
        seed,
        bits: 64,
        mode,
    };
    let sums = ["k.hash".to_owned(), hasher.again("k.hash")];
    format!(
        "select {}\nfrom (select {hash} as hash from {rows} offset 0) k",
        Total::columns(&sums, None)
    )
}

async fn total<S: Side, F>(
    tx: &Tx<'_, S>,
    query: &TotalsQuery<'_, F>,
    sql: &str,
) -> Result<Option<Total>, DbError> {
    let answered = tx.undo_simple_if(SAVEPOINT, query.is_unknown_after, query.doing, sql);
    let rows = answered.await?.unwrap_or_default();
    Ok(rows.first().and_then(|row| Total::read(row, 0)))
}
