//! Keeps the rows of other tables with their meter while its unique value is exchanged.
//!
//! A foreign key that cascades does so by itself. One that sets null or the default would lose the meter although its
//! value has only moved to another row, so the rows that refer to it are noted before and take the new value after. One
//! that refuses is checked when all have moved, where it can be deferred.

use crate::db::catalog::Column;
use crate::db::exclusive::Reference;
use crate::db::{DbError, Local, RowFault, Tx, quote};

use super::Shape;
use super::exchange::Bad;
use super::rejected::{self, Tried};

/// Prepares the exchange of the rows in `meter_sync_holder`, of which some of the columns will change; gives those
/// that cannot be exchanged without harm.
pub(super) async fn prepare(
    local: &Tx<'_, Local>,
    shape: &Shape,
    columns: &[&Column],
) -> Result<Bad, DbError> {
    let refers = |reference: &Reference| {
        let mut pairs = reference.columns.iter();
        pairs.any(|(_, to)| columns.iter().any(|column| column.name == *to))
    };
    let mut refused = Vec::new();
    let references = &shape.rules.references;
    if references.iter().any(|one| refers(one) && one.forgets()) {
        hold(local, shape).await?;
    }
    for (place, reference) in references.iter().enumerate() {
        if !refers(reference) {
            continue;
        }
        if can_wait(reference) {
            let name = &reference.name;
            let defer = format!("-- check a reference later\nset constraints {name} deferred");
            local.batch(&defer).await?;
        }
        if changes_others(reference) {
            local.batch(&note_own(shape, (place, reference))).await?;
            continue;
        }
        refused.extend(lost_behind(local, shape, reference).await?);
        if !reference.forgets() {
            continue;
        }
        if can_be_carried(reference) {
            local.batch(&note(shape, (place, reference))).await?;
        } else {
            refused.extend(referred_to(local, shape, reference).await?);
        }
    }
    // Several may refer to one row.
    refused.sort_by_key(|(n, _)| *n);
    refused.dedup_by_key(|(n, _)| *n);
    Ok(refused)
}

/// Lets nobody come to refer to the rows in `meter_sync_holder` before they are written: who does so meanwhile waits, and whoever has
/// done so is seen by the next statement.
async fn hold(local: &Tx<'_, Local>, shape: &Shape) -> Result<(), DbError> {
    let Shape {
        local: table,
        local_filter,
        ..
    } = shape;
    let hold = format!(
        "-- hold who may be referred to
select pg_catalog.count(*) from (
    select from pg_temp.meter_sync_holder h
    join pg_temp.meter_sync_plan p on p.n = h.n
    join {table} l on {} and {local_filter} order by p.n for update of l) k",
        shape.same_key("l", "p")
    );
    local.query_one(&hold, &[]).await.map(drop)
}

/// Puts off the check of what these columns refer to in other tables, where it can wait until [`finish`]; whether one can.
pub(super) async fn put_off(
    local: &Tx<'_, Local>,
    shape: &Shape,
    columns: &[&Column],
) -> Result<bool, DbError> {
    let mut are_some = false;
    for outward in shape.rules.outward.iter().filter(|to| to.is_deferrable) {
        let mut pairs = outward.columns.iter();
        if pairs.any(|(from, _)| columns.iter().any(|column| column.name == *from)) {
            let defer = format!(
                "-- check a reference later\nset constraints {} deferred",
                outward.name
            );
            // A constraint of the same name in another schema may not be deferrable.
            let deferred = rejected::if_possible(local, local.batch(&defer)).await?;
            are_some |= deferred.is_some();
        }
    }
    Ok(are_some)
}

/// Lets what refers to the rows follow them; checks what was put off.
pub(super) async fn finish(local: &Tx<'_, Local>, shape: &Shape) -> Result<Tried, DbError> {
    for (place, reference) in shape.rules.references.iter().enumerate() {
        if changes_others(reference) && is_noted(local, place).await? {
            local.execute(&restore((place, reference)), &[]).await?;
        } else if reference.forgets() && is_noted(local, place).await? {
            local
                .execute(&follow(shape, (place, reference)), &[])
                .await?;
            if !do_all_follow(local, shape, (place, reference)).await? {
                return Ok(Tried::NotTaken(Box::new(lost(reference))));
            }
        }
    }
    // As at the start of the whole plan.
    local.batch(rejected::CHECK).await?;
    Ok(Tried::Taken)
}

/// Whether an update of one of these columns changes other meters.
pub(super) fn changes_meters(shape: &Shape, columns: &[&Column]) -> bool {
    let mut references = shape.rules.references.iter();
    references.any(|reference| {
        let mut pairs = reference.columns.iter();
        reference.is_own
            && ["c", "n", "d"].contains(&reference.on_update.as_str())
            && pairs.any(|(_, to)| columns.iter().any(|column| column.name == *to))
    })
}

/// Forgets who was noted for an exchange that is over.
pub(super) async fn forget(local: &Tx<'_, Local>, shape: &Shape) -> Result<(), DbError> {
    for place in 0..shape.rules.references.len() {
        let drop = format!(
            "-- forget who was noted\ndrop table if exists pg_temp.meter_sync_carried_{place}"
        );
        local.batch(&drop).await?;
    }
    Ok(())
}

/// Whether the fault is that rows of another table refer to the row.
pub(super) fn is_held_fast(shape: &Shape, fault: &RowFault) -> bool {
    let rules = &shape.rules;
    let ends = rules.losing.iter().filter_map(|path| path.last());
    let mut others = rules
        .references
        .iter()
        .filter(|reference| !reference.is_own)
        .chain(ends);
    fault
        .rule
        .as_ref()
        .is_some_and(|rule| others.any(|reference| reference.constraint == *rule))
}

fn can_wait(reference: &Reference) -> bool {
    reference.is_deferrable && reference.on_update == "a"
}

/// Whether meters refer to meters, and an update of one changes others. What those say comes from the remote.
fn changes_others(reference: &Reference) -> bool {
    reference.is_own
        && ["c", "n", "d"].contains(&reference.on_update.as_str())
        && !reference.key.is_empty()
}

fn can_be_carried(reference: &Reference) -> bool {
    !reference.key.is_empty() && reference.is_readable && reference.is_writable
}

/// `l.b = c.a and ..` over the columns of the foreign key, as it compares them itself.
pub(super) fn refers(reference: &Reference) -> String {
    refers_to(reference, "c", "l")
}

/// The same for a row `from` that refers to a row `to`.
fn refers_to(reference: &Reference, from: &str, to: &str) -> String {
    let pairs = reference.columns.iter().zip(&reference.compared);
    let pairs = pairs.map(|((refers, referred), (equals, collation))| {
        let (refers, referred) = (quote::identifier(refers), quote::identifier(referred));
        format!("{to}.{referred} {equals} {from}.{refers}{collation}")
    });
    pairs.collect::<Vec<_>>().join(" and ")
}

/// The rows of another table that refer to the rows in `meter_sync_holder`: `c`, with the holder `h`.
fn referring(shape: &Shape, reference: &Reference) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let (local_row, refers) = (shape.same_key("l", "p"), refers(reference));
    format!(
        "pg_temp.meter_sync_holder h
join pg_temp.meter_sync_plan p on p.n = h.n
join {local} l on {local_row} and {local_filter}
join {} c on {refers}",
        reference.table
    )
}

fn note(shape: &Shape, (place, reference): (usize, &Reference)) -> String {
    let key = quote::list(&reference.key, "", |name| {
        let at = reference.key.iter().position(|known| known == name);
        format!(", c.{} as k{}", quote::identifier(name), at.unwrap_or(0))
    });
    let rows = format!("select h.n{key} from {}", referring(shape, reference));
    format!(
        "-- note who refers to the rows
create temp table if not exists meter_sync_carried_{place} on commit drop as {rows} with no data;
insert into pg_temp.meter_sync_carried_{place} {rows}"
    )
}

/// Notes what meters that are not in the plan say of those that are exchanged.
fn note_own(shape: &Shape, (place, reference): (usize, &Reference)) -> String {
    let keys = (0..)
        .zip(&reference.key)
        .map(|(at, name): (usize, _)| format!("c.{} as k{at}", quote::identifier(name)));
    let values = (0..)
        .zip(&reference.columns)
        .map(|(at, (from, _)): (usize, _)| format!("c.{} as v{at}", quote::identifier(from)));
    let columns: Vec<String> = keys.chain(values).collect();
    let is_planned = quote::list(&shape.key, " and ", |name| {
        let (here, there) = (quote::identifier(name), shape.column("o", name));
        format!("c.{here} {} {there}", shape.equals(name))
    });
    let rows = format!(
        "select {} from {}
where not exists (select from pg_temp.meter_sync_plan o where {is_planned})",
        columns.join(", "),
        referring(shape, reference)
    );
    format!(
        "-- note what meters say of each other
create temp table if not exists meter_sync_carried_{place} on commit drop as {rows} with no data;
insert into pg_temp.meter_sync_carried_{place} {rows}"
    )
}

/// Gives these meters back what they said.
fn restore((place, reference): (usize, &Reference)) -> String {
    let set: Vec<String> = (0..)
        .zip(&reference.columns)
        .map(|(at, (from, _)): (usize, _)| format!("{} = k.v{at}", quote::identifier(from)))
        .collect();
    format!(
        "-- let meters say of each other what they said
update {} c set {} from pg_temp.meter_sync_carried_{place} k where {}",
        reference.table,
        set.join(", "),
        noted_row(reference)
    )
}

async fn is_noted(local: &Tx<'_, Local>, place: usize) -> Result<bool, DbError> {
    let sql = format!(
        "-- look for noted rows
select pg_catalog.to_regclass('pg_temp.meter_sync_carried_{place}') is not null"
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}

fn follow(shape: &Shape, (place, reference): (usize, &Reference)) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let set: Vec<String> = reference
        .columns
        .iter()
        .map(|(from, to)| format!("{} = l.{}", quote::identifier(from), quote::identifier(to)))
        .collect();
    format!(
        "-- let what refers to the rows follow them
update {} c set {}
from pg_temp.meter_sync_carried_{place} k, pg_temp.meter_sync_plan p, {local} l
where {} and p.n = k.n and {} and {local_filter}",
        reference.table,
        set.join(", "),
        noted_row(reference),
        shape.same_key("l", "p")
    )
}

/// Whether all that was noted refers to its row again: a trigger may have a will of its own.
async fn do_all_follow(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (place, reference): (usize, &Reference),
) -> Result<bool, DbError> {
    let Shape {
        local: table,
        local_filter,
        ..
    } = shape;
    let sql = format!(
        "-- look whether all follow
select not exists (
    select from pg_temp.meter_sync_carried_{place} k
    join pg_temp.meter_sync_plan p on p.n = k.n
    join {table} l on {} and {local_filter}
    where not exists (select from {} c where {} and {}))",
        shape.same_key("l", "p"),
        reference.table,
        noted_row(reference),
        refers(reference)
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}

/// `c` is the noted row `k`.
fn noted_row(reference: &Reference) -> String {
    let key = (0..).zip(&reference.key).map(|(at, name): (usize, _)| {
        format!("c.{} {} k.k{at}", quote::identifier(name), quote::EQUALS)
    });
    key.collect::<Vec<_>>().join(" and ")
}

fn lost(reference: &Reference) -> RowFault {
    RowFault {
        message: format!(
            "table {} refers to the old value and would lose the meter (foreign key {}); give the table a primary key and let our role see and update all its rows, or make the foreign key cascade",
            reference.table, reference.constraint
        ),
        rule: Some(reference.constraint.clone()),
        ..RowFault::default()
    }
}

/// The rows that would be lost to those that refer to them.
async fn referred_to(
    local: &Tx<'_, Local>,
    shape: &Shape,
    reference: &Reference,
) -> Result<Bad, DbError> {
    let rows = match reference.is_readable {
        true => format!("select distinct h.n from {}", referring(shape, reference)),
        false => HOLDERS.to_owned(),
    };
    refused(local, &rows, &lost(reference)).await
}

const HOLDERS: &str = "select h.n from pg_temp.meter_sync_holder h";

/// The rows that would be lost to those that refer to what refers to them by this foreign key. Nobody carries these along.
async fn lost_behind(
    local: &Tx<'_, Local>,
    shape: &Shape,
    first: &Reference,
) -> Result<Bad, DbError> {
    let mut bad = Bad::new();
    let paths = shape.rules.losing.iter();
    for path in paths.filter(|path| path.first() == Some(first)) {
        let mut from = referring(shape, first);
        let mut last = ("c".to_owned(), first);
        for (place, next) in (1..).zip(path.iter().skip(1)) {
            let row = format!("c{place}");
            let refers = refers_to(next, &row, &last.0);
            from = format!("{from}\njoin {} {row} on {refers}", next.table);
            last = (row, next);
        }
        let rows = match path.iter().all(|reference| reference.is_readable) {
            true => format!("select distinct h.n from {from}"),
            false => HOLDERS.to_owned(),
        };
        let fault = RowFault {
            message: format!(
                "table {} depends on the old value by way of {} and would lose its row (foreign key {}); make the foreign keys cascade",
                last.1.table, first.table, last.1.constraint
            ),
            rule: Some(last.1.constraint.clone()),
            ..RowFault::default()
        };
        bad.extend(refused(local, &rows, &fault).await?);
    }
    Ok(bad)
}

/// The rows that a query finds, with the fault.
async fn refused(local: &Tx<'_, Local>, rows: &str, fault: &RowFault) -> Result<Bad, DbError> {
    let sql = format!("-- find the rows that others refer to\n{rows}");
    let rows = local.query(&sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), fault.clone())).collect())
}
