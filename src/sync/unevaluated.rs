//! Finds which rule of the local table raised the error that a row was refused with. Where a check, a generated column or an
//! index cannot be evaluated, as it divides by zero or its function raises an error, the server names neither the rule nor a column.
//!
//! Each rule is evaluated for all such rows at once, and only where that fails for one after the other, by a function on the server:
//! a row for which it fails with the very error is one that it refuses. This is for people to read and no part of what a run is for, so
//! it takes few statements, however many rows there are, and where it fails the reason is what the server said.

use std::collections::HashMap;

use crate::db::computed::{self, Evaluated};
use crate::db::exclusive::{Exclusive, Part};
use crate::db::{DbError, Local, RowFault, Tx, param};

use super::collisions::{as_view, wanted};
use super::plan::Step;
use super::reasons::{BadRow, plain};
use super::rejected::{self, Tried};
use super::{Shape, apply, row_values};

/// So many times rules are evaluated in a run: each time takes up to ten statements.
const TIMES: usize = 60;

/// The reasons of those of the rows that were refused as a rule could not be evaluated, as far as they are found.
pub(super) async fn reasons(
    local: &Tx<'_, Local>,
    shape: &Shape,
    bad: impl Iterator<Item = &BadRow>,
) -> Result<HashMap<i64, String>, DbError> {
    let mut found = HashMap::new();
    let rows: Vec<&BadRow> = bad.collect();
    if rows.is_empty() {
        return Ok(found);
    }
    // The rows are looked up by their numbers here and afterwards.
    local.batch(&apply::index(shape)).await?;
    local.savepoint("unevaluated").await?;
    match find(local, shape, &rows, &mut found).await {
        Ok(()) => {}
        Err(error) if error.ends_the_connection() => return Err(error),
        Err(error) => tracing::debug!(%error, "could not look for the rule that a row breaks"),
    }
    // The session may go on to serve others: no function stays in it.
    local.back_to("unevaluated").await?;
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
    if rules.is_empty() {
        return Ok(());
    }
    local.batch(EVALUATE_EACH).await?;
    let mut times = TIMES;
    for rule in &rules {
        for step in [Step::Deactivate, Step::Change, Step::Insert] {
            let left = rows
                .iter()
                .filter(|(of, n, _)| *of == step && !found.contains_key(n));
            let left: Vec<&BadRow> = left.copied().collect();
            if left.is_empty() || times == 0 {
                continue;
            }
            times -= 1;
            let failing = failing(local, shape, (rule, step), &left).await?;
            found.extend(told(local, shape, rule, &failing).await?);
        }
    }
    Ok(())
}

/// The reasons of the rows for which the rule fails.
async fn told(
    local: &Tx<'_, Local>,
    shape: &Shape,
    rule: &Evaluated,
    failing: &[&BadRow],
) -> Result<HashMap<i64, String>, DbError> {
    if failing.is_empty() {
        return Ok(HashMap::new());
    }
    let numbers: Vec<i64> = failing.iter().map(|(_, n, _)| *n).collect();
    let values = row_values::named(local, shape, &numbers, &rule.columns).await?;
    let reasons = failing.iter().filter_map(|(_, n, fault)| {
        let (values, owner, raised) = (values.get(n)?, &rule.owner, plain(fault));
        let shown = &rule.shown;
        let reason = format!("{values}: {owner} cannot be evaluated: {raised}: {shown}");
        Some((*n, reason))
    });
    Ok(reasons.collect())
}

/// The rows of a step for which the rule fails with the error of the row.
async fn failing<'b>(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (rule, step): (&Evaluated, Step),
    rows: &[&'b BadRow],
) -> Result<Vec<&'b BadRow>, DbError> {
    let entries = wanted(shape, &as_index(rule), step);
    let query = format!("select w.v1 as n, w.x1 as value from {entries} w");
    let all: Vec<i64> = rows.iter().map(|(_, n, _)| *n).collect();
    if as_view(local, &query).await?.is_none() || is_evaluated(local, &all).await? {
        return Ok(Vec::new());
    }
    let raised = raised(local, &all).await?;
    let is_same = |(_, n, fault): &&&BadRow| {
        let raised = raised.get(n);
        raised.is_some_and(|(state, message)| (state, message) == (&fault.state, &fault.message))
    };
    Ok(rows.iter().filter(is_same).copied().collect())
}

/// Whether the rule can be evaluated for all of the rows.
async fn is_evaluated(local: &Tx<'_, Local>, rows: &[i64]) -> Result<bool, DbError> {
    let params = [param::bigints(rows)];
    let evaluated = rejected::attempt(local, async {
        local.query_one(EVALUATE, &params).await?;
        // What the function of the rule wrote is undone.
        Ok(Tried::NotTaken(Box::new(RowFault::skipped())))
    });
    Ok(match rejected::if_possible(local, evaluated).await? {
        Some(Tried::NotTaken(raised)) => raised.is_skip(),
        Some(Tried::Taken) | None => true,
    })
}

const EVALUATE: &str = "\
-- evaluate a rule for rows
select pg_catalog.count(w.value) from pg_temp.meter_sync_found w where w.n operator(pg_catalog.=) any ($1)";

/// What the rule raises for each of the rows for which it does: SQLSTATE and message.
async fn raised(
    local: &Tx<'_, Local>,
    rows: &[i64],
) -> Result<HashMap<i64, (String, String)>, DbError> {
    let params = [param::bigints(rows)];
    local.savepoint("raised").await?;
    let raised = local.query(RAISED, &params).await?;
    // What the function of the rule wrote is undone.
    local.back_to("raised").await?;
    let raised = raised
        .iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))));
    Ok(raised.collect())
}

const RAISED: &str = "\
-- ask what a rule raises for each row
select w.n, w.state, w.message from pg_temp.meter_sync_raised($1) w";

/// Names the rows of which it evaluates the rule with the error that this raises. It reads the view by name, so it serves for each.
const EVALUATE_EACH: &str = "\
-- define how a rule is evaluated for each row
create function pg_temp.meter_sync_raised(numbers bigint[])
returns table (n bigint, state text, message text) language plpgsql as $$
declare
    number bigint;
begin
    foreach number in array numbers loop
        begin
            perform w.value from pg_temp.meter_sync_found w where w.n operator(pg_catalog.=) number;
        exception when others then
            n := number;
            state := sqlstate;
            message := sqlerrm;
            return next;
        end;
    end loop;
end $$";

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
