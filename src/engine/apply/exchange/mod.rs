//! Updates rows that exchange unique values. For example, meter A is to get the serial number of B, and B that of C.
//!
//! Postgres checks a unique index row by row, so a single statement cannot do this. First, each row that holds a value
//! needed by another updated row is *parked*: it gets a *spare value*, which no row holds. Then all rows take their new
//! values, in any order. If a foreign key cascades, the rows that refer to a meter follow it to the spare value and to
//! the new value. They would lose a meter that is parked on NULL, so a column that a foreign key refers to is never set
//! to NULL.
//!
//! In the code, a rule is a unique index or an exclusion constraint
//! ([`UniquenessRule`](crate::db::constraints_between_rows::UniquenessRule)).

use crate::db::{DbError, Local, RowFault, Tx, param};

use super::defer_constraints;
use super::keep_references_through_exchange;
use super::release_inactive_values::{self, ClearedValues};
use crate::engine::plan::{self, PlanStep};
use crate::engine::write_by_halving::{
    self, RowFaults, RowRange, RowRangeStatement, WriteAttemptOutcome,
};
use crate::engine::{RunContext, apply};
use park_rows::ParkOutcome;

pub(super) mod exchange_rings;
pub(super) mod narrow_column_values;

mod leave_partial_index;
pub(super) mod park_rows;
mod spare_foreign_key_values;
mod spare_values;
pub(super) mod spare_values_table;

/// The most attempts at an exchange. Each attempt leaves out the rows that could not be written in an earlier one.
const ATTEMPTS: usize = 10;

/// Writes the planned updates numbered `rows`, as an exchange of unique values. If no attempt at an exchange succeeds,
/// writes them without one. Returns the rows that could not be written, each with the reason, or the inner `Err(fault)`
/// as soon as there are more than `limit` of them. Unique values that meters missing on the remote give up for these
/// updates are added to `released`.
pub(in crate::engine) async fn write(
    run: &RunContext<'_>,
    rows: RowRange,
    limit: usize,
    released: &mut ClearedValues,
) -> Result<Result<RowFaults, Box<RowFault>>, DbError> {
    let mut out: RowFaults = Vec::new();
    let prepare = plan::index(run.relations);
    run.local.batch(&prepare).await?;
    for _ in 0..ATTEMPTS {
        let mut given_up = released.clone();
        let tried = attempt(run, rows, limit, &out, &mut given_up);
        match run.local.attempt("exchange", tried).await? {
            Ok(bad) => {
                *released = given_up;
                out.extend(bad);
                return Ok(Ok(out));
            }
            Err(ExchangeUndoReason::TooMany(fault)) => return Ok(Err(fault)),
            Err(ExchangeUndoReason::LeaveOut(bad)) => out.extend(bad),
            Err(ExchangeUndoReason::NoUse) => break,
        }
        if out.len() > limit {
            let last = out.pop().map(|(_, fault)| fault);
            return Ok(Err(Box::new(last.unwrap_or_default())));
        }
    }
    let mut ranges = without(rows, &out);
    if out.is_empty() && !run.relations.has_foreign_keys_acting_on_update {
        // The whole set was already tried by the caller.
        let (low, high) = rows.halves();
        ranges = vec![low, high];
    }
    let left = limit.saturating_sub(out.len());
    let write = apply::write(run, PlanStep::Change);
    let found =
        write_by_halving::all_but_the_bad(run.local, ranges, left, &prepare, &write).await?;
    Ok(found.map(|bad| {
        out.extend(bad);
        out
    }))
}

/// Why an attempt at an exchange is undone.
enum ExchangeUndoReason {
    /// These rows cannot be written, or need a value of a row that cannot be written. The next attempt must leave them
    /// out.
    LeaveOut(RowFaults),
    /// Another attempt would be useless: no row needs a value of another row, or it is not known which rows are at
    /// fault.
    NoUse,
    /// More rows than allowed could not be written. Holds why the last one could not.
    TooMany(Box<RowFault>),
}

/// Makes one attempt at an exchange, without the rows in `out`: first sets each row that holds a value needed by
/// another row to a spare value, then gives all rows their new values. Returns the rows that could not be written, or
/// why the attempt must be undone.
async fn attempt(
    run: &RunContext<'_>,
    rows: RowRange,
    limit: usize,
    out: &RowFaults,
    released: &mut ClearedValues,
) -> Result<Result<RowFaults, ExchangeUndoReason>, DbError> {
    let local = run.local;
    let left_out: Vec<i64> = out.iter().map(|(n, _)| *n).collect();
    match park_rows::park(run, &left_out).await? {
        ParkOutcome::NothingToPark => return Ok(Err(ExchangeUndoReason::NoUse)),
        ParkOutcome::Refused(refused) => return leave_out(local, refused).await.map(Err),
        ParkOutcome::Parked => {}
    }
    let ranges = without(rows, out);
    let left = limit.saturating_sub(out.len());
    let prepare = plan::index(run.relations);
    // Constraints deferred for the exchange are checked at its end.
    let write = &RowRangeStatement {
        checks: false,
        ..apply::write(run, PlanStep::Change)
    };
    let mut bad =
        match write_by_halving::all_but_the_bad(local, ranges, left, &prepare, write).await? {
            Ok(bad) => bad,
            Err(fault) => return Ok(Err(ExchangeUndoReason::TooMany(fault))),
        };
    retry_after_release(run, &mut bad, released, write).await?;
    let numbers: Vec<i64> = bad.iter().map(|(n, _)| *n).collect();
    if !park_rows::are_any_parked(local, &numbers).await? {
        match write_by_halving::attempt(local, keep_references_through_exchange::finish(run))
            .await?
        {
            WriteAttemptOutcome::Written => return Ok(Ok(bad)),
            WriteAttemptOutcome::NotWritten(fault) => {
                let found = match fault.is_collision() {
                    true => defer_constraints::colliding(run).await?,
                    false => spare_foreign_key_values::missing(run, &fault).await?,
                };
                bad.extend(found.into_iter().filter(|(n, _)| !numbers.contains(n)));
            }
        }
    }
    if bad.is_empty() {
        return Ok(Err(ExchangeUndoReason::NoUse));
    }
    leave_out(local, bad).await.map(Err)
}

/// Lets meters that are missing on the remote release unique values, then retries the rows in `bad`, and removes those
/// that are written from `bad`. More values can be released now than before the exchange, because it may have updated
/// the last row that referred to such a meter. Does nothing if no row in `bad` conflicts with another row.
async fn retry_after_release(
    run: &RunContext<'_>,
    bad: &mut RowFaults,
    released: &mut ClearedValues,
    write: &RowRangeStatement,
) -> Result<(), DbError> {
    if !bad.iter().any(|(_, fault)| fault.is_collision())
        || release_inactive_values::release(run, PlanStep::Change, released).await? == 0
    {
        return Ok(());
    }
    for (n, fault) in std::mem::take(bad) {
        let row = RowRange { first: n, last: n };
        if let WriteAttemptOutcome::NotWritten(_) =
            write_by_halving::attempt(run.local, write.run(run.local, row)).await?
        {
            bad.push((n, fault));
        }
    }
    Ok(())
}

const WAITING: &str = "\
-- find the rows that wait for those at fault
with recursive out (n) as (
    select b.n from pg_catalog.unnest($1::bigint[]) b (n)
    union
    select w.n from out o join pg_temp.meter_sync_wait w on w.holder = o.n
)
select o.n from out o where o.n <> all ($1)";

/// Returns [`ExchangeUndoReason::LeaveOut`] with the rows in `bad` and all rows that need their unique values, directly
/// or through other rows.
async fn leave_out(local: &Tx<'_, Local>, bad: RowFaults) -> Result<ExchangeUndoReason, DbError> {
    let numbers: Vec<i64> = bad.iter().map(|(n, _)| *n).collect();
    local
        .batch("-- index who waits\ncreate index on pg_temp.meter_sync_wait (holder); analyze pg_temp.meter_sync_wait")
        .await?;
    let waiting = local.query(WAITING, &[param::bigints(&numbers)]).await?;
    let waiting = waiting
        .iter()
        .map(|row| (row.get(0), RowFault::collision()));
    Ok(ExchangeUndoReason::LeaveOut(
        bad.into_iter().chain(waiting).collect(),
    ))
}

/// Returns the ranges that remain of `rows` when the rows in `out` are removed. Some ranges may be empty.
fn without(rows: RowRange, out: &RowFaults) -> Vec<RowRange> {
    let mut out: Vec<i64> = out.iter().map(|(n, _)| *n).collect();
    out.sort_unstable();
    let mut ranges = Vec::with_capacity(out.len() + 1);
    let mut first = rows.first;
    for n in out {
        ranges.push(RowRange { first, last: n - 1 });
        first = n + 1;
    }
    ranges.push(RowRange { first, ..rows });
    ranges
}

#[cfg(test)]
mod tests {
    use super::{RowFault, RowRange, without};

    #[test]
    fn rows_are_left_out_of_a_range() {
        let rows = |first, last| RowRange { first, last };
        let out = [9, 5, 3].map(|n| (n, RowFault::default())).to_vec();
        let left: Vec<RowRange> = without(rows(3, 9), &out)
            .into_iter()
            .filter(|rows| rows.count() > 0)
            .collect();
        assert_eq!(left, [rows(4, 4), rows(6, 8)]);
        assert_eq!(without(rows(1, 2), &Vec::new()), [rows(1, 2)]);
    }
}
