//! Finds an SQL statement that frees a unique value of a meter missing on the remote, to suggest it to a person.
//!
//! The statement is tried and undone before it is suggested, because checks, indexes and triggers may refuse a value,
//! and a trigger may restore the old one. A statement that fails only because other rows refer to the old value is
//! suggested, too. The reason shown then says that these rows have to be removed first.

use crate::db::catalog::Column;
use crate::db::computed_expressions::InputColumn;
use crate::db::constraints_between_rows::UniquenessRule;
use crate::db::{DbError, Local, RowFault, Tx, quote};
use crate::model::MeterFields;

use crate::engine::apply::collision_queries::{as_view, entries};
use crate::engine::apply::exchange::narrow_column_values;
use crate::engine::apply::exchange::spare_values_table;
use crate::engine::apply::name_shard_constraints::breaks;
use crate::engine::write_by_halving::{self, WriteAttemptOutcome};
use crate::engine::{Relations, RunContext};

/// Returns a statement that frees a unique value: it gives the meter with this key another value in the first of
/// `columns` where the local table accepts one. `value` is the value to be freed, as people see it. Returns `None` if
/// the table accepted none of the values that were tried.
pub(in crate::engine) async fn statement(
    run: &RunContext<'_>,
    rule: &UniquenessRule,
    columns: &[&Column],
    key: &MeterFields,
    value: Option<&str>,
) -> Result<Option<String>, DbError> {
    let relations = run.relations;
    let is_it = of_tenant(
        run,
        &condition(key, |name| relations.equals(name).to_owned()),
    );
    let is_seen = as_view(run, &entry(relations, rule, &is_it))
        .await?
        .is_some();
    for &column in columns {
        let free = free_value(run, column, &is_it, is_seen, value).await?;
        if let Some(free) = free {
            let is_it = of_tenant(run, &condition(key, |_| "=".to_owned()));
            return Ok(Some(set(relations, column, &free, &is_it)));
        }
    }
    Ok(None)
}

/// Finds another value for a column of the row that the condition `is_it` selects, and returns it as an SQL literal.
/// Returns `None` if the local table accepts no value that frees the present one. `is_seen` says whether a view shows
/// the row's index entry, and `value` is the present value, as people see it.
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
        if try_and_undo(run, is_seen, &set(relations, column, &free, is_it)).await? {
            return Ok(Some(free));
        }
    }
    let kind = spare_values_table::kind(run.local, column).await?;
    let own = format!("{} l where {is_it}", relations.local);
    for free in narrow_column_values::statements(relations, column, &kind, false, &own) {
        for free in made(run, &free).await? {
            if try_and_undo(run, is_seen, &set(relations, column, &free, is_it)).await? {
                return Ok(Some(free));
            }
        }
    }
    Ok(None)
}

/// Returns `value` with ` (gone)` added, as an SQL literal. `None` if the column has no text type, or without a value.
fn marked(column: &Column, value: Option<&str>) -> Option<String> {
    let is_text = ["text", "character varying"].contains(&column.base_type.as_str());
    let value = value.filter(|_| is_text)?;
    Some(quote::literal(&format!("{value} (gone)")))
}

/// Runs the statement `free`, which makes values that the column might accept. Returns up to five of them as SQL
/// literals, or none if the statement fails.
async fn made(run: &RunContext<'_>, free: &str) -> Result<Vec<String>, DbError> {
    let filled =
        write_by_halving::if_possible(run.local, spare_values_table::fill(run, free)).await?;
    if filled.is_none() {
        return Ok(Vec::new());
    }
    let values = run.local.query(MADE, &[]).await?;
    let literal = |row: &tokio_postgres::Row| quote::literal(row.get(0));
    Ok(values.iter().map(literal).collect())
}

/// Reads up to five of the values that a statement made. Not more, because each is then tried by an update.
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

/// Tries the update statement `set` and undoes it. Returns whether it frees the unique value, or fails only because
/// rows refer to the old value. `is_seen` says whether a view shows the row's index entry.
async fn try_and_undo(run: &RunContext<'_>, is_seen: bool, set: &str) -> Result<bool, DbError> {
    let local = run.local;
    let sql = format!("-- try what frees a value\n{set}");
    let tried = write_by_halving::attempt(local, async {
        let before = held(local, is_seen).await?;
        let is_set = local.execute(&sql, &[]).await? == 1;
        let after = held(local, is_seen).await?;
        Ok(match is_set && (before.is_none() || before != after) {
            // The statement worked. This result undoes it.
            true => WriteAttemptOutcome::NotWritten(Box::new(RowFault::skipped())),
            false => WriteAttemptOutcome::NotWritten(Box::new(RowFault::collision())),
        })
    });
    Ok(match tried.await? {
        WriteAttemptOutcome::Written => true,
        WriteAttemptOutcome::NotWritten(fault) => {
            let mut references = run.relations.constraints.references.iter();
            let is_referred_to =
                references.any(|reference| breaks(run.relations, &fault, &reference.constraint));
            fault.is_skip() || is_referred_to
        }
    })
}

/// Returns a query of the values that the index stores for the row which the condition `is_it` selects, as an array of
/// texts.
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

/// Reads the values that the index stores for the row, from the view with the query of [`entry`]. Returns `None` if
/// there is no such view (`is_seen` is `false`), or if the predicate of the index leaves the row out.
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

/// Adds the tenant to a condition on the key, unless a unique index ensures that at most one row of the table has this
/// key.
fn of_tenant(run: &RunContext<'_>, is_it: &str) -> String {
    let relations = run.relations;
    let is_in_key = |name: &String| relations.key.contains(name);
    let mut rules = relations.constraints.exclusive.iter();
    let is_unique = rules.any(|rule| {
        !rule.is_exclusion
            && rule.predicate.is_none()
            && rule.reads.iter().all(|read| is_in_key(&read.name))
    });
    match &relations.local_tenant {
        Some(tenant) if !is_unique && !is_in_key(&tenant.name) => {
            let name = quote::identifier(&tenant.name);
            format!(
                "{is_it} and {name} = {}",
                quote::literal(run.job.tenant.as_str())
            )
        }
        _ => is_it.to_owned(),
    }
}

/// Returns the SQL condition that selects the row with this key. `equals` returns the equality operator for a column.
pub(in crate::engine) fn condition(key: &MeterFields, equals: impl Fn(&str) -> String) -> String {
    let parts = key.iter().map(|(name, value)| {
        let text = value.as_str().map(quote::literal);
        let value = text.unwrap_or_else(|| value.to_string());
        format!("{} {} {value}", quote::identifier(name), equals(name))
    });
    parts.collect::<Vec<_>>().join(" and ")
}
