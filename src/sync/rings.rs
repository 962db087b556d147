//! Writes rows together that refer to each other by a foreign key of the local table to itself.
//!
//! A statement that writes them all passes, since foreign keys are checked at its end. No row of a ring goes in alone, so halving
//! a set because of another row keeps the ring out. From the rows that were not taken those are picked whose reference
//! can be satisfied, by the table or by each other.

use std::collections::{HashMap, HashSet};

use crate::db::exclusive::Reference;
use crate::db::{DbError, Local, RowFault, Tx, param};

use super::apply::writing;
use super::plan::Step;
use super::reasons::BadRow;
use super::rejected::{self, Rows, Tried};
use super::{Shape, parents};

/// The rows of the plan with these numbers.
const PICKED: &str = "p.n operator(pg_catalog.=) any ($1)";

/// The foreign keys of the local table to itself that the synced columns alone decide.
pub(super) fn references(shape: &Shape) -> impl Iterator<Item = &Reference> {
    shape.rules.references.iter().filter(|reference| {
        let is_synced = |name| shape.names.contains(name);
        let mut pairs = reference.columns.iter();
        reference.is_own && pairs.all(|(from, to)| is_synced(from) && is_synced(to))
    })
}

/// Writes those of the rows that are only kept out by such a foreign key and can be written together, and takes them out of `bad`.
pub(super) async fn write_together(
    local: &Tx<'_, Local>,
    shape: &Shape,
    bad: &mut Vec<BadRow>,
) -> Result<(), DbError> {
    for step in [Step::Insert, Step::Change] {
        let waits = |fault: &RowFault| {
            references(shape).any(|reference| fault.rule.as_ref() == Some(&reference.constraint))
        };
        let waiting: Vec<i64> = bad
            .iter()
            .filter(|(of, _, fault)| *of == step && waits(fault))
            .map(|(_, n, _)| *n)
            .collect();
        if waiting.is_empty() {
            continue;
        }
        let mut edges = Vec::new();
        for reference in references(shape) {
            edges.extend(look_up(local, shape, reference, &waiting).await?);
        }
        let groups = groups(&waiting, &edges);
        let written = write_groups(local, shape, step, &groups).await?;
        bad.retain(|(_, n, _)| !written.contains(n));
    }
    Ok(())
}

/// Writes all groups at once, or those that can be written by themselves. A row alone is left to the caller.
async fn write_groups(
    local: &Tx<'_, Local>,
    shape: &Shape,
    step: Step,
    groups: &[Vec<i64>],
) -> Result<HashSet<i64>, DbError> {
    let all = groups.concat();
    if !all.is_empty() && is_taken(local, shape, step, &all).await? {
        return Ok(all.into_iter().collect());
    }
    let mut written = HashSet::new();
    for group in groups.iter().filter(|group| group.len() > 1) {
        if groups.len() > 1 && is_taken(local, shape, step, group).await? {
            written.extend(group);
        }
    }
    Ok(written)
}

/// More rows than this are not rejected while rows are inserted early.
const LEFT: usize = 100;

/// Inserts rows before the updates of others that may refer to them, if the local table refers to itself: the rows that can be
/// inserted by then. The usual order frees unique values first, so the others are left for later. Gives the ranges left.
pub(super) async fn insert_early(
    local: &Tx<'_, Local>,
    shape: &Shape,
    rows: Rows,
) -> Result<Vec<Rows>, DbError> {
    if references(shape).next().is_none() {
        return Ok(vec![rows]);
    }
    local.savepoint("early").await?;
    let tried = parents::insert_all_but_the_bad(local, shape, vec![rows], LEFT).await?;
    let Ok(left) = tried else {
        local.back_to("early").await?;
        return Ok(vec![rows]);
    };
    local.release("early").await?;
    let left = left.into_iter();
    let mut left: Vec<BadRow> = left.map(|(n, fault)| (Step::Insert, n, fault)).collect();
    write_together(local, shape, &mut left).await?;
    Ok(left
        .iter()
        .map(|(_, n, _)| Rows {
            first: *n,
            last: *n,
        })
        .collect())
}

async fn is_taken(
    local: &Tx<'_, Local>,
    shape: &Shape,
    step: Step,
    rows: &[i64],
) -> Result<bool, DbError> {
    let sql = writing(shape, step, PICKED);
    let tried = rejected::attempt(local, async {
        let touched = local.execute(&sql, &[param::bigints(rows)]).await?;
        if usize::try_from(touched) != Ok(rows.len()) {
            return Ok(Tried::NotTaken(Box::new(RowFault::skipped())));
        }
        if !shape.keeps_what_is_written {
            local.batch(rejected::CHECK).await?;
        }
        Ok(Tried::Taken)
    });
    Ok(matches!(tried.await?, Tried::Taken))
}

/// A row refers to another one.
struct Edge {
    from: i64,
    /// The row among those asked about that is to hold the value.
    to: Option<i64>,
    /// Whether a local row holds it.
    is_here: bool,
}

/// What the rows refer to by a foreign key. A row with a null in it refers to nothing.
async fn look_up(
    local: &Tx<'_, Local>,
    shape: &Shape,
    reference: &Reference,
    rows: &[i64],
) -> Result<Vec<Edge>, DbError> {
    let set = reference.columns.iter();
    let set: Vec<String> = set
        .map(|(from, _)| format!("{} is not null", shape.column("s", from)))
        .collect();
    let (staged, other) = (shape.same_key("s", "p"), shape.same_key("t", "h"));
    let sql = format!(
        "-- look up what the rows refer to
select p.n, h.n, exists (select from {} l where {})
from pg_temp.meter_sync_plan p
join pg_temp.meter_sync_stage s on {staged}
left join (pg_temp.meter_sync_plan h join pg_temp.meter_sync_stage t on {other}
    and h.n operator(pg_catalog.=) any ($1)) on {}
where {PICKED} and {}",
        shape.local,
        equal(shape, reference, "l"),
        equal(shape, reference, "t"),
        set.join(" and ")
    );
    let params = [param::bigints(rows)];
    let found = rejected::if_possible(local, local.query(&sql, &params)).await?;
    let edge = |row: &tokio_postgres::Row| Edge {
        from: row.get(0),
        to: row.get(1),
        is_here: row.get(2),
    };
    Ok(found.iter().flatten().map(edge).collect())
}

/// Holds where a row has what a staged row `s` refers to.
pub(super) fn equal(shape: &Shape, reference: &Reference, row: &str) -> String {
    let pairs = reference.columns.iter().zip(&reference.compared);
    let pairs = pairs.map(|((from, to), (equals, collation))| {
        let (held, wanted) = (shape.column(row, to), shape.column("s", from));
        format!("{held} {equals} {wanted}{collation}")
    });
    pairs.collect::<Vec<_>>().join(" and ")
}

/// The rows whose references can all be satisfied, as groups that refer to no other group.
fn groups(rows: &[i64], edges: &[Edge]) -> Vec<Vec<i64>> {
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
    use super::{Edge, groups};

    #[test]
    fn rows_that_wait_for_a_missing_row_are_in_no_group() {
        let edge = |from, to, is_here| Edge { from, to, is_here };
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
