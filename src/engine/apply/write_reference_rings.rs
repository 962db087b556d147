//! Writes rows in one statement if they refer to each other by a foreign key of the local table to itself.
//!
//! Foreign keys are checked at the end of a statement, so one statement can write a whole ring of such rows, but no row
//! of the ring can be written alone. When a set of rows is halved to find the rows that the table refuses, a ring is
//! split and its rows are refused, too. From the refused rows, this module picks those that refer only to each other or
//! to rows of the table, and writes them together.

use std::collections::{HashMap, HashSet};

use crate::db::incoming_foreign_keys::IncomingForeignKey;
use crate::db::{DbError, RowFault, param};

use super::insert_parents_first::{self, equal, references};
use super::name_shard_constraints::breaks;
use super::{count_distributed_inserts, writing};
use crate::engine::plan::PlanStep;
use crate::engine::plan::UnwrittenRow;
use crate::engine::write_by_halving::{self, RowRange, WriteAttemptOutcome};
use crate::engine::{RunContext, copy_distributed_rows};

/// The SQL condition that the number of row `p` of the plan is in the array `$1`.
const PICKED: &str = "p.n operator(pg_catalog.=) any ($1)";

/// Retries the rows in `bad` that were refused because of a foreign key of the local table to itself. Writes those
/// together that refer to each other, and removes the written rows from `bad`.
pub(in crate::engine) async fn write_together(
    run: &RunContext<'_>,
    bad: &mut Vec<UnwrittenRow>,
) -> Result<(), DbError> {
    for step in [PlanStep::Insert, PlanStep::Change] {
        let waits = |fault: &RowFault| {
            references(run.relations)
                .any(|reference| breaks(run.relations, fault, &reference.constraint))
        };
        let waiting: Vec<i64> = bad
            .iter()
            .filter(|row| row.step == step && waits(&row.fault))
            .map(|row| row.n)
            .collect();
        if waiting.is_empty() {
            continue;
        }
        let mut edges = Vec::new();
        for reference in references(run.relations) {
            edges.extend(look_up(run, reference, &waiting).await?);
        }
        let groups = groups(&waiting, &edges);
        let written = write_groups(run, step, &groups).await?;
        bad.retain(|row| !written.contains(&row.n));
    }
    Ok(())
}

/// Writes all groups of planned rows in one statement. If that fails, writes each group of two or more rows in a
/// statement of its own, and leaves single rows to the caller. Returns the numbers of the rows written.
async fn write_groups(
    run: &RunContext<'_>,
    step: PlanStep,
    groups: &[Vec<i64>],
) -> Result<HashSet<i64>, DbError> {
    let all = groups.concat();
    if !all.is_empty() && write_all_or_none(run, step, &all).await? {
        return Ok(all.into_iter().collect());
    }
    let mut written = HashSet::new();
    for group in groups.iter().filter(|group| group.len() > 1) {
        if groups.len() > 1 && write_all_or_none(run, step, group).await? {
            written.extend(group);
        }
    }
    Ok(written)
}

/// If more than this many new rows cannot be inserted before the updates, [`insert_early`] inserts none.
const MAX_LEFT_OUT: usize = 100;

/// If the local table has a foreign key to itself, inserts as many new rows as possible before the updates, because the
/// updates may refer to them. Returns the ranges of the rows that were not inserted. The caller inserts these after the
/// updates, which may free unique values that the new rows need.
pub(in crate::engine) async fn insert_early(
    run: &RunContext<'_>,
    rows: RowRange,
) -> Result<Vec<RowRange>, DbError> {
    if references(run.relations).next().is_none() {
        return Ok(vec![rows]);
    }
    let inserted = run.local.attempt("early", async {
        insert_parents_first::insert_all_but_the_bad(run, vec![rows], MAX_LEFT_OUT).await
    });
    let Ok(left) = inserted.await? else {
        return Ok(vec![rows]);
    };
    let mut left: Vec<UnwrittenRow> = UnwrittenRow::of_step(PlanStep::Insert, left).collect();
    write_together(run, &mut left).await?;
    Ok(left
        .iter()
        .map(|row| RowRange {
            first: row.n,
            last: row.n,
        })
        .collect())
}

async fn write_all_or_none(
    run: &RunContext<'_>,
    step: PlanStep,
    rows: &[i64],
) -> Result<bool, DbError> {
    let local = run.local;
    let sql = writing(run, step, PICKED);
    let recount = count_distributed_inserts::query(run, step, PICKED);
    let tried = write_by_halving::attempt(local, async {
        let mut touched = local.execute(&sql, &[param::bigints(rows)]).await?;
        if let Some(recount) = &recount {
            let counted = local.query_one(recount, &[param::bigints(rows)]).await?;
            touched = counted.get::<_, i64>(0).unsigned_abs();
        }
        if usize::try_from(touched) != Ok(rows.len()) {
            return Ok(WriteAttemptOutcome::NotWritten(Box::new(
                RowFault::skipped(),
            )));
        }
        if !run.relations.stores_rows_unchanged {
            local.batch(write_by_halving::CHECK).await?;
        }
        Ok(WriteAttemptOutcome::Written)
    });
    Ok(matches!(tried.await?, WriteAttemptOutcome::Written))
}

/// A reference from a planned row to another row.
struct RowReference {
    from: i64,
    /// The number of the planned row that will have the referenced value. `None` if none of the rows given to
    /// [`look_up`] will have it.
    to: Option<i64>,
    /// Whether a row of the local table already has the referenced value.
    is_here: bool,
}

/// Looks up the references of these planned rows by one foreign key. A row with NULL in a column of the foreign key has
/// none.
async fn look_up(
    run: &RunContext<'_>,
    reference: &IncomingForeignKey,
    rows: &[i64],
) -> Result<Vec<RowReference>, DbError> {
    let relations = run.relations;
    let set = reference.columns.iter();
    let set: Vec<String> = set
        .map(|(from, _)| format!("{} is not null", relations.column("s", from)))
        .collect();
    let (staged, other) = (relations.same_key("s", "p"), relations.same_key("t", "h"));
    let sql = format!(
        "-- look up what the rows refer to
select p.n, h.n, exists (select 1 from {} where {})
from pg_temp.meter_sync_plan p
join pg_temp.meter_sync_stage s on {staged}
left join (pg_temp.meter_sync_plan h join pg_temp.meter_sync_stage t on {other}
    and h.n operator(pg_catalog.=) any ($1)) on {}
where {PICKED} and {}",
        run.relations.local_rows(),
        equal(relations, reference, "l"),
        equal(relations, reference, "t"),
        set.join(" and ")
    );
    let params = [param::bigints(rows)];
    copy_distributed_rows::copy(run).await?;
    let found = write_by_halving::if_possible(run.local, run.local.query(&sql, &params)).await?;
    let edge = |row: &tokio_postgres::Row| RowReference {
        from: row.get(0),
        to: row.get(1),
        is_here: row.get(2),
    };
    Ok(found.iter().flatten().map(edge).collect())
}

/// Divides those of `rows` that refer only to rows of the local table and to each other into groups. Each group can be
/// written independently of the others. All other rows are left out.
fn groups(rows: &[i64], edges: &[RowReference]) -> Vec<Vec<i64>> {
    let mut referring: HashMap<i64, Vec<i64>> = HashMap::new();
    let mut hopeless = HashSet::new();
    let mut open = Vec::new();
    for edge in edges.iter().filter(|edge| !edge.is_here) {
        match edge.to {
            Some(to) => referring.entry(to).or_default().push(edge.from),
            None if hopeless.insert(edge.from) => open.push(edge.from),
            None => {}
        }
    }
    while let Some(row) = open.pop() {
        for from in referring.get(&row).into_iter().flatten() {
            if hopeless.insert(*from) {
                open.push(*from);
            }
        }
    }
    let mut beside: HashMap<i64, Vec<i64>> = HashMap::new();
    for (to, from) in referring
        .iter()
        .flat_map(|(to, from)| from.iter().map(move |from| (*to, *from)))
    {
        beside.entry(to).or_default().push(from);
        beside.entry(from).or_default().push(to);
    }
    let mut seen = hopeless;
    let mut groups = Vec::new();
    for row in rows {
        let mut group = Vec::new();
        let mut open = vec![*row];
        while let Some(row) = open.pop() {
            if seen.insert(row) {
                group.push(row);
                open.extend(beside.get(&row).into_iter().flatten());
            }
        }
        if !group.is_empty() {
            groups.push(group);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::{RowReference, groups};

    #[test]
    fn rows_that_wait_for_a_missing_row_are_in_no_group() {
        let edge = |from, to, is_here| RowReference { from, to, is_here };
        let edges = [
            edge(1, Some(2), false),
            edge(2, Some(1), false),
            edge(3, None, false),
            edge(4, Some(3), false),
            edge(5, Some(5), false),
            edge(6, None, true),
        ];
        let mut found = groups(&[1, 2, 3, 4, 5, 6], &edges);
        found.iter_mut().for_each(|group| group.sort_unstable());
        assert_eq!(found, [vec![1, 2], vec![5], vec![6]]);
    }
}
