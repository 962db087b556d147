//! Names the constraint that a row of a distributed table broke.
//!
//! Citus passes on the message of the server that has the shard, but not the name of the constraint, and for inserts
//! not even the SQLSTATE. The message names the shard's copy of the constraint.

use crate::db::RowFault;
use crate::engine::Relations;
use crate::engine::try_rows::Bad;

/// Whether the row broke the constraint or index of this name. Only for a row of a distributed table does the name of a
/// shard's copy count: elsewhere, `meter_site` and `meter_site_2` are two constraints.
pub(in crate::engine) fn breaks(relations: &Relations, fault: &RowFault, rule: &str) -> bool {
    let is_distributed = relations.distribution.is_some();
    fault.rule.as_deref() == Some(rule) || is_distributed && fault.breaks_in_shard(rule)
}

/// Adds the constraint and its SQLSTATE to faults of rows of a distributed table. Does nothing for any other table.
/// `relations` must have the constraints.
pub(super) fn name_all(relations: &Relations, bad: Bad) -> Bad {
    let named = bad
        .into_iter()
        .map(|(n, fault)| (n, name(relations, fault)));
    named.collect()
}

/// The same for one fault.
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
    }
    fault
}
