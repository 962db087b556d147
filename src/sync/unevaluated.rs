//! Finds which rule of the local table raised the error that a row was refused with. Where a check, a generated column or an
//! index cannot be evaluated, as it divides by zero or its function raises an error, the server names neither the rule nor a column.
//!
//! Each rule is evaluated for all such rows at once, and row by row only where that fails: a row for which it fails with the very
//! error is one that it refuses. This is for people to read and no part of what a run is for, so it takes few statements, and where
//! it fails the reason is what the server said.

use std::collections::HashMap;

use crate::db::computed::{self, Evaluated, Read};
use crate::db::exclusive::{Exclusive, Part};
use crate::db::{DbError, Local, RowFault, Tx, param};

use super::Shape;
use super::collisions::{as_view, entries, wanted};
use super::plan::Step;
use super::reasons::{BadRow, plain, values};
use super::rejected::{self, Tried};

/// For so many rows the rules are evaluated.
const ROWS: usize = 20;
/// So many times rules are evaluated in a run, for all rows or for one: each time takes up to ten statements.
const TIMES: usize = 60;

/// The reasons of those of the rows that were refused as a rule could not be evaluated, as far as they are found.
pub(super) async fn reasons(
    local: &Tx<'_, Local>,
    shape: &Shape,
    bad: impl Iterator<Item = &BadRow>,
) -> Result<HashMap<i64, String>, DbError> {
    let mut found = HashMap::new();
    let rows: Vec<&BadRow> = bad.take(ROWS).collect();
    if rows.is_empty() {
        return Ok(found);
    }
    local.savepoint("unevaluated").await?;
    match find(local, shape, &rows, &mut found).await {
        Ok(()) => local.release("unevaluated").await?,
        Err(error) if error.ends_the_connection() => return Err(error),
        Err(error) => {
            tracing::debug!(%error, "could not look for the rule that a row breaks");
            local.back_to("unevaluated").await?;
        }
    }
    Ok(found)
}

async fn find(
    local: &Tx<'_, Local>,
    shape: &Shape,
    rows: &[&BadRow],
    found: &mut HashMap<i64, String>,
) -> Result<(), DbError> {
    local.pin_path().await?;
    let rules = computed::evaluated(local, shape.local_oid).await?;
    local.use_role_path().await?;
    let mut times = TIMES;
    for rule in &rules {
        for step in [Step::Deactivate, Step::Change, Step::Insert] {
            let left = rows
                .iter()
                .filter(|(of, n, _)| *of == step && !found.contains_key(n));
            let left: Vec<&BadRow> = left.copied().collect();
            for (_, n, fault) in failing(local, shape, (rule, step), &left, &mut times).await? {
                let values = values(local, shape, *n, &rule.columns).await?;
                let (owner, raised) = (&rule.owner, plain(fault));
                let reason = format!(
                    "{values}: {owner} cannot be evaluated: {raised}: {}",
                    rule.shown
                );
                found.insert(*n, reason);
            }
        }
    }
    Ok(())
}

/// The rows of a step for which the rule fails with the error of the row.
async fn failing<'b>(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (rule, step): (&Evaluated, Step),
    rows: &[&'b BadRow],
    times: &mut usize,
) -> Result<Vec<&'b BadRow>, DbError> {
    let mut failing = Vec::new();
    if rows.is_empty() || *times == 0 {
        return Ok(failing);
    }
    *times -= 1;
    let entries = evaluated(shape, &as_index(rule), step);
    let query = format!("select w.v1 as n, w.x1 as value from {entries} w");
    if as_view(local, &query).await?.is_none() {
        return Ok(failing);
    }
    let all: Vec<i64> = rows.iter().map(|(_, n, _)| *n).collect();
    if evaluate(local, &all).await?.is_none() {
        return Ok(failing);
    }
    for row in rows {
        if *times == 0 {
            break;
        }
        *times -= 1;
        let (_, n, fault) = row;
        let raised = evaluate(local, &[*n]).await?;
        let is_same =
            |raised: &RowFault| (&raised.state, &raised.message) == (&fault.state, &fault.message);
        if raised.as_deref().is_some_and(is_same) {
            failing.push(*row);
        }
    }
    Ok(failing)
}

/// What comes of the rows of a step by an index, `v1` being their number.
fn evaluated(shape: &Shape, index: &Exclusive, step: Step) -> String {
    match step {
        Step::Change | Step::Insert => wanted(shape, index, step),
        Step::Deactivate => {
            let column = |read: &Read| match read.name == shape.active {
                true => "false".to_owned(),
                false => shape.column("l", &read.name),
            };
            let from = format!(
                "pg_temp.meter_sync_plan p join {} l on {} and {} where p.step = 0",
                shape.local,
                shape.same_key("l", "p"),
                shape.local_filter
            );
            entries(index, &["p.n".to_owned()], column, &from)
        }
    }
}

/// What the rule raises for the rows, if it does.
async fn evaluate(local: &Tx<'_, Local>, rows: &[i64]) -> Result<Option<Box<RowFault>>, DbError> {
    let params = [param::bigints(rows)];
    let evaluated = rejected::attempt(local, async {
        local.query_one(EVALUATE, &params).await?;
        // What the function of the rule wrote is undone.
        Ok(Tried::NotTaken(Box::new(RowFault::skipped())))
    });
    Ok(match rejected::if_possible(local, evaluated).await? {
        Some(Tried::NotTaken(raised)) if !raised.is_skip() => Some(raised),
        Some(Tried::NotTaken(_) | Tried::Taken) | None => None,
    })
}

const EVALUATE: &str = "\
-- evaluate a rule for rows
select pg_catalog.count(w.value) from pg_temp.meter_sync_found w where w.n operator(pg_catalog.=) any ($1)";

/// An index that would hold the value of the rule, for which there is a query of what it holds of a row.
fn as_index(rule: &Evaluated) -> Exclusive {
    Exclusive {
        name: rule.owner.clone(),
        is_exclusion: false,
        deferrable: None,
        parts: vec![Part {
            expression: format!("({})", rule.expression),
            shown: rule.shown.clone(),
            operator: String::new(),
        }],
        predicate: None,
        nulls_match: false,
        reads: rule.reads.clone(),
        computed: rule.computed.clone(),
    }
}
