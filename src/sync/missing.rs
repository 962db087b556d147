//! Says why a table is not found: it does not exist, or it is in a schema that the role may not use.

use crate::db::catalog::{self, Relation};
use crate::db::{DbError, Remote, Side, SideName, Tx, param};

use super::SyncError;

/// The remote table or view of this name.
pub(super) async fn remote_source(tx: &Tx<'_, Remote>, name: &str) -> Result<Relation, SyncError> {
    match catalog::find(tx, name).await? {
        Some(relation) if relation.has_rows => Ok(relation),
        Some(_) => Err(SyncError::RemoteSchema(format!(
            "{name} is not a table or view"
        ))),
        None => Err(missing(tx, name).await?),
    }
}

/// The error for a relation that the role does not find under this name.
pub(crate) async fn missing<S: Side>(tx: &Tx<'_, S>, name: &str) -> Result<SyncError, DbError> {
    let path = tx.role_path();
    let params = [param::text(name), param::text(path.as_str())];
    let found = tx.query_opt(HIDDEN, &params).await?;
    Ok(match (found, S::NAME) {
        (Some(row), side) => SyncError::SchemaUsage {
            side,
            name: name.to_owned(),
            schema: row.get(0),
        },
        (None, SideName::Remote) => {
            SyncError::RemoteSchema(format!("table or view {name} does not exist"))
        }
        (None, SideName::Local) => SyncError::LocalSchema(format!("table {name} does not exist")),
    })
}

/// The error for a column whose values the local table makes itself, so that no update may set them.
pub(super) fn made_there(table: &str, column: &str) -> SyncError {
    SyncError::LocalSchema(format!(
        "{table} generates the values of its column {column} itself, so METER_SYNC_COLUMNS cannot name it"
    ))
}

/// A name without a schema is looked up in the schemas of the path that the role may use, so the others are looked at
/// here.
const HIDDEN: &str = "\
-- look for the table in schemas that we may not use
with said as (
    select parse_ident($1) as parts,
           array(select case trim(both ' \"' from p.name) when '$user' then current_user::text
                        else trim(both ' \"' from p.name) end
                 from unnest(string_to_array($2, ',')) with ordinality p(name, place) order by p.place) as path
)
select n.nspname::text
from said
join pg_catalog.pg_class c on c.relname = said.parts[cardinality(said.parts)] and c.relkind in ('r', 'p', 'v', 'm', 'f')
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where not has_schema_privilege(n.oid, 'usage')
  and n.nspname::text = any (case cardinality(said.parts) when 1 then said.path
                             else array[said.parts[cardinality(said.parts) - 1]] end)
order by array_position(said.path, n.nspname::text)
limit 1";
