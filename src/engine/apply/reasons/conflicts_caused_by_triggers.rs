//! Finds rejected rows that broke a unique index only because a trigger of the local table changed them.
//!
//! The server's error shows the values for which the index already has an entry. If the planned row has other values, a
//! trigger that fires before the row is written must have changed the row.

use std::collections::HashMap;

use crate::db::computed_expressions::InputColumn;
use crate::db::constraints_between_rows::UniquenessRule;
use crate::db::{DbError, param, quote};

use crate::engine::RunContext;
use crate::engine::apply::collision_queries::{as_view, wanted};
use crate::engine::plan::PlanStep;
use crate::engine::plan::UnwrittenRow;
use crate::engine::write_by_halving;

/// A trigger that may change the values of a row before it is written.
pub(in crate::engine) struct AlteringTrigger {
    /// The names of the trigger and its function, as shown to people.
    pub(in crate::engine) trigger: String,
    pub(in crate::engine) on_insert: bool,
    pub(in crate::engine) on_update: bool,
}

impl AlteringTrigger {
    fn fires_at(&self, step: PlanStep) -> bool {
        match step {
            PlanStep::Insert => self.on_insert,
            PlanStep::Deactivate | PlanStep::Change => self.on_update,
        }
    }
}

/// Returns the reasons of those rows in `bad` that broke a unique index because a trigger changed them, by row number.
/// Rows in `known` already have a reason and are left out.
pub(in crate::engine) async fn reasons(
    run: &RunContext<'_>,
    bad: &[UnwrittenRow],
    known: &HashMap<i64, String>,
    triggers: &[AlteringTrigger],
) -> Result<HashMap<i64, String>, DbError> {
    let mut found = HashMap::new();
    for rule in &run.relations.constraints.exclusive {
        for step in [PlanStep::Deactivate, PlanStep::Change, PlanStep::Insert] {
            let blamed: Vec<&str> = triggers
                .iter()
                .filter(|trigger| trigger.fires_at(step))
                .map(|trigger| trigger.trigger.as_str())
                .collect();
            let collided = bad
                .iter()
                .filter_map(|UnwrittenRow { step: of, n, fault }| {
                    // An error with a context was raised by another statement, which a trigger ran.
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
            // An entry with NULL collides with nothing, so a trigger changed the row, unless the server fills in a
            // column that is not synced.
            let is_synced = |read: &InputColumn| run.relations.names.contains(&read.name);
            let takes_nulls = !rule.nulls_match && rule.reads.iter().all(is_synced);
            let planned = planned(run, rule, step, &collided).await?;
            let changed = collided.iter().filter(|(n, entry)| {
                match planned.as_ref().map(|planned| planned.get(n)) {
                    None => false,
                    Some(Some(None)) => takes_nulls,
                    // The row of the plan would not have changed the index.
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

/// Returns for each planned row the values that the index would store if no trigger changed the row, as the server
/// prints them in errors; `None` for a row with NULL in one of them. The whole result is `None` if the values cannot be
/// computed.
async fn planned(
    run: &RunContext<'_>,
    rule: &UniquenessRule,
    step: PlanStep,
    rows: &[(i64, &str)],
) -> Result<Option<HashMap<i64, Option<String>>>, DbError> {
    let local = run.local;
    let parts: Vec<String> = (1..=rule.parts.len())
        .map(|place| format!("w.x{place}"))
        .collect();
    let query = format!(
        "select w.v1 as n, case when num_nulls({}) = 0 then concat_ws(', ', {}) end as planned from {} w",
        parts.join(", "),
        parts.join(", "),
        wanted(run, rule, step)
    );
    if as_view(run, &query).await?.is_none() {
        return Ok(None);
    }
    let numbers: Vec<i64> = rows.iter().map(|(n, _)| *n).collect();
    let read = format!(
        "-- look what an index would hold of rejected rows
select w.n, w.planned from pg_temp.meter_sync_found w where w.n {} any ($1)",
        quote::EQUALS
    );
    let params = [param::bigints(&numbers)];
    let found = write_by_halving::if_possible(local, local.query(&read, &params)).await?;
    Ok(found.map(|rows| rows.iter().map(|row| (row.get(0), row.get(1))).collect()))
}
