//! Inserts rows into a local table with a foreign key to itself: parents (the rows that others refer to) before their
//! children. Rows that the table refuses are left out.
//!
//! To find a refused row, a set of rows is halved. If the rows were ordered by key, the parents of some rows might be
//! in the half that is tried later, and the table would refuse these rows, too. With parents first, a row's parents are
//! in the table already, unless they were refused themselves. Rows that refer to each other in a ring cannot be ordered
//! in this way. They are refused here and left to `write_reference_rings`.

use crate::db::incoming_foreign_keys::IncomingForeignKey;
use crate::db::{DbError, RowFault, param};

use super::{count_distributed_inserts, writing};
use crate::engine::plan::{PlanStep, index};
use crate::engine::write_by_halving::{self, RowRange, RowRangeStatement};
use crate::engine::{Relations, RunContext};
use crate::model::saturating_i64;

/// A reference from the new row `child` to the new row `parent`. Both are row numbers in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ParentEdge {
    parent: i64,
    child: i64,
}

/// Inserts the planned rows in these ranges, without those that the local table refuses. Returns the refused rows, each
/// with the reason, or the inner `Err(fault)` as soon as more than `limit` rows are refused.
pub(in crate::engine) async fn insert_all_but_the_bad(
    run: &RunContext<'_>,
    ranges: Vec<RowRange>,
    limit: usize,
) -> Result<Result<Vec<(i64, RowFault)>, Box<RowFault>>, DbError> {
    let RunContext {
        local, relations, ..
    } = *run;
    let mut edges = Vec::new();
    for reference in references(relations) {
        edges.extend(look_up(run, reference).await?);
    }
    let index = index(relations);
    if edges.is_empty() {
        let write = super::write(run, PlanStep::Insert);
        return write_by_halving::all_but_the_bad(local, ranges, limit, &index, &write).await;
    }
    let rows = ranges.iter().flat_map(|rows| rows.first..=rows.last);
    let order = parents_first(&rows.collect::<Vec<_>>(), edges);
    local.batch(ORDER).await?;
    local.execute(FILL, &[param::bigints(&order)]).await?;
    let all = RowRange {
        first: 1,
        last: saturating_i64(order.len()),
    };
    let write = RowRangeStatement {
        sql: writing(run, PlanStep::Insert, NUMBERED),
        has_gaps: false,
        checks: !relations.stores_rows_unchanged,
        recount: count_distributed_inserts::query(run, PlanStep::Insert, NUMBERED),
    };
    let index = format!("{index};\n{INDEX}");
    let bad = write_by_halving::all_but_the_bad(local, vec![all], limit, &index, &write).await?;
    let number = |k: i64| {
        usize::try_from(k - 1)
            .ok()
            .and_then(|k| order.get(k))
            .copied()
    };
    Ok(bad.map(|bad| {
        let bad = bad.into_iter();
        bad.filter_map(|(k, fault)| Some((number(k)?, fault)))
            .collect()
    }))
}

const ORDER: &str = "\
-- number the new rows anew
drop table if exists pg_temp.meter_sync_order;
create temp table meter_sync_order (k bigint, n bigint) on commit drop";

const FILL: &str = "\
-- fill in the order of the new rows
insert into pg_temp.meter_sync_order (k, n)
select o.k, o.n from pg_catalog.unnest($1::bigint[]) with ordinality o (n, k)";

const INDEX: &str = "\
create index if not exists meter_sync_order_k on pg_temp.meter_sync_order (k);
analyze pg_temp.meter_sync_order";

/// The SQL condition that row `p` of the plan has a position from `$1` to `$2` in the temporary table
/// `meter_sync_order`.
const NUMBERED: &str = "exists (select 1 from pg_temp.meter_sync_order o
    where o.n operator(pg_catalog.=) p.n and o.k >= $1 and o.k <= $2)";

/// Finds the references between planned new rows by one foreign key of the local table to itself.
async fn look_up(
    run: &RunContext<'_>,
    reference: &IncomingForeignKey,
) -> Result<Vec<ParentEdge>, DbError> {
    let relations = run.relations;
    let sql = format!(
        "-- look up which new rows refer to which
select h.n, p.n
from pg_temp.meter_sync_plan p
join pg_temp.meter_sync_stage s on {}
join (pg_temp.meter_sync_plan h join pg_temp.meter_sync_stage t on {}) on {}
where p.step operator(pg_catalog.=) 2 and h.step operator(pg_catalog.=) 2 and h.n operator(pg_catalog.<>) p.n",
        relations.same_key("s", "p"),
        relations.same_key("t", "h"),
        equal(relations, reference, "t")
    );
    let found = write_by_halving::if_possible(run.local, run.local.query(&sql, &[])).await?;
    let edge = |row: &tokio_postgres::Row| ParentEdge {
        parent: row.get(0),
        child: row.get(1),
    };
    Ok(found.iter().flatten().map(edge).collect())
}

/// Orders row numbers so that each row follows the parents that it refers to. `rows` must be in ascending order. Rows
/// that refer to each other in a ring, and rows that refer to such rows, come last.
fn parents_first(rows: &[i64], mut edges: Vec<ParentEdge>) -> Vec<i64> {
    edges.sort_unstable();
    let index = |n: i64| rows.binary_search(&n).ok();
    let mut missing = vec![0_u32; rows.len()];
    for index in edges.iter().filter_map(|edge| index(edge.child)) {
        if let Some(missing) = missing.get_mut(index) {
            *missing += 1;
        }
    }
    // A parent that is not among `rows` holds no child back.
    let (mut order, mut open) = (Vec::with_capacity(rows.len()), Vec::new());
    for edge in edges.iter().filter(|edge| index(edge.parent).is_none()) {
        arrive(&mut missing, index(edge.child));
    }
    for (index, n) in rows.iter().enumerate() {
        if missing.get(index) == Some(&0) {
            open.push(*n);
        }
    }
    open.reverse();
    while let Some(n) = open.pop() {
        order.push(n);
        let first = edges.partition_point(|edge| edge.parent < n);
        let children = edges.iter().skip(first).take_while(|edge| edge.parent == n);
        for edge in children {
            if arrive(&mut missing, index(edge.child)) {
                open.push(edge.child);
            }
        }
    }
    let waiting = rows
        .iter()
        .zip(&missing)
        .filter(|(_, missing)| **missing > 0);
    order.extend(waiting.map(|(n, _)| *n));
    order
}

/// Subtracts one from the entry `index` of `missing`, which has the number of parents that each row still waits for.
/// Returns whether none is left.
fn arrive(missing: &mut [u32], index: Option<usize>) -> bool {
    let missing = index.and_then(|index| missing.get_mut(index));
    missing.is_some_and(|missing| {
        *missing -= 1;
        *missing == 0
    })
}

/// Returns the foreign keys of the local table to itself whose columns are all synced.
pub(in crate::engine) fn references(
    relations: &Relations,
) -> impl Iterator<Item = &IncomingForeignKey> {
    relations.constraints.references.iter().filter(|reference| {
        let is_synced = |name| relations.names.contains(name);
        let mut pairs = reference.columns.iter();
        reference.is_own && pairs.all(|(from, to)| is_synced(from) && is_synced(to))
    })
}

/// Returns the SQL condition that the row with the alias `row` is the one to which the row `s`, read from the remote,
/// refers by the foreign key.
pub(in crate::engine) fn equal(
    relations: &Relations,
    reference: &IncomingForeignKey,
    row: &str,
) -> String {
    let pairs = reference.columns.iter().zip(&reference.compared);
    let pairs = pairs.map(|((from, to), (equals, collation))| {
        let (held, wanted) = (relations.column(row, to), relations.column("s", from));
        format!("{held} {equals} {wanted}{collation}")
    });
    pairs.collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::{ParentEdge, parents_first};

    #[test]
    fn each_row_follows_its_parents_and_rings_come_last() {
        let edges = [(9, 3), (3, 1), (4, 1), (6, 5), (5, 6), (5, 8), (2, 4)];
        let edges = edges.map(|(parent, child)| ParentEdge { parent, child });
        let order = parents_first(&[1, 3, 4, 5, 6, 7, 8, 9], edges.to_vec());
        assert_eq!(order, [4, 7, 9, 3, 1, 5, 6, 8]);
    }
}
