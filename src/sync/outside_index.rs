//! Lets rows leave a unique index for a moment where it holds for a part of the table: a row outside of it holds no value.
//!
//! First by a column of the index's condition, with one value for all rows. If there is none, by the active column, unless a
//! trigger or rule looks at it: one that acts on deactivations would take the moment for one.

use crate::db::catalog::Column;
use crate::db::computed::Read;
use crate::db::exclusive::Exclusive;
use crate::db::family::family;
use crate::db::{DbError, Local, RowFault, Tx, param, quote};

use super::collisions::{as_view, collide, entries};
use super::rejected::{self, Tried};
use super::{Shape, carry, few_values, park};

/// Rows of the plan that stand in the way of others by a rule. The view `meter_sync_found` is that of `waiting`.
pub(super) struct Obstacles<'r> {
    /// The rule.
    pub(super) rule: &'r Exclusive,
    /// A query of who waits for whom, as `n` and `holder`; `None` where it costs too much.
    pub(super) waiting: Option<String>,
    /// The condition for those who wait, on a row `w` of that query.
    pub(super) waits: String,
    /// The condition for the rows, on a row `h` of `meter_sync_holder`.
    pub(super) holds: String,
}

/// Whether more than the value of a plain column decides who excludes whom. A value that nobody holds may then leave a row in
/// the others' way.
fn is_conditional(rule: &Exclusive) -> bool {
    rule.predicate.is_some() || !rule.parts.iter().all(|part| is_plain(rule, &part.shown))
}

/// Whether a part of an index is a plain column.
fn is_plain(rule: &Exclusive, shown: &str) -> bool {
    let mut reads = rule.reads.iter();
    reads.any(|read| *shown == read.name || *shown == quote::identifier(&read.name))
}

/// Whether the index reads the active column.
pub(super) fn reads_active(shape: &Shape, rule: &Exclusive) -> bool {
    rule.reads.iter().any(|read| read.name == shape.active)
}

/// Whether nobody waits for the rows as they are now. It is taken for granted where only plain values are compared.
pub(super) async fn are_out_of_the_way(
    local: &Tx<'_, Local>,
    obstacles: &Obstacles<'_>,
) -> Result<bool, DbError> {
    if obstacles.waiting.is_none() || !is_conditional(obstacles.rule) {
        return Ok(true);
    }
    let sql = format!(
        "-- look whether they are out of the way
select not exists (
    select from pg_temp.meter_sync_found w join pg_temp.meter_sync_holder h on h.n {} w.holder
    where {} and {})",
        quote::EQUALS,
        obstacles.waits,
        obstacles.holds
    );
    let found = rejected::if_possible(local, local.query_one(&sql, &[])).await?;
    Ok(found.is_some_and(|row| row.get(0)))
}

/// Lets all rows leave the index by a value of one of the columns, or by their active column; whether they did.
pub(super) async fn leave(
    local: &Tx<'_, Local>,
    shape: &Shape,
    obstacles: &Obstacles<'_>,
    columns: &[&Column],
) -> Result<bool, DbError> {
    let own = park::holders(shape, &obstacles.holds);
    let deciding = columns
        .iter()
        .filter(|column| decides(obstacles.rule, column));
    for &column in deciding {
        let kind = park::kind(local, column).await?;
        let mut ways = vec![few_values::named_in_rule(
            shape,
            column,
            &kind,
            obstacles.rule,
            &own,
        )];
        ways.extend(few_values::statements(shape, column, &kind, false, &own));
        for free in ways {
            if leave_by(local, shape, obstacles, (column, &free)).await? {
                return Ok(true);
            }
        }
    }
    leave_by_active(local, shape, obstacles).await
}

/// Whether a column may decide if a row is in the index, as far as the text of its condition and expressions tells.
fn decides(rule: &Exclusive, column: &Column) -> bool {
    let mut computed = rule.computed.iter().map(|(_, text)| text);
    let mut texts = rule
        .parts
        .iter()
        .map(|part| &part.shown)
        .chain(&rule.predicate);
    is_conditional(rule)
        && (computed.any(|text| text.contains(&column.name))
            || texts.any(|text| !is_plain(rule, text) && text.contains(&column.name)))
}

/// The same by one of the values that a statement makes for a column.
async fn leave_by(
    local: &Tx<'_, Local>,
    shape: &Shape,
    obstacles: &Obstacles<'_>,
    (column, free): (&Column, &str),
) -> Result<bool, DbError> {
    let Some(waiting) = &obstacles.waiting else {
        return Ok(false);
    };
    let filled = rejected::if_possible(local, park::fill(local, free)).await?;
    if filled.is_none() {
        return Ok(false);
    }
    let values = outside(local, shape, obstacles, column).await?;
    as_view(local, waiting).await?;
    let set = format!("{} = f.value", quote::identifier(&column.name));
    for k in values {
        let one = format!("f.k {} {k}", quote::EQUALS);
        let sql = moving(
            shape,
            obstacles,
            (&set, ", pg_temp.meter_sync_free f", &one),
        );
        let tried = rejected::attempt(local, is_moved(local, obstacles, &sql));
        if let Tried::Taken = tried.await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn leave_by_active(
    local: &Tx<'_, Local>,
    shape: &Shape,
    obstacles: &Obstacles<'_>,
) -> Result<bool, DbError> {
    let mut columns = shape.columns.iter();
    let active = columns.find(|column| column.name == shape.active);
    let (true, Some(active)) = (reads_active(shape, obstacles.rule), active) else {
        return Ok(false);
    };
    if is_looked_at(local, shape).await? {
        return Ok(false);
    }
    let name = quote::identifier(&active.name);
    let other = format!("{name} = (l.{name} is not true)");
    let null = active.is_nullable.then(|| format!("{name} = null"));
    for set in [Some(other), null].into_iter().flatten() {
        let sql = moving(shape, obstacles, (&set, "", "true"));
        let tried = rejected::attempt(local, async {
            match carry::prepare(local, shape, &[active]).await?.is_empty() {
                true => is_moved(local, obstacles, &sql).await,
                false => Ok(Tried::NotTaken(Box::new(RowFault::collision()))),
            }
        });
        if let Tried::Taken = tried.await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The numbers of some values in `meter_sync_free` with which none of the rows is in the index.
async fn outside(
    local: &Tx<'_, Local>,
    shape: &Shape,
    obstacles: &Obstacles<'_>,
    column: &Column,
) -> Result<Vec<i64>, DbError> {
    let row = |read: &Read| match read.name == column.name {
        true => "f.value".to_owned(),
        false => shape.column("l", &read.name),
    };
    let from = format!(
        "pg_temp.meter_sync_free f cross join ({})",
        park::holders(shape, &obstacles.holds)
    );
    let inside = entries(obstacles.rule, &["f.k".to_owned()], row, &from);
    let query = format!(
        "select f.k from pg_temp.meter_sync_free f
where not exists (select from {inside} e where e.v1 = f.k and {})",
        collide(obstacles.rule, "e", "e")
    );
    if as_view(local, &query).await?.is_none() {
        return Ok(Vec::new());
    }
    let found = rejected::if_possible(local, local.query(OUTSIDE, &[])).await?;
    Ok(found.iter().flatten().map(|row| row.get(0)).collect())
}

/// Five of them, as each is tried by writing it.
const OUTSIDE: &str = "\
-- find values outside of the index
select w.k from pg_temp.meter_sync_found w order by w.k limit 5";

fn moving(
    shape: &Shape,
    obstacles: &Obstacles<'_>,
    (set, from, condition): (&str, &str, &str),
) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    format!(
        "-- let rows leave an index
update {local} l set {set}
from pg_temp.meter_sync_holder h, pg_temp.meter_sync_plan p{from}
where p.n {} h.n and {} and {local_filter} and {} and {condition}",
        quote::EQUALS,
        shape.same_key("l", "p"),
        obstacles.holds
    )
}

async fn is_moved(
    local: &Tx<'_, Local>,
    obstacles: &Obstacles<'_>,
    sql: &str,
) -> Result<Tried, DbError> {
    local.execute(sql, &[]).await?;
    Ok(match are_out_of_the_way(local, obstacles).await? {
        true => Tried::Taken,
        false => Tried::NotTaken(Box::new(RowFault::collision())),
    })
}

/// Whether a trigger or rule of the local table names the active column, as far as its text tells.
async fn is_looked_at(local: &Tx<'_, Local>, shape: &Shape) -> Result<bool, DbError> {
    let params = [
        param::oid(shape.local_oid),
        param::text(shape.active.as_str()),
    ];
    local.pin_path().await?;
    let row = local.query_one(LOOKED_AT, &params).await?;
    local.use_role_path().await?;
    Ok(row.get(0))
}

const LOOKED_AT: &str = concat!(
    "-- look for triggers that look at a column",
    family!(),
    "
select exists (
    select from pg_catalog.pg_trigger g join pg_catalog.pg_proc p on p.oid = g.tgfoid
    where g.tgrelid in (select f.oid from family f) and not g.tgisinternal and g.tgenabled <> 'D'
      and g.tgtype::integer & 16 <> 0
      and (strpos(lower(p.prosrc), lower($2)) > 0 or strpos(lower(encode(g.tgargs, 'escape')), lower($2)) > 0
           or strpos(lower(split_part(pg_get_triggerdef(g.oid), ' WHEN (', 2)), lower($2)) > 0
           or exists (select from pg_catalog.pg_attribute a
                      where a.attrelid = g.tgrelid and a.attname = $2 and a.attnum = any (g.tgattr::smallint[]))))
or exists (
    select from pg_catalog.pg_rewrite r
    where r.ev_class in (select f.oid from family f) and r.ev_type = '2'
      and strpos(lower(pg_get_ruledef(r.oid)), lower($2)) > 0)"
);
