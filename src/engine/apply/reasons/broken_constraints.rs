//! Looks up the constraints that rejected rows break, and the values of these rows in the columns of the constraint.

use std::collections::HashMap;

use crate::db::{DbError, RowFault};

use super::row_values;
use crate::engine::RunContext;
use crate::engine::plan::BadRow;
use crate::engine::value_reasons::{Constraint, constraint};

/// A constraint, and the values of its columns in each row that breaks it, by the row's number in the plan. The values
/// are empty if the constraint does not belong to the local table.
pub(in crate::engine) struct BrokenConstraint {
    pub(in crate::engine) constraint: Constraint,
    pub(in crate::engine) values: HashMap<i64, String>,
}

/// Returns the constraint that a row breaks, with the values of all rows that break it. `None` if the fault names no
/// constraint, or one that the catalogs do not have.
pub(in crate::engine) async fn broken(
    run: &RunContext<'_>,
    fault: &RowFault,
    bad: &[BadRow],
) -> Result<Option<BrokenConstraint>, DbError> {
    let Some(constraint) = constraint(run, fault).await? else {
        return Ok(None);
    };
    let values = match constraint.is_ours {
        true => {
            let rows = bad.iter().filter(|other| other.fault.rule == fault.rule);
            let rows: Vec<i64> = rows.map(|row| row.n).collect();
            row_values::named(run, &rows, &constraint.columns).await?
        }
        false => HashMap::new(),
    };
    Ok(Some(BrokenConstraint { constraint, values }))
}
