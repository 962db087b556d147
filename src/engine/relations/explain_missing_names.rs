//! Explains why a table or column is not found, and suggests names that exist.

use crate::db::catalog::{self, Column, Relation};
use crate::db::{DbError, Remote, Side, SideName, Tx, param, unusable_schemas};

use crate::engine::SyncError;

/// Looks up the remote table or view by name. Fails if there is none, or if it is another kind of relation.
pub(in crate::engine) async fn remote_source(
    tx: &Tx<'_, Remote>,
    name: &str,
) -> Result<Relation, SyncError> {
    match catalog::find(tx, name).await? {
        Some(relation) if relation.has_rows => Ok(relation),
        Some(_) => Err(SyncError::RemoteSchema(format!(
            "{name} is not a table or view"
        ))),
        None => Err(missing(tx, name).await?),
    }
}

/// Returns the error for a table or view that was not found by its name: either the role may not use its schema, or it
/// does not exist.
pub(crate) async fn missing<S: Side>(tx: &Tx<'_, S>, name: &str) -> Result<SyncError, DbError> {
    let asked = [name.to_owned()];
    let unusable = unusable_schemas::find(tx, &asked).await?.into_iter().next();
    Ok(match (unusable.flatten(), S::NAME) {
        (Some(table), side) => SyncError::SchemaUsage(table.failure(side, name)),
        (None, SideName::Remote) => SyncError::RemoteSchema(format!(
            "table or view {name} does not exist; {}",
            Box::pin(similar_tables(tx, name)).await?
        )),
        (None, SideName::Local) => SyncError::LocalSchema(format!(
            "table {name} does not exist; {}",
            Box::pin(similar_tables(tx, name)).await?
        )),
    })
}

/// Returns a part of a sentence that lists tables and views which the role can see, those with a name most similar to
/// `name` first.
async fn similar_tables<S: Side>(tx: &Tx<'_, S>, name: &str) -> Result<String, DbError> {
    let rows = tx
        .query(READABLE_TABLES, &[param::bigint(MOST_READ)])
        .await?;
    let mut names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let table = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let asked = table(name);
    names.sort_by_key(|there| strsim::damerau_levenshtein(&table(there), &asked));
    let more = names.len().saturating_sub(MOST_SHOWN);
    names.truncate(MOST_SHOWN);
    let names = names.join(", ");
    Ok(match (names.is_empty(), more) {
        (true, _) => "the role can see no table there".to_owned(),
        (false, 0) => format!("there are {names}"),
        (false, more) => format!("there are {names} and {more} more"),
    })
}

const MOST_READ: i64 = 1_000;
const MOST_SHOWN: usize = 5;

/// Returns the error for a column that a table or query lacks. In the message, `what` names the table or query, and
/// `role` says what the column is for. The message suggests the most similar name among `columns`, the existing
/// columns.
pub(in crate::engine) fn lacks(
    side: fn(String) -> SyncError,
    what: &str,
    columns: &[Column],
    role: &str,
    column: &str,
) -> SyncError {
    let distance = |there: &&str| strsim::damerau_levenshtein(there, column);
    let names = columns.iter().map(|column| column.name.as_str());
    let nearest = names.min_by_key(distance);
    let hint = nearest.map_or_else(String::new, |name| format!("; the nearest is {name}"));
    side(format!(
        "{what} has no {role} {column} that can be synced{hint}"
    ))
}

/// Returns the error for a column that cannot be synced because the local table generates its values.
pub(in crate::engine) fn generates_values(table: &str, column: &str) -> SyncError {
    SyncError::LocalSchema(format!(
        "{table} generates the values of its column {column} itself, so METER_SYNC_COLUMNS cannot name it"
    ))
}

const READABLE_TABLES: &str = "\
-- read which tables and views there are
select pg_catalog.format('%I.%I', n.nspname, c.relname)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
  and n.nspname not in ('pg_catalog', 'information_schema', 'meter_sync')
  and not pg_catalog.starts_with(n.nspname::text, 'pg_t')
  and pg_catalog.has_schema_privilege(n.oid, 'usage')
order by 1 limit $1";
