//! Names the constraint that a row of a distributed table broke.
//!
//! Citus passes on the message of the server that has the shard, but not the name of the constraint, and for inserts
//! not even the SQLSTATE. The message names the shard's copy of the constraint.

use crate::db::RowFault;
use crate::db::catalog::Column;
use crate::engine::Relations;
use crate::engine::write_by_halving::RowFaults;

/// Whether the row broke the constraint or index of this name. For a row of a distributed table, the name of a shard's
/// copy counts, too. In other tables, `meter_site` and `meter_site_2` are two different constraints.
pub(in crate::engine) fn breaks(relations: &Relations, fault: &RowFault, rule: &str) -> bool {
    let is_distributed = relations.distribution.is_some();
    fault.rule.as_deref() == Some(rule) || is_distributed && fault.breaks_in_shard(rule)
}

/// Adds the constraint and its SQLSTATE to faults of rows of a distributed table. Does nothing for any other table.
/// `relations` must have the constraints.
pub(super) fn name_all(relations: &Relations, bad: RowFaults) -> RowFaults {
    let named = bad
        .into_iter()
        .map(|(n, fault)| (n, name(relations, fault)));
    named.collect()
}

/// Like [`name_all`], for one fault.
pub(super) fn name(relations: &Relations, mut fault: RowFault) -> RowFault {
    if relations.distribution.is_none() {
        return fault;
    }
    let constraints = &relations.constraints;
    let exclusive = constraints.exclusive.iter().map(|rule| {
        let state = match rule.is_exclusion {
            true => "23P01",
            false => "23505",
        };
        (&rule.name, state)
    });
    let outward = constraints
        .outward
        .iter()
        .map(|to| (&to.constraint, "23503"));
    let references = constraints
        .references
        .iter()
        .map(|from| (&from.constraint, "23503"));
    let known = exclusive.chain(outward).chain(references);
    let mut broken = known.filter(|(rule, _)| fault.breaks_in_shard(rule));
    let first = broken.next();
    // Two long names may have the same beginning.
    let is_one = broken.all(|(rule, _)| first.is_some_and(|(first, _)| first == rule));
    if let Some((rule, state)) = first.filter(|_| is_one) {
        fault.rule = Some(rule.clone());
        state.clone_into(&mut fault.state);
        // The shard's table has a number at the end of its name, too.
        fault.table = None;
        fault.context = None;
        return fault;
    }
    name_check_or_null(relations, fault)
}

/// Adds the check constraint that the row broke, or the column that may not be null. A shard gives both the same names
/// as the table does.
fn name_check_or_null(relations: &Relations, mut fault: RowFault) -> RowFault {
    let checks = &relations.constraints.checks;
    let is_of_shard =
        fault.is_of_shard_copy() || ["23502", "23514"].contains(&fault.state.as_str());
    let is_broken = |check: &&String| match &fault.rule {
        Some(rule) => rule == *check,
        None => is_of_shard && fault.quotes(check),
    };
    if let Some(check) = only(checks.iter().filter(is_broken)) {
        let rule = Some(check.clone());
        return RowFault {
            rule,
            state: "23514".to_owned(),
            table: None,
            context: None,
            ..fault
        };
    }
    let columns = relations.all_columns.local.iter();
    let is_null = |column: &&Column| !column.is_nullable && fault.quotes(&column.name);
    if is_of_shard && let Some(column) = only(columns.filter(is_null)) {
        fault.column = Some(column.name.clone());
        "23502".clone_into(&mut fault.state);
    }
    fault
}

/// Returns the item if there is just one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    items.next().filter(|_| items.next().is_none())
}
