//! Finds tables in schemas that a role may not use. If a name has no schema, Postgres looks it up only in those schemas
//! of the search path that the role may use. So its error does not tell such a table from one that does not exist.

use super::index_from_ordinality::index;
use super::{DbError, Side, SideName, Tx, param, quote};
use crate::error::{ErrorCode, Failure};

/// A table in a schema that the role may not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableTable {
    /// The name of the schema.
    pub schema: String,
    /// The table's schema and name, quoted where needed, as for a table in a schema that the role may use.
    pub full_name: String,
}

impl UnusableTable {
    /// Returns the error of a role that may not use the table's schema. `name` is the table as the settings name it.
    pub fn failure(&self, side: SideName, name: &str) -> Failure {
        let code = match side {
            SideName::Remote => ErrorCode::RemotePermission,
            SideName::Local => ErrorCode::LocalAuth,
        };
        let schema = &self.schema;
        let message =
            format!("The {side} role has no usage on schema {schema}, in which table {name} is.");
        Failure::new(code, message).with_remedy(usage_remedy(side, schema))
    }
}

/// Returns the remedy for a role that may not use a schema.
pub fn usage_remedy(side: SideName, schema: &str) -> String {
    let (schema, url) = (quote::where_needed(schema), side.url_variable());
    format!(
        "As the owner of the schema on the {side} database: grant usage on schema {schema} to <role>, where <role> is the user of {url}."
    )
}

const FIND: &str = "\
-- look for tables in schemas that we may not use
with path as materialized (
    select array(select case trim(both ' \"' from p.name) when '$user' then current_user::text
                        else trim(both ' \"' from p.name) end
                 from unnest(string_to_array($2, ',')) with ordinality p(name, place) order by p.place) as schemas
)
select u.n, f.schema, format('%I.%I', f.schema, f.name)
from path
cross join unnest($1) with ordinality u (name, n)
cross join lateral (select parse_ident(u.name) as parts) said
cross join lateral (
    select n.nspname::text as schema, c.relname as name
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relname = said.parts[cardinality(said.parts)] and c.relkind in ('r', 'p', 'v', 'm', 'f')
      and not has_schema_privilege(n.oid, 'usage')
      and n.nspname::text = any (case cardinality(said.parts) when 1 then path.schemas
                                 else array[said.parts[cardinality(said.parts) - 1]] end)
    order by array_position(path.schemas, n.nspname::text)
    limit 1) f";

/// Looks for each name of a table or view in those schemas that the role may not use: in the schema that the name has,
/// otherwise in those of the role's search path, in order. Returns the first match for each name; `None` if there is
/// none.
pub async fn find<S: Side>(
    tx: &Tx<'_, S>,
    names: &[String],
) -> Result<Vec<Option<UnusableTable>>, DbError> {
    let path = tx.role_path();
    let params = [param::texts(names), param::text(path.as_str())];
    let mut found = vec![None; names.len()];
    for row in tx.query(FIND, &params).await? {
        if let Some(place) = found.get_mut(index(row.get(0))) {
            *place = Some(UnusableTable {
                schema: row.get(1),
                full_name: row.get(2),
            });
        }
    }
    Ok(found)
}
