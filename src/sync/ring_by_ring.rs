//! Breaks rings of rows that wait for each other's unique values one ring after the other, with a single free value.
//!
//! To park every row that stands in the way takes a free value for each. A check or a type may allow fewer, and for a ring one
//! is enough: one row takes it, the others take their values along the ring, and that row comes last. The next ring can
//! use the same value.
//!
//! Rings of meters that other meters refer to are left out: an update would change those, which were written before.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::db::catalog::Column;
use crate::db::exclusive::Exclusive;
use crate::db::{DbError, Local, RowFault, Tx, param, quote};

use super::apply;
use super::collisions::{as_view, movable, waiting};
use super::few_values;
use super::outside_index::{self, Obstacles};
use super::plan::Step;
use super::reasons::BadRow;
use super::rejected::{self, PerRow, Rows, Tried};
use super::{Job, Shape, carry, deferred, park};

/// Among more rows than this nobody looks for rings: each is written by a statement of its own.
const ROWS: usize = 5000;
/// Nor among more pairs of rows.
const PAIRS: usize = 20_000;
/// After so many rings that could not be broken no more are tried: each may have cost hundreds of statements.
const UNBROKEN: usize = 5;
/// A ring is tried at so many of its rows.
const STARTS: usize = 5;

/// A row waits for what another one holds.
#[derive(Debug)]
struct Edge {
    /// The place of the rule by which it does.
    rule: usize,
    n: i64,
    holder: i64,
}

/// Writes the rows that form rings and takes them out of `bad`; whether there were any.
pub(super) async fn write(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    bad: &mut Vec<BadRow>,
) -> Result<bool, DbError> {
    let waiting: Vec<i64> = bad
        .iter()
        .filter(|(step, _, fault)| *step == Step::Change && fault.is_collision())
        .map(|(_, n, _)| *n)
        .collect();
    if waiting.len() < 2 || waiting.len() > ROWS {
        return Ok(false);
    }
    let edges = look_up(local, shape, &waiting).await?;
    let (mut written, mut unbroken) = (HashSet::new(), 0);
    for ring in rings(&edges) {
        match is_broken(local, shape, job, (&ring, &edges)).await? {
            true => written.extend(ring),
            false => unbroken += 1,
        }
        if unbroken == UNBROKEN {
            break;
        }
    }
    bad.retain(|(_, n, _)| !written.contains(n));
    Ok(!written.is_empty())
}

/// Who of the rows waits for whom.
async fn look_up(local: &Tx<'_, Local>, shape: &Shape, rows: &[i64]) -> Result<Vec<Edge>, DbError> {
    let mut edges = Vec::new();
    for (place, rule) in shape.rules.exclusive.iter().enumerate() {
        edges.extend(of_rule(local, shape, (place, rule), rows).await?);
    }
    Ok(edges)
}

/// Who of the rows waits for whom by one rule.
async fn of_rule(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (place, rule): (usize, &Exclusive),
    rows: &[i64],
) -> Result<Vec<Edge>, DbError> {
    let pairs = format!(
        "-- find rings
select w.n, w.holder from pg_temp.meter_sync_found w
where w.n {equals} any ($1) and w.holder {equals} any ($1) limit {PAIRS}",
        equals = quote::EQUALS
    );
    if as_view(local, &waiting(shape, rule)).await?.is_none() {
        return Ok(Vec::new());
    }
    let params = [param::bigints(rows)];
    let found = rejected::if_possible(local, local.query(&pairs, &params)).await?;
    let edges = found.iter().flatten().map(|row| Edge {
        rule: place,
        n: row.get(0),
        holder: row.get(1),
    });
    Ok(edges.collect())
}

/// Rings that have no row in common: each row waits for the next one, and the last for the first.
fn rings(edges: &[Edge]) -> Vec<Vec<i64>> {
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
                    Some(place) => {
                        let ring = path.split_off(place);
                        done.extend(ring.iter().copied());
                        rings.push(ring);
                    }
                    None => path.push(*holder),
                },
                // It waits for nobody who is in a ring.
                None => done.extend(path.pop()),
            }
        }
    }
    rings
}

/// Breaks a ring at one of its rows. Where rows are told apart by more than one column, another row may find a place where the
/// first does not.
async fn is_broken(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (ring, edges): (&[i64], &[Edge]),
) -> Result<bool, DbError> {
    let mut rules = shape.rules.exclusive.iter();
    let starts = match rules.any(|rule| rule.reads.len() > 1) {
        true => ring.len().min(STARTS),
        false => 1,
    };
    let mut ring = ring.to_vec();
    for _ in 0..starts {
        let broken = Box::pin(break_one(local, shape, job, (&ring, edges)));
        if let Tried::Taken = rejected::attempt(local, broken).await? {
            return Ok(true);
        }
        ring.rotate_left(1);
    }
    Ok(false)
}

async fn break_one(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (ring, edges): (&[i64], &[Edge]),
) -> Result<Tried, DbError> {
    let not_taken = || Ok(Tried::NotTaken(Box::new(RowFault::collision())));
    let Some(&first) = ring.first() else {
        return not_taken();
    };
    let is_inside = |edge: &&Edge| ring.contains(&edge.n) && ring.contains(&edge.holder);
    let inside: Vec<&Edge> = edges.iter().filter(is_inside).collect();
    let rules: BTreeSet<usize> = inside.iter().map(|edge| edge.rule).collect();
    let all = shape.rules.exclusive.iter().enumerate();
    let mut rules: Vec<(usize, &Exclusive)> =
        all.filter(|(place, _)| rules.contains(place)).collect();
    // What gets a row out of the way of a rule with fewer parts may do so for one with more.
    rules.sort_by_key(|(_, rule)| rule.parts.len());
    let columns = rules.iter().flat_map(|(_, rule)| movable(shape, job, rule));
    let columns: Vec<&Column> = columns.collect();
    if carry::changes_meters(shape, &columns) {
        return not_taken();
    }
    local.batch(&number(ring)).await?;
    carry::forget(local, shape).await?;
    carry::put_off(local, shape, &columns).await?;
    if !carry::prepare(local, shape, &columns).await?.is_empty() {
        return not_taken();
    }
    for (place, rule) in rules {
        if deferred::put_off(local, rule).await? {
            continue;
        }
        let edges = of_rule(local, shape, (place, rule), ring).await?;
        if !edges.iter().any(|edge| edge.holder == first) {
            continue;
        }
        let obstacles = Obstacles {
            rule,
            waiting: Some(waiting(shape, rule)),
            waits: "true".to_owned(),
            holds: format!("h.n {} {first}", quote::EQUALS),
        };
        if !Box::pin(is_parked(local, shape, (job, &obstacles), first)).await? {
            return not_taken();
        }
    }
    let write = PerRow {
        checks: false,
        ..apply::write(shape, Step::Change)
    };
    for &n in ring.iter().rev() {
        if let Tried::NotTaken(fault) = write.run(local, Rows { first: n, last: n }).await? {
            return Ok(Tried::NotTaken(fault));
        }
    }
    carry::finish(local, shape).await
}

/// Numbers the rows of a ring as those that stand in the way.
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

/// Lets a row take the first value that gets it out of the way of a rule and that its columns take.
async fn is_parked(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (job, obstacles): (&Job<'_>, &Obstacles<'_>),
    row: i64,
) -> Result<bool, DbError> {
    let is_alone = obstacles.rule.reads.len() == 1;
    let columns = movable(shape, job, obstacles.rule);
    let own = park::holders(shape, &obstacles.holds);
    for &column in &columns {
        let kind = park::kind(local, column).await?;
        for free in few_values::statements(shape, column, &kind, is_alone, &own) {
            let filled = rejected::if_possible(local, park::fill(local, &free)).await?;
            if filled.is_some() && takes_one(local, shape, (column, obstacles), row).await? {
                return Ok(true);
            }
        }
    }
    Box::pin(outside_index::leave(local, shape, obstacles, &columns)).await
}

/// Lets a row take the first of the values in `meter_sync_free` that it can and that gets it out of the way.
async fn takes_one(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (column, obstacles): (&Column, &Obstacles<'_>),
    row: i64,
) -> Result<bool, DbError> {
    let park = park_one(shape, column);
    let values: i64 = local.query_one(VALUES, &[]).await?.get(0);
    for k in 1..=values {
        let tried = rejected::attempt(local, async {
            let params = [param::bigint(row), param::bigint(k)];
            if local.execute(&park, &params).await? != 1 {
                return Ok(Tried::NotTaken(Box::new(RowFault::skipped())));
            }
            Ok(
                match outside_index::are_out_of_the_way(local, obstacles).await? {
                    true => Tried::Taken,
                    false => Tried::NotTaken(Box::new(RowFault::collision())),
                },
            )
        });
        if let Tried::Taken = tried.await? {
            return Ok(true);
        }
    }
    Ok(false)
}

const VALUES: &str = "\
-- count the free values
select pg_catalog.count(*) from pg_temp.meter_sync_free f";

/// Takes the number of the row and that of the value; a value that the row holds is no other place.
fn park_one(shape: &Shape, column: &Column) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let name = quote::identifier(&column.name);
    format!(
        "-- park one row of a ring
update {local} l set {name} = f.value from pg_temp.meter_sync_free f, pg_temp.meter_sync_plan p
where p.n {equals} $1 and f.k {equals} $2 and {} and {local_filter} and (l.{name} {} f.value) is not true",
        shape.same_key("l", "p"),
        column.equals,
        equals = quote::EQUALS
    )
}

#[cfg(test)]
mod tests {
    use super::{Edge, rings};

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
        let edges = edges.map(|(n, holder)| Edge { rule: 0, n, holder });
        assert_eq!(rings(&edges), [vec![1, 2, 3], vec![6, 7]]);
    }
}
