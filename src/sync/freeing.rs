//! The statement with which a person frees a unique value of a meter that is gone from the remote.
//!
//! It is tried before it is told, and undone: checks, indexes and triggers may refuse a value, and a trigger may restore the old
//! one. What refers to the old value is no reason against a statement, as the reason says that it has to go first.

use crate::db::catalog::Column;
use crate::db::computed::Read;
use crate::db::exclusive::Exclusive;
use crate::db::{DbError, Local, RowFault, Tx, quote};
use crate::meter::Fields;

use super::collisions::{as_view, entries};
use super::few_values;
use super::rejected::{self, Tried};
use super::{Shape, park};

/// The statement for the meter of a key, by the first of the columns that takes another value; `value` is what is shown of the
/// value that is held. `None` where the local table took none of the values that were tried.
pub(super) async fn statement(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (rule, columns): (&Exclusive, &[&Column]),
    (key, value): (&Fields, Option<&str>),
) -> Result<Option<String>, DbError> {
    let is_it = condition(key, |name| shape.equals(name).to_owned());
    let is_seen = as_view(local, &entry(shape, rule, &is_it)).await?.is_some();
    for &column in columns {
        let free = free_value(local, shape, (column, &is_it), (is_seen, value)).await?;
        if let Some(free) = free {
            let is_it = condition(key, |_| "=".to_owned());
            return Ok(Some(set(shape, (column, &free), &is_it)));
        }
    }
    Ok(None)
}

/// Another value that the column takes, as SQL writes it.
async fn free_value(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (column, is_it): (&Column, &str),
    (is_seen, value): (bool, Option<&str>),
) -> Result<Option<String>, DbError> {
    let null = column.is_nullable.then(|| "null".to_owned());
    for free in null.into_iter().chain(marked(column, value)) {
        if is_freed(local, shape, is_seen, &set(shape, (column, &free), is_it)).await? {
            return Ok(Some(free));
        }
    }
    let kind = park::kind(local, column).await?;
    let own = format!("{} l where {is_it}", shape.local);
    for free in few_values::statements(shape, column, &kind, false, &own) {
        for free in made(local, &free).await? {
            if is_freed(local, shape, is_seen, &set(shape, (column, &free), is_it)).await? {
                return Ok(Some(free));
            }
        }
    }
    Ok(None)
}

/// A text that says that its meter is gone.
fn marked(column: &Column, value: Option<&str>) -> Option<String> {
    let is_text = ["text", "character varying"].contains(&column.base_type.as_str());
    let value = value.filter(|_| is_text)?;
    Some(quote::literal(&format!("{value} (gone)")))
}

/// Some of the values that a statement makes, as SQL writes them.
async fn made(local: &Tx<'_, Local>, free: &str) -> Result<Vec<String>, DbError> {
    let filled = rejected::if_possible(local, park::fill(local, free)).await?;
    if filled.is_none() {
        return Ok(Vec::new());
    }
    let values = local.query(MADE, &[]).await?;
    let literal = |row: &tokio_postgres::Row| quote::literal(row.get(0));
    Ok(values.iter().map(literal).collect())
}

/// Five of them, as each is tried by writing it.
const MADE: &str = "\
-- list free values
select f.value::text from pg_temp.meter_sync_free f where f.value is not null order by f.k limit 5";

fn set(shape: &Shape, (column, free): (&Column, &str), is_it: &str) -> String {
    let name = quote::identifier(&column.name);
    format!("update {} set {name} = {free} where {is_it}", shape.local)
}

/// Whether a statement frees the value, but for what refers to it; it is undone.
async fn is_freed(
    local: &Tx<'_, Local>,
    shape: &Shape,
    is_seen: bool,
    set: &str,
) -> Result<bool, DbError> {
    let sql = format!("-- try what frees a value\n{set}");
    let tried = rejected::attempt(local, async {
        let before = held(local, is_seen).await?;
        let is_set = local.execute(&sql, &[]).await? == 1;
        let after = held(local, is_seen).await?;
        Ok(match is_set && (before.is_none() || before != after) {
            // It is not to stay.
            true => Tried::NotTaken(Box::new(RowFault::skipped())),
            false => Tried::NotTaken(Box::new(RowFault::collision())),
        })
    });
    Ok(match tried.await? {
        Tried::Taken => true,
        Tried::NotTaken(fault) => {
            let mut references = shape.rules.references.iter();
            let is_referred_to =
                references.any(|reference| fault.rule.as_ref() == Some(&reference.constraint));
            fault.is_skip() || is_referred_to
        }
    })
}

/// What the index holds of the row of a key, as text.
fn entry(shape: &Shape, rule: &Exclusive, is_it: &str) -> String {
    let from = format!("{} l where {is_it}", shape.local);
    let column = |read: &Read| shape.column("l", &read.name);
    let parts: Vec<String> = (1..=rule.parts.len())
        .map(|place| format!("e.x{place}::text"))
        .collect();
    format!(
        "select array[{}] as held from {} e",
        parts.join(", "),
        entries(rule, &[], column, &from)
    )
}

/// That of the last [`entry`]; `None` where there is none, as where the predicate of the index leaves the row out.
async fn held(
    local: &Tx<'_, Local>,
    is_seen: bool,
) -> Result<Option<Vec<Option<String>>>, DbError> {
    if !is_seen {
        return Ok(None);
    }
    let found = local.query_opt(HELD, &[]).await?;
    Ok(found.map(|row| row.get(0)))
}

const HELD: &str = "\
-- look what the index holds of the row
select w.held from pg_temp.meter_sync_found w";

/// Holds for the row of a key.
pub(super) fn condition(key: &Fields, equals: impl Fn(&str) -> String) -> String {
    let parts = key.iter().map(|(name, value)| {
        let text = value.as_str().map(quote::literal);
        let value = text.unwrap_or_else(|| value.to_string());
        format!("{} {} {value}", quote::identifier(name), equals(name))
    });
    parts.collect::<Vec<_>>().join(" and ")
}
