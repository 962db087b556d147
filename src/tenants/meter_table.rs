//! The local table of meters, for the statements that read one tenant's meters in it.

use crate::config::Mapping;
use crate::db::catalog::{self, Column, Relation};
use crate::db::{DbError, Local, SideName, Tx, param, quote, unique_indexes};
use crate::error::{ErrorCode, Failure};
use crate::model::MeterFields;

use super::look_up_local_table;
use super::run_scope::RunScope;

/// The name of the column that holds the meter's name. The table may lack this column.
pub(crate) const NAME: &str = "name";

/// The local table, and the SQL expressions that select the tenant's rows and tell whether a row is active.
pub(crate) struct MeterTable {
    pub(crate) scope: RunScope,
    pub(crate) relation: Relation,
    /// The columns of the key.
    pub(crate) key: Vec<Column>,
    /// The SQL condition that selects the tenant's rows, for a row named `l`.
    pub(crate) filter: String,
    /// The SQL expression for whether the row `l` is active; NULL if there is no active column.
    pub(crate) active: String,
}

impl MeterTable {
    /// Looks up the table and the tenant. From then on, the transaction has the `search_path` of our database role,
    /// which row security policies and views may need. Fails if the tenant cannot be determined, or if the table does
    /// not exist or has no key.
    pub(crate) async fn look_up(tx: &Tx<'_, Local>, mapping: &Mapping) -> Result<Self, Failure> {
        let scope = super::scope(tx, mapping).await?;
        let missing = |what: &str| {
            let message = format!("The local table {} {what}.", mapping.local_table);
            Failure::new(ErrorCode::LocalSchema, message)
        };
        let found = catalog::find(tx, &mapping.local_table).await?;
        let relation = found.ok_or_else(|| match &scope.table.unusable {
            Some(table) => table.failure(SideName::Local, &mapping.local_table),
            None => missing("does not exist"),
        })?;
        let key = match &mapping.key {
            Some(key) => Some(key.clone()),
            None => unique_indexes::of_table(tx, relation.oid).await?.primary,
        };
        let column = |name: &String| relation.column(name).cloned();
        let key: Option<Vec<_>> = key.and_then(|key| key.iter().map(column).collect());
        let key = key.ok_or_else(|| missing("has no key"))?;
        let filter = look_up_local_table::of_tenant(&scope.table, mapping, &scope.tenant.given);
        let active = match relation.column(&mapping.active_column) {
            Some(_) => format!("l.{} is true", quote::identifier(&mapping.active_column)),
            None => "null::pg_catalog.bool".to_owned(),
        };
        tx.use_role_path().await?;
        Ok(Self {
            scope,
            relation,
            key,
            filter,
            active,
        })
    }

    /// Returns the names of the meters with these keys, in the order of `keys`. A name is `None` if there is no such
    /// row, or if the row has no name. Fails if a key has a value that does not fit the type of its column.
    pub(crate) async fn names(
        &self,
        tx: &Tx<'_, Local>,
        keys: &[&MeterFields],
    ) -> Result<Vec<Option<String>>, DbError> {
        if self.relation.column(NAME).is_none() {
            return Ok(vec![None; keys.len()]);
        }
        let is_key = |column: &Column| {
            let name = quote::literal(&column.name);
            let asked = format!("(asked.key operator(pg_catalog.->>) {name}::pg_catalog.text)");
            is(column, &asked)
        };
        let conditions: Vec<String> = self.key.iter().map(is_key).collect();
        let sql = format!(
            "-- read the meters' names
select (select l.{NAME}::text from {} l where {} and {} limit 1)
from pg_catalog.jsonb_array_elements($1::jsonb) with ordinality asked (key, n) order by asked.n",
            self.relation.quoted(),
            conditions.join(" and "),
            self.filter
        );
        let keys = serde_json::json!(keys).to_string();
        let rows = tx.query(&sql, &[param::text(keys.as_str())]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

/// Builds the condition that a column of the row `l` equals the SQL expression `text`, cast to the column's type.
pub(crate) fn is(column: &Column, text: &str) -> String {
    let Column {
        name,
        equals,
        base_type,
        ..
    } = column;
    format!("l.{} {equals} {text}::{base_type}", quote::identifier(name))
}
