//! Updates of rows that wait for each other's unique values: A is to get B's serial number, B C's.
//!
//! Postgres checks a unique index row by row, so no single statement gets there. The rows that hold what others of the
//! plan are to get are parked: they take a value that nobody holds, all in one statement. Then all rows take their new
//! values, in any order. A foreign key that cascades takes the rows that refer to a meter along both times, so they
//! end up with their meter; NULL on the way would lose them.

use crate::db::{DbError, Local, RowFault, Tx, param};

use super::carry;
use super::park::{self, Parked};
use super::plan::Step;
use super::rejected::{self, PerRow, Rows, Tried};
use super::release::{self, Released};
use super::{Job, Shape, deferred, referred_values};

/// How often rows that are at fault by themselves are left out and the others tried again.
const ATTEMPTS: usize = 10;

/// The rows that are not in, and why.
pub(super) type Bad = Vec<(i64, RowFault)>;

/// Brings the updates in but those at fault, `limit` of them at most; `prepare` and the result are as those of
/// [`rejected::all_but_the_bad`].
pub(super) async fn write(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (rows, limit, released): (Rows, usize, &mut Released),
    (prepare, write): (&str, &PerRow),
) -> Result<Result<Bad, Box<RowFault>>, DbError> {
    let mut out: Bad = Vec::new();
    local.batch(prepare).await?;
    for _ in 0..ATTEMPTS {
        let left = limit.saturating_sub(out.len());
        let mut given_up = released.clone();
        let left_out = (rows, left, &out, &mut given_up);
        match attempt(local, shape, job, left_out, (prepare, write)).await? {
            Attempt::Done(bad) => {
                *released = given_up;
                out.extend(bad);
                return Ok(Ok(out));
            }
            Attempt::TooMany(fault) => return Ok(Err(fault)),
            Attempt::LeaveOut(bad) => out.extend(bad),
            Attempt::NoUse => break,
        }
        if out.len() > limit {
            let last = out.pop().map(|(_, fault)| fault);
            return Ok(Err(Box::new(last.unwrap_or_default())));
        }
    }
    let mut ranges = without(rows, &out);
    if out.is_empty() && !shape.has_acting_keys {
        // The whole set was tried already.
        let (low, high) = rows.halves();
        ranges = vec![low, high];
    }
    let left = limit.saturating_sub(out.len());
    let found = rejected::all_but_the_bad(local, ranges, left, prepare, write).await?;
    Ok(found.map(|bad| {
        out.extend(bad);
        out
    }))
}

/// What one attempt came to.
enum Attempt {
    /// All rows are in but these.
    Done(Bad),
    /// These are to be left out of the next one: they are at fault, or wait for what those hold. All was undone.
    LeaveOut(Bad),
    /// Nobody waits for another, or another attempt would not help. All was undone.
    NoUse,
    /// More rows are at fault than may be, the last one for this reason.
    TooMany(Box<RowFault>),
}

async fn attempt(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (rows, left, out, released): (Rows, usize, &Bad, &mut Released),
    (prepare, write): (&str, &PerRow),
) -> Result<Attempt, DbError> {
    local.savepoint("exchange").await?;
    let left_out: Vec<i64> = out.iter().map(|(n, _)| *n).collect();
    match park::park(local, shape, job, &left_out).await? {
        Parked::Nobody => {
            local.back_to("exchange").await?;
            return Ok(Attempt::NoUse);
        }
        Parked::Not(refused) => return Ok(Attempt::LeaveOut(undo(local, refused).await?)),
        Parked::All => {}
    }
    let ranges = without(rows, out);
    // What was put off for the exchange is checked at its end.
    let write = &PerRow {
        checks: false,
        ..write.clone()
    };
    let mut bad = match rejected::all_but_the_bad(local, ranges, left, prepare, write).await? {
        Ok(bad) => bad,
        Err(fault) => return Ok(Attempt::TooMany(fault)),
    };
    take_what_is_freed(local, shape, job, (&mut bad, released), write).await?;
    let numbers: Vec<i64> = bad.iter().map(|(n, _)| *n).collect();
    if !park::are_any_parked(local, &numbers).await? {
        match rejected::attempt(local, carry::finish(local, shape)).await? {
            Tried::Taken => {
                local.release("exchange").await?;
                return Ok(Attempt::Done(bad));
            }
            Tried::NotTaken(fault) => {
                let found = match fault.is_collision() {
                    true => deferred::colliding(local, shape).await?,
                    false => referred_values::missing(local, shape, &fault).await?,
                };
                bad.extend(found.into_iter().filter(|(n, _)| !numbers.contains(n)));
            }
        }
    }
    if bad.is_empty() {
        local.back_to("exchange").await?;
        return Ok(Attempt::NoUse);
    }
    Ok(Attempt::LeaveOut(undo(local, bad).await?))
}

/// Writes rows that waited for values of gone meters which nothing refers to by now.
async fn take_what_is_freed(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (bad, released): (&mut Bad, &mut Released),
    write: &PerRow,
) -> Result<(), DbError> {
    if !bad.iter().any(|(_, fault)| fault.is_collision())
        || release::release(local, shape, job, Step::Change, released).await? == 0
    {
        return Ok(());
    }
    for (n, fault) in std::mem::take(bad) {
        let row = Rows { first: n, last: n };
        if let Tried::NotTaken(_) = rejected::attempt(local, write.run(local, row)).await? {
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

/// Undoes the attempt; the rows at fault and those that wait for what these hold.
async fn undo(local: &Tx<'_, Local>, bad: Bad) -> Result<Bad, DbError> {
    let numbers: Vec<i64> = bad.iter().map(|(n, _)| *n).collect();
    local
        .batch("-- index who waits\ncreate index on pg_temp.meter_sync_wait (holder); analyze pg_temp.meter_sync_wait")
        .await?;
    let waiting = local.query(WAITING, &[param::bigints(&numbers)]).await?;
    local.back_to("exchange").await?;
    let waiting = waiting
        .iter()
        .map(|row| (row.get(0), RowFault::collision()));
    Ok(bad.into_iter().chain(waiting).collect())
}

/// The ranges that are left of `rows` without some of them.
fn without(rows: Rows, out: &Bad) -> Vec<Rows> {
    let mut out: Vec<i64> = out.iter().map(|(n, _)| *n).collect();
    out.sort_unstable();
    let mut ranges = Vec::with_capacity(out.len() + 1);
    let mut first = rows.first;
    for n in out {
        ranges.push(Rows { first, last: n - 1 });
        first = n + 1;
    }
    ranges.push(Rows { first, ..rows });
    ranges
}

#[cfg(test)]
mod tests {
    use super::{RowFault, Rows, without};

    #[test]
    fn rows_are_left_out_of_a_range() {
        let rows = |first, last| Rows { first, last };
        let out = [9, 5, 3].map(|n| (n, RowFault::default())).to_vec();
        let left: Vec<Rows> = without(rows(3, 9), &out)
            .into_iter()
            .filter(|rows| rows.count() > 0)
            .collect();
        assert_eq!(left, [rows(4, 4), rows(6, 8)]);
        assert_eq!(without(rows(1, 2), &Vec::new()), [rows(1, 2)]);
    }
}
