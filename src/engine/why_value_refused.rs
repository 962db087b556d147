//! Explains to people why the local database refused a value. The `read` and `apply` modules share these texts.

use crate::db::{DbError, RowFault, param};

use super::RunContext;

/// The most characters of a value that are shown.
pub(in crate::engine) const SHOWN: usize = 60;

/// The most characters of the text that says why a value was refused.
pub(in crate::engine) const LONGEST: usize = 600;

/// Formats a value for a person to read: in quotes and cut to [`SHOWN`] characters, or `null`.
pub(in crate::engine) fn quoted(value: Option<&str>) -> String {
    match value {
        None => "null".to_owned(),
        Some(value) => format!("\"{}\"", cut(value, SHOWN)),
    }
}

/// Returns the first `limit` characters of a text, with `...` after them if there are more.
pub(in crate::engine) fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

/// The most characters of a server's message that are shown. A message may contain a whole value.
const LONGEST_MESSAGE: usize = 300;

/// Returns the server's message and its detail, as a text for people. In two cases there is no message, and the text is
/// a fixed one: the local table skipped the row without an error, or the row needs a unique value of another row.
pub(in crate::engine) fn plain(fault: &RowFault) -> String {
    let message = cut(&fault.message, LONGEST_MESSAGE);
    match &fault.detail {
        _ if fault.is_collision() && message.is_empty() => {
            "another row holds a unique value".to_owned()
        }
        _ if fault.is_skip() => "the local table skipped the row".to_owned(),
        Some(detail) => format!("{message}: {}", cut(detail, LONGEST_MESSAGE)),
        None => message,
    }
}

/// Returns a text that says why a column of the local table refused a value.
pub(in crate::engine) async fn of_value(
    run: &RunContext<'_>,
    fault: &RowFault,
    column: &str,
    value: Option<&str>,
) -> Result<String, DbError> {
    let value = quoted(value);
    let reason = match constraint(run, fault).await? {
        Some(rule) => of_constraint(fault, &rule, ""),
        None => plain(fault),
    };
    Ok(cut(&format!("{column} {value}: {reason}"), LONGEST))
}

pub(in crate::engine) fn of_constraint(
    fault: &RowFault,
    constraint: &ViolatedConstraint,
    values: &str,
) -> String {
    let rule = fault.rule.as_deref().unwrap_or_default();
    let (table, text) = (
        fault.table.as_deref().unwrap_or_default(),
        &constraint.definition,
    );
    match (&constraint.target, &fault.datatype) {
        (Some(target), _) if constraint.is_ours => {
            format!("{values}: no such row in table {target} (foreign key {rule})")
        }
        (Some(_), _) if constraint.refers_to_us => {
            format!("rows of table {table} refer to the old value (foreign key {rule}: {text})")
        }
        (None, Some(domain)) => format!("breaks domain {domain} ({rule}): {text}"),
        (None, None) if constraint.is_ours => format!("{values}: breaks constraint {rule}: {text}"),
        (None, None) | (Some(_), _) => {
            format!("a trigger wrote to table {table}, which broke its constraint {rule}: {text}")
        }
    }
}

/// A constraint that a row violates. It belongs to the local table, to another table or to a domain.
pub(in crate::engine) struct ViolatedConstraint {
    pub(in crate::engine) definition: String,
    /// The names of the columns that the constraint covers, in the order of the constraint.
    pub(in crate::engine) columns: Vec<String>,
    /// Whether the constraint belongs to the local table or one of its partitions.
    pub(in crate::engine) is_ours: bool,
    /// The table that a foreign key refers to; `None` for other constraints.
    pub(in crate::engine) target: Option<String>,
    /// Whether the constraint is a foreign key that refers to the local table or one of its partitions.
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
  and (coalesce(c.relname, t.typname)::text = $3 or $3 is null and x.conrelid = $4::oid)
limit 1";

pub(in crate::engine) async fn constraint(
    run: &RunContext<'_>,
    fault: &RowFault,
) -> Result<Option<ViolatedConstraint>, DbError> {
    let owner = fault.table.as_ref().or(fault.datatype.as_ref());
    let Some(rule) = &fault.rule else {
        return Ok(None);
    };
    // Of a row of a distributed table, only the constraint is known. Elsewhere, a trigger may name any constraint.
    if owner.is_none() && run.relations.distribution.is_none() {
        return Ok(None);
    }
    let params = [
        param::text(rule.as_str()),
        param::text(fault.schema.as_deref()),
        param::text(owner.map(String::as_str)),
        param::oid(run.relations.local_oid),
    ];
    let found = run.local.query_opt(CONSTRAINT, &params).await?;
    Ok(found.map(|row| ViolatedConstraint {
        definition: row.get(0),
        columns: row.get(1),
        is_ours: row.get(2),
        target: row.get(3),
        refers_to_us: row.get(4),
    }))
}
