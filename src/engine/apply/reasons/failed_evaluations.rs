//! Finds out which check constraint, generated column or index of the local table could not be evaluated for a rejected
//! row, for instance because of a division by zero. In this module, each of these is called a *rule*. The server's
//! error names neither the rule nor a column.
//!
//! Each rule is evaluated for all such rows at once. Only if that fails, a function on the server evaluates it row by
//! row. If this raises the error with which the row was rejected, the rule is the cause. The search must be cheap,
//! because it only makes the reason clearer: its number of statements does not grow with the rows. If it fails, the
//! reason shown is the server's message.

use std::collections::HashMap;

use crate::db::computed_expressions::{self, ComputedExpression};
use crate::db::constraints_between_rows::{UniquenessRule, UniquenessValue};
use crate::db::{DbError, Local, RowFault, Tx, param};

use super::row_values;
use crate::engine::RunContext;
use crate::engine::apply::collision_queries::{as_view, wanted};
use crate::engine::plan::{self, PlanStep, UnwrittenRow};
use crate::engine::why_value_refused::plain;
use crate::engine::write_by_halving::{self, WriteAttemptOutcome};

/// One search evaluates at most this many rules, each counted once for every step of the plan that it is tried on. A
/// rule is a check, a generated column or an index. Each takes up to ten statements.
const MAX_EVALUATIONS: usize = 60;

/// Returns the reasons of those rows in `bad` that were refused because a check, generated column or index could not be
/// evaluated, by row number. Rows for which no such cause is found are missing from the result.
pub(in crate::engine) async fn reasons(
    run: &RunContext<'_>,
    bad: impl Iterator<Item = &UnwrittenRow>,
) -> Result<HashMap<i64, String>, DbError> {
    let local = run.local;
    let mut found = HashMap::new();
    let rows: Vec<&UnwrittenRow> = bad.collect();
    if rows.is_empty() {
        return Ok(found);
    }
    // This function and its caller look up rows by their numbers.
    local.batch(&plan::index(run.relations)).await?;
    // The session may be used again, so the function must not stay in it.
    let looked = local.rehearse("unevaluated", async {
        match find(run, &rows, &mut found).await {
            Err(error) if error.ends_the_connection() => Err(error),
            looked => Ok(looked),
        }
    });
    if let Err(error) = looked.await? {
        tracing::debug!(%error, "could not look for the rule that a row breaks");
    }
    Ok(found)
}

async fn find(
    run: &RunContext<'_>,
    rows: &[&UnwrittenRow],
    found: &mut HashMap<i64, String>,
) -> Result<(), DbError> {
    let local = run.local;
    local.pin_path().await?;
    let rules = computed_expressions::evaluated(local, run.relations.local_oid).await?;
    local.use_role_path().await?;
    if rules.is_empty() {
        return Ok(());
    }
    local.batch(EVALUATE_EACH).await?;
    let mut evaluations_left = MAX_EVALUATIONS;
    for rule in &rules {
        for step in [PlanStep::Deactivate, PlanStep::Change, PlanStep::Insert] {
            let left = rows
                .iter()
                .filter(|row| row.step == step && !found.contains_key(&row.n));
            let left: Vec<&UnwrittenRow> = left.copied().collect();
            if left.is_empty() || evaluations_left == 0 {
                continue;
            }
            evaluations_left -= 1;
            let failing = failing(run, rule, step, &left).await?;
            found.extend(format_reasons(run, rule, &failing).await?);
        }
    }
    Ok(())
}

/// Returns the reasons to show for the rows in `failing`, for which the rule could not be evaluated, by row number.
async fn format_reasons(
    run: &RunContext<'_>,
    rule: &ComputedExpression,
    failing: &[&UnwrittenRow],
) -> Result<HashMap<i64, String>, DbError> {
    if failing.is_empty() {
        return Ok(HashMap::new());
    }
    let numbers: Vec<i64> = failing.iter().map(|row| row.n).collect();
    let values = row_values::named(run, &numbers, &rule.columns).await?;
    let reasons = failing.iter().filter_map(|UnwrittenRow { n, fault, .. }| {
        let (values, owner, raised) = (values.get(n)?, &rule.owner, plain(fault));
        let shown = &rule.shown;
        let reason = format!("{values}: {owner} cannot be evaluated: {raised}: {shown}");
        Some((*n, reason))
    });
    Ok(reasons.collect())
}

/// Returns those of `rows` for which the evaluation of the rule raises the error with which the row was refused.
async fn failing<'b>(
    run: &RunContext<'_>,
    rule: &ComputedExpression,
    step: PlanStep,
    rows: &[&'b UnwrittenRow],
) -> Result<Vec<&'b UnwrittenRow>, DbError> {
    let local = run.local;
    let entries = wanted(run, &as_index(rule), step);
    let query = format!("select w.v1 as n, w.x1 as value from {entries} w");
    let all: Vec<i64> = rows.iter().map(|row| row.n).collect();
    if as_view(run, &query).await?.is_none() || is_evaluated(local, &all).await? {
        return Ok(Vec::new());
    }
    let raised = raised(local, &all).await?;
    let is_same = |UnwrittenRow { n, fault, .. }: &&&UnwrittenRow| {
        let raised = raised.get(n);
        raised.is_some_and(|(state, message)| (state, message) == (&fault.state, &fault.message))
    };
    Ok(rows.iter().filter(is_same).copied().collect())
}

/// Whether the rule that the view `meter_sync_found` evaluates can be evaluated for all these rows. Also true if the
/// server cannot run the query at all.
async fn is_evaluated(local: &Tx<'_, Local>, rows: &[i64]) -> Result<bool, DbError> {
    let params = [param::bigints(rows)];
    let evaluated = write_by_halving::attempt(local, async {
        local.query_one(EVALUATE, &params).await?;
        // Anything that a function of the rule wrote is undone.
        Ok(WriteAttemptOutcome::NotWritten(Box::new(
            RowFault::skipped(),
        )))
    });
    Ok(
        match write_by_halving::if_possible(local, evaluated).await? {
            Some(WriteAttemptOutcome::NotWritten(raised)) => raised.is_skip(),
            Some(WriteAttemptOutcome::Written) | None => true,
        },
    )
}

const EVALUATE: &str = "\
-- evaluate a rule for rows
select pg_catalog.count(w.value) from pg_temp.meter_sync_found w where w.n operator(pg_catalog.=) any ($1)";

/// Evaluates the rule of the view `meter_sync_found` for each of these rows. Returns the SQLSTATE and the message of
/// each row for which this raises an error, by row number.
async fn raised(
    local: &Tx<'_, Local>,
    rows: &[i64],
) -> Result<HashMap<i64, (String, String)>, DbError> {
    let params = [param::bigints(rows)];
    // Anything that a function of the rule wrote is undone.
    let raised = local.rehearse("raised", local.query(RAISED, &params));
    let raised = raised.await?;
    let raised = raised
        .iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))));
    Ok(raised.collect())
}

const RAISED: &str = "\
-- ask what a rule raises for each row
select w.n, w.state, w.message from pg_temp.meter_sync_raised($1) w";

/// Creates a function on the server that evaluates a rule for each row, and returns the rows for which this raises an
/// error, with the error. The function reads the view `meter_sync_found`, so the view must be replaced for each rule
/// before the function is called.
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

/// Presents the rule as an index on its expression, so that [`wanted`], which only takes indexes, can build the query
/// that computes the expression for each row.
fn as_index(rule: &ComputedExpression) -> UniquenessRule {
    UniquenessRule {
        name: rule.owner.clone(),
        is_exclusion: false,
        deferrable: None,
        parts: vec![UniquenessValue {
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
