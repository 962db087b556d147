//! Looks up the constraints that rejected rows break, and what these rows hold of the columns that they read.

use std::collections::HashMap;

use crate::db::{DbError, Local, RowFault, Tx, param};

use super::reasons::BadRow;
use super::{Shape, row_values};

/// A constraint with the values that it reads of each row that breaks it, where it is of the local table.
pub(super) struct Broken {
    pub(super) constraint: Constraint,
    pub(super) values: HashMap<i64, String>,
}

/// The constraint that a row breaks, with the values of all rows that do.
pub(super) async fn broken(
    local: &Tx<'_, Local>,
    shape: &Shape,
    fault: &RowFault,
    bad: &[BadRow],
) -> Result<Option<Broken>, DbError> {
    let Some(constraint) = constraint(local, shape, fault).await? else {
        return Ok(None);
    };
    let values = match constraint.is_ours {
        true => {
            let rows = bad.iter().filter(|(_, _, other)| other.rule == fault.rule);
            let rows: Vec<i64> = rows.map(|(_, n, _)| *n).collect();
            row_values::named(local, shape, &rows, &constraint.columns).await?
        }
        false => HashMap::new(),
    };
    Ok(Some(Broken { constraint, values }))
}

/// A constraint of the local table, of a domain, or of a table that refers to it.
pub(super) struct Constraint {
    pub(super) definition: String,
    /// The columns of its table that it reads.
    pub(super) columns: Vec<String>,
    /// Whether it is of the local table.
    pub(super) is_ours: bool,
    /// Of a foreign key, the table referred to.
    pub(super) target: Option<String>,
    /// Whether that is the local table.
    pub(super) refers_to_us: bool,
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

pub(super) async fn constraint(
    local: &Tx<'_, Local>,
    shape: &Shape,
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
        param::oid(shape.local_oid),
    ];
    let found = local.query_opt(CONSTRAINT, &params).await?;
    Ok(found.map(|row| Constraint {
        definition: row.get(0),
        columns: row.get(1),
        is_ours: row.get(2),
        target: row.get(3),
        refers_to_us: row.get(4),
    }))
}
