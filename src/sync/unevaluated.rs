//! Finds which rule of the local table raised the error that a row was refused with. Where a check, a generated column or an
//! index cannot be evaluated, as it divides by zero or its function raises an error, the server names neither the rule nor a column.
//!
//! Each rule is evaluated for such a row. One that fails with the very error is the one.

use std::collections::HashMap;

use crate::db::computed::{self, Evaluated};
use crate::db::exclusive::{Exclusive, Part};
use crate::db::{DbError, Local, RowFault, Tx, param};

use super::Shape;
use super::collisions::{as_view, wanted};
use super::plan::Step;
use super::reasons::{BadRow, plain, values};
use super::rejected::{self, Tried};

/// For so many rows the rules are evaluated, as each rule takes a statement a row.
const ROWS: usize = 20;
/// So many rules are evaluated.
const RULES: usize = 50;

/// The reasons of those of the rows that were refused as a rule could not be evaluated.
pub(super) async fn reasons(
    local: &Tx<'_, Local>,
    shape: &Shape,
    bad: impl Iterator<Item = &BadRow>,
) -> Result<HashMap<i64, String>, DbError> {
    let mut found = HashMap::new();
    let mut left: Vec<&BadRow> = bad.take(ROWS).collect();
    if left.is_empty() {
        return Ok(found);
    }
    local.pin_path().await?;
    let rules = computed::evaluated(local, shape.local_oid).await?;
    local.use_role_path().await?;
    for rule in rules.iter().take(RULES) {
        let failing = failing(local, shape, rule, &left).await?;
        let (of_rule, others): (Vec<&BadRow>, Vec<&BadRow>) =
            left.iter().partition(|(_, n, _)| failing.contains(n));
        left = others;
        for (_, n, fault) in of_rule {
            let values = values(local, shape, *n, &rule.columns).await?;
            let reason = format!(
                "{values}: {} cannot be evaluated: {}: {}",
                rule.owner,
                plain(fault),
                rule.shown
            );
            found.insert(*n, reason);
        }
    }
    Ok(found)
}

/// The rows for which the rule fails with the error of the row.
async fn failing(
    local: &Tx<'_, Local>,
    shape: &Shape,
    rule: &Evaluated,
    bad: &[&BadRow],
) -> Result<Vec<i64>, DbError> {
    let mut failing = Vec::new();
    for step in [Step::Change, Step::Insert] {
        let of_step: Vec<&&BadRow> = bad.iter().filter(|(of, _, _)| *of == step).collect();
        if of_step.is_empty() {
            continue;
        }
        let entries = wanted(shape, &as_index(rule), step);
        let query = format!("select w.v1 as n, w.x1 as value from {entries} w");
        if as_view(local, &query).await?.is_none() {
            continue;
        }
        for (_, n, fault) in of_step {
            let params = [param::bigint(*n)];
            let evaluated = rejected::attempt(local, async {
                local.query_one(EVALUATE, &params).await?;
                // What the function of the rule wrote is undone.
                Ok(Tried::NotTaken(Box::new(RowFault::skipped())))
            });
            let raised = match rejected::if_possible(local, evaluated).await? {
                Some(Tried::NotTaken(raised)) => raised,
                Some(Tried::Taken) | None => continue,
            };
            if (&raised.state, &raised.message) == (&fault.state, &fault.message) {
                failing.push(*n);
            }
        }
    }
    Ok(failing)
}

const EVALUATE: &str = "\
-- evaluate a rule for a row
select pg_catalog.count(w.value) from pg_temp.meter_sync_found w where w.n operator(pg_catalog.=) $1";

/// An index that would hold the value of the rule, for which there is a query of what it holds of a row.
fn as_index(rule: &Evaluated) -> Exclusive {
    Exclusive {
        name: rule.owner.clone(),
        is_exclusion: false,
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
