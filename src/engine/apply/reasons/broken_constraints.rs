//! Looks up the constraints that rejected rows break, and the values of these rows in the columns of the constraint.

use std::collections::HashMap;

use crate::db::{DbError, RowFault, param};

use super::BadRow;
use super::row_values;
use crate::engine::RunContext;

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
            let rows = bad.iter().filter(|(_, _, other)| other.rule == fault.rule);
            let rows: Vec<i64> = rows.map(|(_, n, _)| *n).collect();
            row_values::named(run, &rows, &constraint.columns).await?
        }
        false => HashMap::new(),
    };
    Ok(Some(BrokenConstraint { constraint, values }))
}

/// A constraint of the local table, of another table or of a domain.
pub(in crate::engine) struct Constraint {
    pub(in crate::engine) definition: String,
    /// The columns that the constraint reads.
    pub(in crate::engine) columns: Vec<String>,
    /// Whether the constraint belongs to the local table or one of its partitions.
    pub(in crate::engine) is_ours: bool,
    /// The table that a foreign key refers to; `None` for other constraints.
    pub(in crate::engine) target: Option<String>,
    /// Whether the foreign key refers to the local table or one of its partitions.
    pub(in crate::engine) refers_to_us: bool,
}

const CONSTRAINT: &str = "\
-- look up a constraint
select pg_catalog.pg_get_constraintdef(x.oid),
       array(select a.attname::text from pg_catalog.unnest(x.conkey) with ordinality k(attnum, position)
             join pg_catalog.pg_attribute a on a.attrelid = x.conrelid and a.attnum = k.attnum order by k.position),
       x.conrelid = $4::oid or exists (
           select from pg_catalog.pg_inherits i where i.inhrelid = x.conrelid and i.inhparent = $4::oid),
       (select f.relname::text from pg_catalog.pg_class f where f.oid = x.confrelid),
       x.confrelid = $4::oid or exists (
           select from pg_catalog.pg_inherits i where i.inhrelid = x.confrelid and i.inhparent = $4::oid)
from pg_catalog.pg_constraint x
join pg_catalog.pg_namespace n on n.oid = x.connamespace
left join pg_catalog.pg_class c on c.oid = x.conrelid
left join pg_catalog.pg_type t on t.oid = x.contypid
where x.conname::text = $1 and n.nspname::text = coalesce($2, n.nspname::text)
  and coalesce(c.relname, t.typname)::text = $3
limit 1";

pub(in crate::engine) async fn constraint(
    run: &RunContext<'_>,
    fault: &RowFault,
) -> Result<Option<Constraint>, DbError> {
    let owner = fault.table.as_ref().or(fault.datatype.as_ref());
    let (Some(rule), Some(owner)) = (&fault.rule, owner) else {
        return Ok(None);
    };
    let params = [
        param::text(rule.as_str()),
        param::text(fault.schema.as_deref()),
        param::text(owner.as_str()),
        param::oid(run.relations.local_oid),
    ];
    let found = run.local.query_opt(CONSTRAINT, &params).await?;
    Ok(found.map(|row| Constraint {
        definition: row.get(0),
        columns: row.get(1),
        is_ours: row.get(2),
        target: row.get(3),
        refers_to_us: row.get(4),
    }))
}
