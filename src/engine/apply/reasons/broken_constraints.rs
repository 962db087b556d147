//! Looks up the constraint that a rejected row breaks, and the row's values in the columns of the constraint.

use std::collections::HashMap;

use crate::db::{DbError, RowFault};

use super::row_values;
use crate::engine::RunContext;
use crate::engine::plan::UnwrittenRow;
use crate::engine::why_value_refused::{ViolatedConstraint, constraint};

/// A constraint that rejected rows break. `values` has the values of each of these rows in the columns of the
/// constraint, as text, by the row's number in the plan. It is empty if the constraint belongs to another table.
pub(in crate::engine) struct BrokenConstraint {
    pub(in crate::engine) constraint: ViolatedConstraint,
    pub(in crate::engine) values: HashMap<i64, String>,
}

/// Looks up the constraint that `fault` names, and the values of all rows in `bad` that break it. Returns `None` if
/// `fault` names no constraint, or one that is not in Postgres's catalogs.
pub(in crate::engine) async fn broken(
    run: &RunContext<'_>,
    fault: &RowFault,
    bad: &[UnwrittenRow],
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
