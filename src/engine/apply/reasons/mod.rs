//! Explains to people why a row was rejected: names the column, its value, the constraint with its definition, and the
//! other row that holds the same unique value.
//!
//! The definition of a constraint is read from the catalogs, because the server's error has only the name, and its
//! detail may be a dump of the row.

use std::collections::HashMap;

use crate::db::{DbError, RowFault, param};

use crate::engine::RunContext;
use crate::engine::plan::UnwrittenRow;
use crate::engine::why_value_refused::{LONGEST, cut, of_constraint, plain};
use broken_constraints::{BrokenConstraint, broken};
use conflicts_caused_by_triggers::AlteringTrigger;
use first_causes::ValueHolder;

mod suggest_freeing_statement;

mod broken_constraints;
mod conflicts_caused_by_triggers;
mod failed_evaluations;
mod first_causes;
mod row_values;
mod too_long_for_index;
mod value_holders;

/// Returns the reason why each row of `bad` was rejected, in the same order. Before the call, `relations.constraints`
/// must have been filled with the constraints of the local table.
pub(in crate::engine) async fn explain(
    run: &RunContext<'_>,
    bad: &[UnwrittenRow],
) -> Result<Vec<String>, DbError> {
    let (mut found, holders) = collisions(run, bad).await?;
    let triggers = triggers(run, bad).await?;
    found
        .extend(conflicts_caused_by_triggers::reasons(run, bad, &found, &triggers.altering).await?);
    let unnamed = bad
        .iter()
        .filter(|row| row.fault.names_nothing() && of_trigger(&row.fault, &triggers).is_none());
    found.extend(Box::pin(failed_evaluations::reasons(run, unnamed)).await?);
    let mut rules: HashMap<String, Option<BrokenConstraint>> = HashMap::new();
    let mut reasons = HashMap::with_capacity(bad.len());
    for UnwrittenRow { n, fault, .. } in bad {
        let reason = match found.remove(n) {
            Some(reason) => reason,
            None => {
                let rule = fault.rule.clone().unwrap_or_default();
                if !rules.contains_key(&rule) {
                    rules.insert(rule.clone(), broken(run, fault, bad).await?);
                }
                let rule = rules.get(&rule).and_then(Option::as_ref);
                let reason = of_row(run, *n, fault, rule, &triggers).await?;
                match fault.is_collision() && triggers.has_row_security {
                    true => format!("{reason}; row security may hide the row that holds it"),
                    false => reason,
                }
            }
        };
        reasons.insert(*n, reason);
    }
    let reason = |UnwrittenRow { n, .. }: &UnwrittenRow| {
        let own = reasons.get(n).map(String::as_str).unwrap_or_default();
        let first = first_causes::first_cause(*n, &holders, &reasons);
        let added = first.map_or_else(String::new, |first| format!("; {first}"));
        cut(&format!("{own}{added}"), LONGEST)
    };
    Ok(bad.iter().map(reason).collect())
}

/// Explains which rows of `bad` conflict with another row in a unique index. Returns two maps by row number: the
/// reason, and the meter that holds the value which the row needs. The second map has only meters that the plan would
/// have made give up the value.
async fn collisions(
    run: &RunContext<'_>,
    bad: &[UnwrittenRow],
) -> Result<(HashMap<i64, String>, HashMap<i64, ValueHolder>), DbError> {
    let (mut found, mut holders) = (HashMap::new(), HashMap::new());
    let collided = bad.iter().filter(|row| row.fault.is_collision());
    let mut left: Vec<&UnwrittenRow> = collided.collect();
    for rule in &run.relations.constraints.exclusive {
        let of_rule = |fault: &RowFault| {
            // The index of a partition has another name than that of the table, so an unknown name may belong to any
            // index.
            fault.rule.as_ref().is_none_or(|name| {
                *name == rule.name
                    || run
                        .relations
                        .constraints
                        .exclusive
                        .iter()
                        .all(|rule| rule.name != *name)
            })
        };
        let numbers: Vec<i64> = left
            .iter()
            .filter(|row| of_rule(&row.fault))
            .map(|row| row.n)
            .collect();
        if numbers.is_empty() {
            continue;
        }
        let taken = Box::pin(value_holders::reasons(run, rule, &numbers)).await?;
        for (n, taken) in taken {
            holders.extend(taken.holder.map(|holder| (n, holder)));
            found.insert(n, taken.reason);
        }
        left.retain(|row| !found.contains_key(&row.n));
    }
    Ok((found, holders))
}

/// A trigger, with the name of its function.
struct TableTrigger {
    name: String,
    function: String,
    /// The table that the trigger is on; `None` for the local table.
    of_other: Option<String>,
}

/// The triggers, rewrite rules and row security that can change, skip or refuse a row that is written.
#[derive(Default)]
struct TriggersRulesAndPolicies {
    /// The triggers of the local table, followed by the triggers of tables that refer to it.
    triggers: Vec<TableTrigger>,
    /// The names of the triggers and rewrite rules of the local table that may skip a row.
    skipping: Vec<String>,
    /// The triggers of the local table that may change the values of a row before the row is written. Rewrite rules are
    /// in this list, too, with `on_insert` and `on_update` both false.
    altering: Vec<AlteringTrigger>,
    /// Whether row security of the local table applies to our role.
    has_row_security: bool,
}

const TRIGGERS: &str = "\
-- look up the triggers
select g.tgname::text, p.proname::text, g.tgtype::integer & 3 = 3, null::text,
       g.tgtype::integer & 4 <> 0, g.tgtype::integer & 16 <> 0
from pg_catalog.pg_trigger g join pg_catalog.pg_proc p on p.oid = g.tgfoid
where g.tgrelid = $1 and not g.tgisinternal and g.tgenabled <> 'D'
union all
select r.rulename::text, '', true, null, false, false from pg_catalog.pg_rewrite r where r.ev_class = $1
union all
select null, '', true, null, false, false where pg_catalog.row_security_active($1)
union all
select distinct g.tgname::text, p.proname::text, false, t.relname::text, false, false
from pg_catalog.pg_constraint x
join pg_catalog.pg_class t on t.oid = x.conrelid and t.oid <> $1
join pg_catalog.pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal and g.tgenabled <> 'D'
join pg_catalog.pg_proc p on p.oid = g.tgfoid
where x.contype = 'f' and (x.confrelid = $1 or exists (
    select from pg_catalog.pg_inherits i where i.inhrelid = x.confrelid and i.inhparent = $1))
order by 4 nulls first, 1";

async fn triggers(
    run: &RunContext<'_>,
    bad: &[UnwrittenRow],
) -> Result<TriggersRulesAndPolicies, DbError> {
    let mut found = TriggersRulesAndPolicies::default();
    if bad.iter().all(|UnwrittenRow { fault, .. }| {
        fault.context.is_none() && !fault.is_skip() && !fault.is_collision()
    }) {
        return Ok(found);
    }
    for row in run
        .local
        .query(TRIGGERS, &[param::oid(run.relations.local_oid)])
        .await?
    {
        let (name, function): (Option<String>, String) = (row.get(0), row.get(1));
        let Some(name) = name else {
            found.has_row_security = true;
            continue;
        };
        if row.get(2) {
            let kind = if function.is_empty() {
                "rule"
            } else {
                "trigger"
            };
            found.skipping.push(format!("{kind} {name}"));
            found.altering.push(AlteringTrigger {
                trigger: format!("trigger {name} ({function})"),
                on_insert: row.get(4),
                on_update: row.get(5),
            });
        }
        if !function.is_empty() {
            found.triggers.push(TableTrigger {
                name,
                function,
                of_other: row.get(3),
            });
        }
    }
    Ok(found)
}

async fn of_row(
    run: &RunContext<'_>,
    n: i64,
    fault: &RowFault,
    broken: Option<&BrokenConstraint>,
    triggers: &TriggersRulesAndPolicies,
) -> Result<String, DbError> {
    if fault.is_skip() {
        return Ok(of_skip(triggers));
    }
    if fault.state == "23502"
        && let Some(column) = &fault.column
    {
        let of_ours = match run.relations.names.contains(column) {
            true => format!("{column} is null, which the local table does not allow"),
            false => format!(
                "{column} of the local table may not be null, has no default and is not synced"
            ),
        };
        // The error may be of another table that a trigger wrote to.
        return Ok(of_trigger(fault, triggers).unwrap_or(of_ours));
    }
    if fault.is_too_long_for_an_index()
        && let Some(reason) = too_long_for_index::reason(run, n, fault).await?
    {
        return Ok(reason);
    }
    if let Some(BrokenConstraint { constraint, values }) = broken {
        if constraint.is_ours
            && fault.is_collision()
            && let Some(TableTrigger { name, function, .. }) = within(fault, triggers)
        {
            let (rule, text) = (
                fault.rule.as_deref().unwrap_or_default(),
                &constraint.definition,
            );
            return Ok(format!(
                "trigger {name} ({function}) wrote another row, which breaks constraint {rule}: {text}"
            ));
        }
        let values = values.get(&n).map_or("the row", String::as_str);
        return Ok(of_constraint(fault, constraint, values));
    }
    Ok(of_trigger(fault, triggers).unwrap_or_else(|| plain(fault)))
}

fn of_skip(triggers: &TriggersRulesAndPolicies) -> String {
    let skipping = triggers.skipping.join(" or ");
    match (skipping.is_empty(), triggers.has_row_security) {
        (true, true) => {
            "the row security of the local table does not let our role write the row".to_owned()
        }
        (true, false) => {
            "a trigger, a rule or the row security of the local table skipped the row".to_owned()
        }
        (false, true) => format!("{skipping} or the row security skipped the row"),
        (false, false) => format!("{skipping} skipped the row"),
    }
}

/// Whether `context`, the call stack that Postgres reports with an error, contains a call of the function.
fn is_within(context: &str, function: &str) -> bool {
    let call = format!("{function}(");
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    context
        .match_indices(&call)
        .any(|(place, _)| !context.get(..place).unwrap_or_default().ends_with(is_word))
}

/// Returns the trigger whose function is in the call stack that Postgres reports with the error. `None` if there is
/// none.
fn within<'t>(
    fault: &RowFault,
    triggers: &'t TriggersRulesAndPolicies,
) -> Option<&'t TableTrigger> {
    let context = fault.context.as_ref()?;
    let mut known = triggers.triggers.iter();
    known.find(|trigger| is_within(context, &trigger.function))
}

/// Returns the reason if the error was raised in the function of a trigger, and `None` otherwise.
fn of_trigger(fault: &RowFault, triggers: &TriggersRulesAndPolicies) -> Option<String> {
    let TableTrigger {
        name,
        function,
        of_other,
    } = within(fault, triggers)?;
    let of_other = of_other.as_ref();
    let table = of_other.map_or_else(String::new, |table| format!(" of table {table}"));
    Some(format!(
        "trigger {name} ({function}){table} refused the row: {}",
        plain(fault)
    ))
}
