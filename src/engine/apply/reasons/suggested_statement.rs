//! Finds an SQL statement with which a person can free a unique value of a meter that is missing on the remote.
//!
//! The statement is tried and undone before it is shown: checks, indexes and triggers may refuse a value, and a trigger
//! may restore the old one. A statement that fails only because rows refer to the old value is shown, too. The reason
//! then says that these rows have to be removed first.

use crate::db::catalog::Column;
use crate::db::computed_expressions::InputColumn;
use crate::db::row_constraints::UniquenessRule;
use crate::db::{DbError, Local, RowFault, Tx, quote};
use crate::model::Fields;

use crate::engine::apply::collisions::{as_view, entries};
use crate::engine::apply::exchange::narrow_column_values;
use crate::engine::apply::exchange::spare_table;
use crate::engine::try_rows::{self, WriteOutcome};
use crate::engine::{Relations, RunContext};

/// Returns a statement that changes the meter with this key in the first of the columns that accepts another value.
/// `value` is the held value as the reason shows it. `None` if the local table accepted none of the values that were
/// tried.
pub(in crate::engine) async fn statement(
    run: &RunContext<'_>,
    rule: &UniquenessRule,
    columns: &[&Column],
    key: &Fields,
    value: Option<&str>,
) -> Result<Option<String>, DbError> {
    let relations = run.relations;
    let is_it = condition(key, |name| relations.equals(name).to_owned());
    let is_seen = as_view(run.local, &entry(relations, rule, &is_it))
        .await?
        .is_some();
    for &column in columns {
        let free = free_value(run, column, &is_it, is_seen, value).await?;
        if let Some(free) = free {
            let is_it = condition(key, |_| "=".to_owned());
            return Ok(Some(set(relations, column, &free, &is_it)));
        }
    }
    Ok(None)
}

/// Finds another value that the column accepts, as an SQL literal.
async fn free_value(
    run: &RunContext<'_>,
    column: &Column,
    is_it: &str,
    is_seen: bool,
    value: Option<&str>,
) -> Result<Option<String>, DbError> {
    let relations = run.relations;
    let null = column.is_nullable.then(|| "null".to_owned());
    for free in null.into_iter().chain(marked(column, value)) {
        if is_freed(run, is_seen, &set(relations, column, &free, is_it)).await? {
            return Ok(Some(free));
        }
    }
    let kind = spare_table::kind(run.local, column).await?;
    let own = format!("{} l where {is_it}", relations.local);
    for free in narrow_column_values::statements(relations, column, &kind, false, &own) {
        for free in made(run.local, &free).await? {
            if is_freed(run, is_seen, &set(relations, column, &free, is_it)).await? {
                return Ok(Some(free));
            }
        }
    }
    Ok(None)
}

/// The SQL literal of the held value with ` (gone)` added; `None` if the column is no text.
fn marked(column: &Column, value: Option<&str>) -> Option<String> {
    let is_text = ["text", "character varying"].contains(&column.base_type.as_str());
    let value = value.filter(|_| is_text)?;
    Some(quote::literal(&format!("{value} (gone)")))
}

/// Returns some of the values that a statement makes, as SQL literals.
async fn made(local: &Tx<'_, Local>, free: &str) -> Result<Vec<String>, DbError> {
    let filled = try_rows::if_possible(local, spare_table::fill(local, free)).await?;
    if filled.is_none() {
        return Ok(Vec::new());
    }
    let values = local.query(MADE, &[]).await?;
    let literal = |row: &tokio_postgres::Row| quote::literal(row.get(0));
    Ok(values.iter().map(literal).collect())
}

/// At most five values, because each is tried by writing it.
const MADE: &str = "\
-- list free values
select f.value::text from pg_temp.meter_sync_free f where f.value is not null order by f.k limit 5";

fn set(relations: &Relations, column: &Column, free: &str, is_it: &str) -> String {
    let name = quote::identifier(&column.name);
    format!(
        "update {} set {name} = {free} where {is_it}",
        relations.local
    )
}

/// Tries a statement and undoes it. Returns whether it frees the value, or fails only because rows refer to the old
/// value.
async fn is_freed(run: &RunContext<'_>, is_seen: bool, set: &str) -> Result<bool, DbError> {
    let local = run.local;
    let sql = format!("-- try what frees a value\n{set}");
    let tried = try_rows::attempt(local, async {
        let before = held(local, is_seen).await?;
        let is_set = local.execute(&sql, &[]).await? == 1;
        let after = held(local, is_seen).await?;
        Ok(match is_set && (before.is_none() || before != after) {
            // The statement worked. This result undoes it.
            true => WriteOutcome::NotWritten(Box::new(RowFault::skipped())),
            false => WriteOutcome::NotWritten(Box::new(RowFault::collision())),
        })
    });
    Ok(match tried.await? {
        WriteOutcome::Written => true,
        WriteOutcome::NotWritten(fault) => {
            let mut references = run.relations.constraints.references.iter();
            let is_referred_to =
                references.any(|reference| fault.rule.as_ref() == Some(&reference.constraint));
            fault.is_skip() || is_referred_to
        }
    })
}

/// A query of the index entry of the row that a condition picks, as text.
fn entry(relations: &Relations, rule: &UniquenessRule, is_it: &str) -> String {
    let from = format!("{} l where {is_it}", relations.local);
    let column = |read: &InputColumn| relations.column("l", &read.name);
    let parts: Vec<String> = (1..=rule.parts.len())
        .map(|place| format!("e.x{place}::text"))
        .collect();
    format!(
        "select array[{}] as held from {} e",
        parts.join(", "),
        entries(rule, &[], column, &from)
    )
}

/// Reads the index entry through the view made from [`entry`]. `None` if there is no view, or if the row has no entry
/// because the predicate of the index leaves it out.
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

/// A condition for the row with this key.
pub(in crate::engine) fn condition(key: &Fields, equals: impl Fn(&str) -> String) -> String {
    let parts = key.iter().map(|(name, value)| {
        let text = value.as_str().map(quote::literal);
        let value = text.unwrap_or_else(|| value.to_string());
        format!("{} {} {value}", quote::identifier(name), equals(name))
    });
    parts.collect::<Vec<_>>().join(" and ")
}
