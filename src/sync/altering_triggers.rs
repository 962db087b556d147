//! Says of rejected rows that they broke a unique index only with a value that a trigger of the local table put in.
//!
//! The server names what the index was to hold. Where that is not what the row of the plan would have given, a trigger that fires
//! before the row is written has changed it.

use std::collections::HashMap;

use crate::db::computed::Read;
use crate::db::exclusive::Exclusive;
use crate::db::{DbError, Local, Tx, param, quote};

use super::collisions::{as_view, wanted};
use super::plan::Step;
use super::reasons::BadRow;
use super::{Shape, rejected};

/// A trigger that may put other values in a row.
pub(super) struct Altering {
    /// Its name with its function's.
    pub(super) trigger: String,
    pub(super) on_insert: bool,
    pub(super) on_update: bool,
}

impl Altering {
    fn fires_at(&self, step: Step) -> bool {
        match step {
            Step::Insert => self.on_insert,
            Step::Deactivate | Step::Change => self.on_update,
        }
    }
}

/// The reasons of the rows that a trigger changed so that they broke a unique index, but those of `known`.
pub(super) async fn reasons(
    local: &Tx<'_, Local>,
    shape: &Shape,
    bad: &[BadRow],
    known: &HashMap<i64, String>,
    triggers: &[Altering],
) -> Result<HashMap<i64, String>, DbError> {
    let mut found = HashMap::new();
    for rule in &shape.rules.exclusive {
        for step in [Step::Deactivate, Step::Change, Step::Insert] {
            let blamed: Vec<&str> = triggers
                .iter()
                .filter(|trigger| trigger.fires_at(step))
                .map(|trigger| trigger.trigger.as_str())
                .collect();
            let collided = bad.iter().filter_map(|(of, n, fault)| {
                // What has a context was raised by another statement, of a trigger.
                let is_it = *of == step
                    && fault.rule.as_ref() == Some(&rule.name)
                    && fault.context.is_none();
                let entry = fault.entry.as_deref()?;
                (is_it && !known.contains_key(n)).then_some((*n, entry))
            });
            let collided: Vec<(i64, &str)> = collided.collect();
            if blamed.is_empty() || collided.is_empty() {
                continue;
            }
            // Unless the value is one that only the server gives.
            let is_synced = |read: &Read| shape.names.contains(&read.name);
            let takes_nulls = !rule.nulls_match && rule.reads.iter().all(is_synced);
            let planned = planned(local, shape, (rule, step), &collided).await?;
            let changed = collided.iter().filter(|(n, entry)| {
                match planned.as_ref().map(|planned| planned.get(n)) {
                    None => false,
                    Some(Some(None)) => takes_nulls,
                    // The row as it came would have changed nothing in the index.
                    Some(None) => true,
                    Some(Some(Some(values))) => !entry.ends_with(&format!(")=({values})")),
                }
            });
            found.extend(changed.map(|(n, entry)| {
                let (blamed, index) = (blamed.join(" or "), &rule.name);
                let reason = format!(
                    "{blamed} changes the row to {entry}, which is taken (unique index {index})"
                );
                (*n, reason)
            }));
        }
    }
    Ok(found)
}

/// What the index would hold of each of the rows as they came, as the server writes it, and nothing of nulls; `None` where that
/// cannot be told.
async fn planned(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (rule, step): (&Exclusive, Step),
    rows: &[(i64, &str)],
) -> Result<Option<HashMap<i64, Option<String>>>, DbError> {
    let parts: Vec<String> = (1..=rule.parts.len())
        .map(|place| format!("w.x{place}"))
        .collect();
    let query = format!(
        "select w.v1 as n, case when num_nulls({}) = 0 then concat_ws(', ', {}) end as planned from {} w",
        parts.join(", "),
        parts.join(", "),
        wanted(shape, rule, step)
    );
    if as_view(local, &query).await?.is_none() {
        return Ok(None);
    }
    let numbers: Vec<i64> = rows.iter().map(|(n, _)| *n).collect();
    let read = format!(
        "-- look what an index would hold of rejected rows
select w.n, w.planned from pg_temp.meter_sync_found w where w.n {} any ($1)",
        quote::EQUALS
    );
    let params = [param::bigints(&numbers)];
    let found = rejected::if_possible(local, local.query(&read, &params)).await?;
    Ok(found.map(|rows| rows.iter().map(|row| (row.get(0), row.get(1))).collect()))
}
