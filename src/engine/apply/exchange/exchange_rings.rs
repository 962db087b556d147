//! Updates rows that exchange unique values in a ring: each row needs the value that the next row holds, and the last
//! row needs the value of the first. Each ring needs a single spare value (a value that no row holds).
//!
//! The module `park_rows` gives every row in the way a spare value of its own, but a check or a type may not allow
//! enough values. For a ring, one value is enough. One row gets it for a moment, and the other rows take their new
//! values along the ring. The row with the spare value takes its new value last. The next ring can use the same spare
//! value.
//!
//! A ring is not written if a foreign key of the table to itself acts on updates of the ring's columns: the foreign key
//! would change other meters, which already have their new values.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::db::catalog::Column;
use crate::db::constraints_between_rows::UniquenessRule;
use crate::db::{DbError, RowFault, param, quote};

use super::leave_partial_index::{self, BlockingUpdates};
use super::narrow_column_values;
use super::spare_values_table;
use crate::engine::apply::collision_queries::{as_view, movable, waiting};
use crate::engine::apply::defer_constraints;
use crate::engine::apply::keep_references_through_exchange;
use crate::engine::plan::PlanStep;
use crate::engine::plan::UnwrittenRow;
use crate::engine::write_by_halving::{self, RowRange, RowRangeStatement, WriteAttemptOutcome};
use crate::engine::{RunContext, apply};

/// If more rows than this wait for a unique value of another row, no rings are looked for, because writing a ring takes
/// one statement for each of its rows.
const ROWS: usize = 5000;
/// The most pairs of a waiting row and the row that holds its value that are read for one unique index. Rings that need
/// further pairs are not found.
const MAX_PAIRS: usize = 20_000;
/// After this many rings that could not be written, no more rings are tried, because each may have cost hundreds of
/// statements.
const MAX_FAILED_RINGS: usize = 5;
/// The most rows of a ring that are tried, one after another, as the row that gets the spare value.
const MAX_STARTS: usize = 5;

/// A pair of planned updates: row `n` needs a unique value that row `holder` still holds. Both are row numbers in the
/// plan.
#[derive(Debug)]
struct NeededValueEdge {
    /// The position of the unique index or exclusion constraint in the list `constraints.exclusive`.
    rule: usize,
    n: i64,
    holder: i64,
}

/// Writes the updates in `bad` that form rings, and removes them from `bad`, the list of rows that could not be written
/// so far. Returns whether any were written.
pub(in crate::engine) async fn write(
    run: &RunContext<'_>,
    bad: &mut Vec<UnwrittenRow>,
) -> Result<bool, DbError> {
    let waiting: Vec<i64> = bad
        .iter()
        .filter(|row| row.step == PlanStep::Change && row.fault.is_collision())
        .map(|row| row.n)
        .collect();
    if waiting.len() < 2 || waiting.len() > ROWS {
        return Ok(false);
    }
    let edges = look_up(run, &waiting).await?;
    let (mut written, mut failed) = (HashSet::new(), 0);
    for ring in rings(&edges) {
        match write_ring(run, &ring, &edges).await? {
            true => written.extend(ring),
            false => failed += 1,
        }
        if failed == MAX_FAILED_RINGS {
            break;
        }
    }
    bad.retain(|row| !written.contains(&row.n));
    Ok(!written.is_empty())
}

/// Finds which of these planned updates need a unique value that another of them still holds.
async fn look_up(run: &RunContext<'_>, rows: &[i64]) -> Result<Vec<NeededValueEdge>, DbError> {
    let mut edges = Vec::new();
    for (position, rule) in run.relations.constraints.exclusive.iter().enumerate() {
        edges.extend(of_rule(run, position, rule, rows).await?);
    }
    Ok(edges)
}

/// Finds which of these planned updates need a value that another of them still holds, in one unique index or exclusion
/// constraint. `position` is where it stands in the list `constraints.exclusive`.
async fn of_rule(
    run: &RunContext<'_>,
    position: usize,
    rule: &UniquenessRule,
    rows: &[i64],
) -> Result<Vec<NeededValueEdge>, DbError> {
    let local = run.local;
    let pairs = format!(
        "-- find rings
select w.n, w.holder from pg_temp.meter_sync_found w
where w.n {equals} any ($1) and w.holder {equals} any ($1) limit {MAX_PAIRS}",
        equals = quote::EQUALS
    );
    if as_view(run, &waiting(run, rule)).await?.is_none() {
        return Ok(Vec::new());
    }
    let params = [param::bigints(rows)];
    let found = write_by_halving::if_possible(local, local.query(&pairs, &params)).await?;
    let edges = found.iter().flatten().map(|row| NeededValueEdge {
        rule: position,
        n: row.get(0),
        holder: row.get(1),
    });
    Ok(edges.collect())
}

/// Returns rings, each as a list of rows in which each row waits for the next one, and the last row for the first. No
/// row is in two rings.
fn rings(edges: &[NeededValueEdge]) -> Vec<Vec<i64>> {
    let mut holders: HashMap<i64, Vec<i64>> = HashMap::new();
    for edge in edges {
        holders.entry(edge.n).or_default().push(edge.holder);
    }
    let mut done = HashSet::new();
    let mut rings = Vec::new();
    for start in edges.iter().map(|edge| edge.n) {
        let mut path = match done.contains(&start) {
            true => Vec::new(),
            false => vec![start],
        };
        while let Some(row) = path.last() {
            let mut next = holders.get(row).into_iter().flatten();
            match next.find(|holder| !done.contains(*holder)) {
                Some(holder) => match path.iter().position(|row| row == holder) {
                    Some(position) => {
                        let ring = path.split_off(position);
                        done.extend(ring.iter().copied());
                        rings.push(ring);
                    }
                    None => path.push(*holder),
                },
                // No other ring goes through this row.
                None => done.extend(path.pop()),
            }
        }
    }
    rings
}

/// Tries to write the rows of a ring, with one of them first set to a spare value. Returns whether this worked. If an
/// index reads more than one column, there may be a spare value for one row of the ring and none for another, so
/// several rows are tried.
async fn write_ring(
    run: &RunContext<'_>,
    ring: &[i64],
    edges: &[NeededValueEdge],
) -> Result<bool, DbError> {
    let mut rules = run.relations.constraints.exclusive.iter();
    let starts = match rules.any(|rule| rule.reads.len() > 1) {
        true => ring.len().min(MAX_STARTS),
        false => 1,
    };
    let mut ring = ring.to_vec();
    for _ in 0..starts {
        let attempt = Box::pin(write_with_first_parked(run, &ring, edges));
        if let WriteAttemptOutcome::Written = write_by_halving::attempt(run.local, attempt).await? {
            return Ok(true);
        }
        ring.rotate_left(1);
    }
    Ok(false)
}

async fn write_with_first_parked(
    run: &RunContext<'_>,
    ring: &[i64],
    edges: &[NeededValueEdge],
) -> Result<WriteAttemptOutcome, DbError> {
    let local = run.local;
    let collision = || Box::new(RowFault::collision());
    let not_taken = || Ok(WriteAttemptOutcome::NotWritten(collision()));
    let Some(&first) = ring.first() else {
        return not_taken();
    };
    let is_inside = |edge: &&NeededValueEdge| ring.contains(&edge.n) && ring.contains(&edge.holder);
    let inside: Vec<&NeededValueEdge> = edges.iter().filter(is_inside).collect();
    let rules: BTreeSet<usize> = inside.iter().map(|edge| edge.rule).collect();
    let all = run.relations.constraints.exclusive.iter().enumerate();
    let mut rules: Vec<(usize, &UniquenessRule)> = all
        .filter(|(position, _)| rules.contains(position))
        .collect();
    // The value that frees a rule with few columns may free one with more columns, too, so rules with few columns come
    // first.
    rules.sort_by_key(|(_, rule)| rule.parts.len());
    let columns = rules.iter().flat_map(|(_, rule)| movable(run, rule));
    let columns: Vec<&Column> = columns.collect();
    if keep_references_through_exchange::changes_meters(run.relations, &columns) {
        return not_taken();
    }
    local.batch(&number(ring)).await?;
    keep_references_through_exchange::forget(run).await?;
    keep_references_through_exchange::put_off(run, &columns).await?;
    if !keep_references_through_exchange::prepare(run, &columns)
        .await?
        .is_empty()
    {
        return not_taken();
    }
    for (position, rule) in rules {
        if defer_constraints::put_off(local, rule).await? {
            continue;
        }
        let edges = of_rule(run, position, rule, ring).await?;
        if !edges.iter().any(|edge| edge.holder == first) {
            continue;
        }
        let blocking = BlockingUpdates {
            rule,
            waiting: Some(waiting(run, rule)),
            waits: "true".to_owned(),
            holds: format!("h.n {} {first}", quote::EQUALS),
        };
        if !Box::pin(park_row(run, &blocking, first)).await? {
            return not_taken();
        }
    }
    let write = RowRangeStatement {
        checks: false,
        ..apply::write(run, PlanStep::Change)
    };
    for &n in ring.iter().rev() {
        if let WriteAttemptOutcome::NotWritten(fault) =
            write.run(local, RowRange { first: n, last: n }).await?
        {
            return Ok(WriteAttemptOutcome::NotWritten(fault));
        }
    }
    keep_references_through_exchange::finish(run).await
}

/// Returns SQL that creates the temporary table `meter_sync_holder` with the rows of a ring, numbered by `k`.
fn number(ring: &[i64]) -> String {
    let rows = (1..).zip(ring);
    let rows = rows.map(|(k, n): (usize, _)| format!("({k}::bigint, {n}::bigint)"));
    format!(
        "-- number the rows of a ring
drop table if exists pg_temp.meter_sync_holder;
create temp table meter_sync_holder on commit drop as
select v.k, v.n from (values {}) v (k, n)",
        rows.collect::<Vec<_>>().join(", ")
    )
}

/// Sets a row to a spare value that the table accepts and that makes the row give up its entry in the index. If there
/// is no such value, tries to move the row out of the index, which may be partial. Returns whether either worked.
async fn park_row(
    run: &RunContext<'_>,
    blocking: &BlockingUpdates<'_>,
    row: i64,
) -> Result<bool, DbError> {
    let local = run.local;
    let is_alone = blocking.rule.reads.len() == 1;
    let columns = movable(run, blocking.rule);
    let own = spare_values_table::holders(run, &blocking.holds);
    for &column in &columns {
        let kind = spare_values_table::kind(local, column).await?;
        for spare in narrow_column_values::statements(run.relations, column, &kind, is_alone, &own)
        {
            let filled =
                write_by_halving::if_possible(local, spare_values_table::fill(run, &spare)).await?;
            if filled.is_some() && park_on_first_accepted(run, column, blocking, row).await? {
                return Ok(true);
            }
        }
    }
    Box::pin(leave_partial_index::leave(run, blocking, &columns)).await
}

/// Sets the row to each value of the temporary table `meter_sync_free` in turn, until the table accepts one and no
/// other row waits for this row any more. Returns whether there was such a value.
async fn park_on_first_accepted(
    run: &RunContext<'_>,
    column: &Column,
    blocking: &BlockingUpdates<'_>,
    row: i64,
) -> Result<bool, DbError> {
    let local = run.local;
    let park = park_one(run, column);
    let values: i64 = local.query_one(VALUES, &[]).await?.get(0);
    for k in 1..=values {
        let tried = write_by_halving::attempt(local, async {
            let params = [param::bigint(row), param::bigint(k)];
            if local.execute(&park, &params).await? != 1 {
                return Ok(WriteAttemptOutcome::NotWritten(Box::new(
                    RowFault::skipped(),
                )));
            }
            Ok(
                match leave_partial_index::are_out_of_the_way(run, blocking).await? {
                    true => WriteAttemptOutcome::Written,
                    false => WriteAttemptOutcome::NotWritten(Box::new(RowFault::collision())),
                },
            )
        });
        if let WriteAttemptOutcome::Written = tried.await? {
            return Ok(true);
        }
    }
    Ok(false)
}

const VALUES: &str = "\
-- count the free values
select pg_catalog.count(*) from pg_temp.meter_sync_free f";

/// Returns the statement that sets a column of the row numbered `$1` in the plan to the value numbered `$2` in
/// `meter_sync_free`. It changes no row if the column already has that value.
fn park_one(run: &RunContext<'_>, column: &Column) -> String {
    let (local, local_filter) = (&run.relations.local, &run.scope.local_filter);
    let name = quote::identifier(&column.name);
    format!(
        "-- park one row of a ring
update {local} l set {name} = f.value from pg_temp.meter_sync_free f, pg_temp.meter_sync_plan p
where p.n {equals} $1 and f.k {equals} $2 and {} and {local_filter} and (l.{name} {} f.value) is not true",
        run.relations.same_key("l", "p"),
        column.equals,
        equals = quote::EQUALS
    )
}

#[cfg(test)]
mod tests {
    use super::{NeededValueEdge, rings};

    #[test]
    fn rings_are_found_among_chains() {
        let edges = [
            (9, 1),
            (1, 2),
            (2, 3),
            (3, 1),
            (4, 5),
            (6, 7),
            (7, 6),
            (6, 5),
            (7, 8),
        ];
        let edges = edges.map(|(n, holder)| NeededValueEdge { rule: 0, n, holder });
        assert_eq!(rings(&edges), [vec![1, 2, 3], vec![6, 7]]);
    }
}
