//! Lets rows that hold what other rows of the plan are to get take values that nobody holds.
//!
//! The temporary table `meter_sync_wait` says which row of the plan waits for which; `meter_sync_holder` numbers those
//! that stand in the way of a rule, and `meter_sync_free` has a value for each.

use crate::db::catalog::Column;
use crate::db::exclusive::Exclusive;
use crate::db::{DbError, Local, RowFault, Tx, param, quote};

use super::collisions::{as_view, movable, waiting, wanted};
use super::exchange::Bad;
use super::free_values::{self, TypeKind};
use super::outside_index::{self, Obstacles};
use super::plan::Step;
use super::rejected::{self, PerRow, Rows, Tried};
use super::{Job, Shape, carry, deferred, referred_values};

/// What parking came to.
pub(super) enum Parked {
    /// No row of the plan waits for another.
    Nobody,
    /// Who stands in the way is parked, or the rule is checked later.
    All,
    /// These rows cannot be parked.
    Not(Bad),
}

/// Parks the rows that others of the plan wait for, but those of `left_out`.
pub(super) async fn park(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    left_out: &[i64],
) -> Result<Parked, DbError> {
    local.batch(WAIT).await?;
    let mut parked = Parked::Nobody;
    for (place, rule) in shape.rules.exclusive.iter().enumerate() {
        if deferred::put_off(local, rule).await? {
            if find(local, shape, (place, rule), left_out).await? > 0 {
                parked = Parked::All;
            }
            continue;
        }
        let columns = movable(shape, job, rule);
        if columns.is_empty() && !outside_index::reads_active(shape, rule) {
            continue;
        }
        let rows = find(local, shape, (place, rule), left_out).await?;
        if rows == 0 {
            continue;
        }
        let refused = carry::prepare(local, shape, &columns).await?;
        if !refused.is_empty() {
            return Ok(Parked::Not(refused));
        }
        let obstacles = Obstacles {
            rule,
            waiting: match is_costly(local, rule).await? {
                true => None,
                false => Some(waiting(shape, rule)),
            },
            waits: format!("w.n operator(pg_catalog.<>) all ({})", array(left_out)),
            holds: "true".to_owned(),
        };
        let refused = park_all(local, shape, &obstacles, (&columns, rows)).await?;
        if !refused.is_empty() {
            return Ok(Parked::Not(refused));
        }
        parked = Parked::All;
    }
    Ok(parked)
}

/// Numbers as SQL writes an array of them.
fn array(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("'{{{}}}'::bigint[]", numbers.join(","))
}

const WAIT: &str = "\
-- create the table of who waits
create temp table meter_sync_wait (rule integer, n bigint, holder bigint) on commit drop";

/// Finds who waits for whom by a rule; how many rows stand in the way.
async fn find(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (place, rule): (usize, &Exclusive),
    left_out: &[i64],
) -> Result<i64, DbError> {
    let query = match is_costly(local, rule).await? {
        // Each waits for itself then.
        true => format!(
            "select a.v1 as n, a.v1 as holder from {} a",
            wanted(shape, rule, Step::Change)
        ),
        false => waiting(shape, rule),
    };
    if as_view(local, &query).await?.is_none() {
        return Ok(0);
    }
    let wait = format!(
        "-- find who waits for whom
insert into pg_temp.meter_sync_wait (rule, n, holder)
select {place}, w.n, w.holder from pg_temp.meter_sync_found w
where w.n operator(pg_catalog.<>) all ($1) and w.holder operator(pg_catalog.<>) all ($1)"
    );
    let number = format!(
        "-- number who stands in the way
drop table if exists pg_temp.meter_sync_holder;
create temp table meter_sync_holder on commit drop as
select pg_catalog.row_number() over () as k, w.n from (
    select distinct w.holder as n from pg_temp.meter_sync_wait w where w.rule {} {place}
) w;
analyze pg_temp.meter_sync_holder",
        quote::EQUALS
    );
    let params = [param::bigints(left_out)];
    let found = rejected::if_possible(local, local.execute(&wait, &params)).await?;
    if found.unwrap_or_default() == 0 {
        return Ok(0);
    }
    local.batch(&number).await?;
    Ok(local.query_one(HOLDERS, &[]).await?.get(0))
}

/// So many rows are compared with each other where only that tells who waits.
const COMPARED: i64 = 2000;

/// Whether the rule compares by more than equality, so that each row would have to be compared with each other, of many.
pub(super) async fn is_costly(local: &Tx<'_, Local>, rule: &Exclusive) -> Result<bool, DbError> {
    if rule.parts.iter().all(|part| part.operator.ends_with(".=)")) {
        return Ok(false);
    }
    let rows: i64 = local.query_one(UPDATES, &[]).await?.get(0);
    Ok(rows > COMPARED)
}

const UPDATES: &str = "\
-- count the updates
select pg_catalog.count(*) from pg_temp.meter_sync_plan p where p.step = 1";

/// The local rows `l` of those rows `h` of `meter_sync_holder` for which a condition holds, as it stands behind `from`.
pub(super) fn holders(shape: &Shape, condition: &str) -> String {
    format!(
        "pg_temp.meter_sync_holder h join pg_temp.meter_sync_plan p on p.n = h.n and {condition}
join {} l on {} and {}",
        shape.local,
        shape.same_key("l", "p"),
        shape.local_filter
    )
}

const HOLDERS: &str = "\
-- count who stands in the way
select pg_catalog.count(*) from pg_temp.meter_sync_holder";

/// Parks all rows of `meter_sync_holder`; those that cannot be, if any, with nobody parked for good.
async fn park_all(
    local: &Tx<'_, Local>,
    shape: &Shape,
    obstacles: &Obstacles<'_>,
    (columns, rows): (&[&Column], i64),
) -> Result<Bad, DbError> {
    let all = Rows {
        first: 1,
        last: rows,
    };
    let (own, mut ways) = (holders(shape, "true"), Vec::new());
    for &column in columns {
        let kind = kind(local, column).await?;
        let referred = referred_values::statements(shape, column, rows, &own).into_iter();
        let statements = free_values::statements(shape, column, &kind, rows, &own);
        ways.extend(referred.chain(statements).map(|sql| (column, sql)));
    }
    if are_moved(local, shape, obstacles, (&ways, all)).await? {
        return Ok(Vec::new());
    }
    // A value of a type that we know nothing of: NULL, where nobody refers to it.
    for &column in columns {
        let is_referred_to = shape.rules.references.iter().any(|reference| {
            let mut pairs = reference.columns.iter();
            pairs.any(|(_, to)| *to == column.name)
        });
        if column.is_nullable && !is_referred_to {
            let clear = clear(shape, column);
            let cleared = gets_away(local, obstacles, (&clear, all));
            if let Tried::Taken = rejected::attempt(local, cleared).await? {
                return Ok(Vec::new());
            }
        }
    }
    // Values that refer to nothing, where that is checked once all rows have their own.
    if carry::put_off(local, shape, columns).await?
        && are_moved(local, shape, obstacles, (&ways, all)).await?
    {
        return Ok(Vec::new());
    }
    if Box::pin(outside_index::leave(local, shape, obstacles, columns)).await? {
        return Ok(Vec::new());
    }
    one_by_one(local, shape, &ways, all).await
}

/// Parks all rows on values of the first way that gives enough which the table takes.
async fn are_moved(
    local: &Tx<'_, Local>,
    shape: &Shape,
    obstacles: &Obstacles<'_>,
    (ways, all): (&[(&Column, String)], Rows),
) -> Result<bool, DbError> {
    for (column, free) in ways {
        let tried = rejected::attempt(local, async {
            match rejected::if_possible(local, fill(local, free)).await? {
                Some(()) => gets_away(local, obstacles, (&move_to(shape, column), all)).await,
                None => Ok(Tried::NotTaken(Box::new(RowFault::collision()))),
            }
        });
        if let Tried::Taken = tried.await? {
            drop_free(local).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Parks all rows by a statement that gets them out of the way.
async fn gets_away(
    local: &Tx<'_, Local>,
    obstacles: &Obstacles<'_>,
    (park, all): (&PerRow, Rows),
) -> Result<Tried, DbError> {
    Ok(match park.run(local, all).await? {
        Tried::Taken if !outside_index::are_out_of_the_way(local, obstacles).await? => {
            Tried::NotTaken(Box::new(RowFault::collision()))
        }
        tried @ (Tried::Taken | Tried::NotTaken(_)) => tried,
    })
}

/// The rows that cannot be parked, in the way that the first one can.
async fn one_by_one(
    local: &Tx<'_, Local>,
    shape: &Shape,
    ways: &[(&Column, String)],
    all: Rows,
) -> Result<Bad, DbError> {
    let mut refused: Bad = Vec::new();
    for (column, free) in ways {
        local.savepoint("park").await?;
        let filled = rejected::if_possible(local, fill(local, free)).await?;
        let mut at_fault = Vec::new();
        if filled.is_some() {
            let write = move_to(shape, column);
            let limit = usize::try_from(all.count()).unwrap_or(usize::MAX);
            let found = rejected::all_but_the_bad(local, vec![all], limit, "select", &write);
            at_fault = found.await?.unwrap_or_default();
        }
        local.back_to("park").await?;
        if !at_fault.is_empty() && (refused.is_empty() || at_fault.len() < refused.len()) {
            refused = at_fault;
        }
    }
    let holders = local.query(NUMBERS, &[]).await?;
    let numbers = holders
        .iter()
        .map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1)));
    let fault = |k: i64| {
        let mut found = refused.iter();
        found
            .find(|(row, _)| *row == k)
            .map(|(_, fault)| fault.clone())
    };
    Ok(numbers
        .filter_map(|(k, n)| match refused.is_empty() {
            true => Some((n, RowFault::collision())),
            false => fault(k).map(|fault| (n, fault)),
        })
        .collect())
}

const NUMBERS: &str = "\
-- list who stands in the way
select h.k, h.n from pg_temp.meter_sync_holder h";

pub(super) async fn fill(local: &Tx<'_, Local>, free: &str) -> Result<(), DbError> {
    local.pin_path().await?;
    local
        .batch("-- drop the last free values\ndrop table if exists pg_temp.meter_sync_free")
        .await?;
    local.batch(free).await?;
    local
        .batch("-- analyze the free values\nanalyze pg_temp.meter_sync_free")
        .await?;
    local.use_role_path().await
}

async fn drop_free(local: &Tx<'_, Local>) -> Result<(), DbError> {
    local
        .batch("-- drop the free values\ndrop table if exists pg_temp.meter_sync_free")
        .await
}

fn move_to(shape: &Shape, column: &Column) -> PerRow {
    let name = quote::identifier(&column.name);
    parking(
        shape,
        &format!("{name} = f.value"),
        ", pg_temp.meter_sync_free f",
        " and f.k = h.k",
    )
}

fn clear(shape: &Shape, column: &Column) -> PerRow {
    let name = quote::identifier(&column.name);
    parking(shape, &format!("{name} = null"), "", "")
}

fn parking(shape: &Shape, set: &str, from: &str, condition: &str) -> PerRow {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let local_row = shape.same_key("l", "p");
    PerRow {
        sql: format!(
            "-- park unique values
update {local} l set {set}
from pg_temp.meter_sync_holder h, pg_temp.meter_sync_plan p{from}
where p.n = h.n and {local_row} and {local_filter} and h.k >= $1 and h.k <= $2{condition}"
        ),
        has_gaps: false,
        checks: false,
    }
}

/// Whether one of these rows was parked.
pub(super) async fn are_any_parked(
    local: &Tx<'_, Local>,
    numbers: &[i64],
) -> Result<bool, DbError> {
    let params = [param::bigints(numbers)];
    Ok(local.query_one(ANY_PARKED, &params).await?.get(0))
}

const ANY_PARKED: &str = "\
-- look whether one was parked
select exists (select from pg_temp.meter_sync_wait w where w.holder = any ($1))";

pub(super) async fn kind(local: &Tx<'_, Local>, column: &Column) -> Result<TypeKind, DbError> {
    let params = [param::text(column.base_type.as_str())];
    let found = local.query_opt(KIND, &params).await?;
    Ok(found.map_or_else(
        || TypeKind {
            kind: "b".to_owned(),
            category: "U".to_owned(),
        },
        |row| TypeKind {
            kind: row.get(0),
            category: row.get(1),
        },
    ))
}

const KIND: &str = "\
-- look up what kind of type it is
select t.typtype::text, t.typcategory::text from pg_catalog.pg_type t where t.oid = pg_catalog.to_regtype($1)::oid";
