//! Reads one meter from the local table, together with the changes that runs made to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::db::catalog::{self, Column, Relation};
use crate::db::{DbError, Local, Tx, lossless_json, param, quote, unique_indexes};
use crate::error::{ErrorCode, Failure};
use crate::model::{Fields, held_deactivations};

use super::activity_text;
pub use super::key_text::KeyText;
use crate::mirrors::Mirror;
use crate::mirrors::local_table;
use crate::mirrors::run_scope::RunScope;
pub use crate::store::changes::MeterChange;
use crate::store::{changes, migrations};

/// A meter, and what runs changed of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterReport {
    /// The meter's key: its key columns and their values.
    pub key: Fields,
    /// The meter's name; absent if the local table does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the meter is active; absent if it has no local row, or the table has no such column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// Whether the meter is active and, if it is not, why, in one or two sentences.
    pub summary: String,
    /// The meter's local row, with all columns of the local table; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<Fields>,
    /// What runs changed of the meter, newest first: at most 100, or `changes_limit` of the status tool.
    pub changes: Vec<MeterChange>,
    /// The meter's key as JSON text, as the log stores it.
    #[serde(skip)]
    pub(crate) key_json: String,
    /// Whether the log has older changes of the meter than those in `changes`.
    #[serde(skip)]
    pub has_more: bool,
}

impl MeterReport {
    /// Returns the meter's name and key (only the key if it has no name), followed by the summary.
    pub(crate) fn in_words(&self) -> String {
        let mut known = self.key.clone();
        if let Some(name) = &self.name {
            known.insert(NAME.to_owned(), name.as_str().into());
        }
        format!("{}: {}", held_deactivations::name(&known), self.summary)
    }
}

/// The name of the column that holds the meter's name. The table may lack this column.
pub(crate) const NAME: &str = "name";

/// The maximum number of changes that the report on a meter lists, unless the caller sets another limit.
pub const CHANGES: i64 = 100;

/// The local table of a mirror, and the SQL expressions that select the tenant's rows and tell whether a row is active.
pub(crate) struct MeterTable {
    pub(in crate::mirrors) scope: RunScope,
    pub(crate) relation: Relation,
    /// The key columns of the table, in key order.
    pub(crate) key: Vec<Column>,
    /// The SQL condition that selects the tenant's rows. It calls the table `l`.
    pub(crate) filter: String,
    /// The SQL expression for whether a row is active, in which the table is called `l`. NULL if there is no active
    /// column.
    pub(crate) active: String,
}

impl Mirror {
    /// Returns the local row of the meter with this key, and the changes that runs made to it. Returns `None` if
    /// neither the local table nor the run log has the meter.
    pub async fn meter(&self, key: &KeyText) -> Result<Option<MeterReport>, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let meters = self.meters(tx).await?;
            let active = &self.mapping().active_column;
            Ok(meters.find(tx, key, active).await?)
        };
        self.local()?.read("meter", read).await
    }

    /// Returns the names of the meters with these keys from the local table, in the order of `keys`. A name is `None`
    /// if the table has no row with that key, or the row has no name. All names are `None` if a key has a value that
    /// the type of its column does not accept.
    pub async fn names(&self, keys: &[&Fields]) -> Result<Vec<Option<String>>, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let meters = self.meters(tx).await?;
            match meters.names(tx, keys).await {
                Err(error) if error.is_about_a_row() => Ok(vec![None; keys.len()]),
                names => Ok(names?),
            }
        };
        self.local()?.read("meter names", read).await
    }

    pub(crate) async fn meters(&self, tx: &Tx<'_, Local>) -> Result<MeterTable, Failure> {
        let mapping = self.mapping();
        let scope = self.scope(tx).await?;
        let missing = |what: &str| {
            let message = format!("The local table {} {what}.", mapping.local_table);
            Failure::new(ErrorCode::LocalSchema, message)
        };
        let found = catalog::find(tx, &mapping.local_table).await?;
        let relation = found.ok_or_else(|| missing("does not exist"))?;
        let key = match &mapping.key {
            Some(key) => Some(key.clone()),
            None => unique_indexes::of_table(tx, relation.oid).await?.primary,
        };
        let column = |name: &String| relation.column(name).cloned();
        let key: Option<Vec<_>> = key.and_then(|key| key.iter().map(column).collect());
        let key = key.ok_or_else(|| missing("has no key"))?;
        let filter = local_table::of_tenant(&scope.table, mapping, &scope.tenant.given);
        let active = match relation.column(&mapping.active_column) {
            Some(_) => format!("l.{} is true", quote::identifier(&mapping.active_column)),
            None => "null::pg_catalog.bool".to_owned(),
        };
        tx.use_role_path().await?;
        Ok(MeterTable {
            scope,
            relation,
            key,
            filter,
            active,
        })
    }
}

impl MeterTable {
    pub(crate) async fn find(
        &self,
        tx: &Tx<'_, Local>,
        key: &KeyText,
        active_column: &str,
    ) -> Result<Option<MeterReport>, DbError> {
        let Some(key) = key.values(&self.key) else {
            return Ok(None);
        };
        let Some(read) = self.read_key(tx, &key).await? else {
            return Ok(None);
        };
        // A type may accept several spellings of one key, as `char(3)` does. The log stores the key as the row spells
        // it.
        let (key_json, active, meter) = match self.row(tx, &key).await? {
            Some((key, active, meter)) => (key, active, Some(meter)),
            None => (read, None, None),
        };
        // The log is our own table, so the pinned `search_path` is used again to read it.
        tx.pin_path().await?;
        let changes = match migrations::exist(tx).await? {
            true => {
                let newest = (None, None, CHANGES);
                changes::of_meter(tx, self.scope.log(), &key_json, newest).await?
            }
            false => Vec::new(),
        };
        if meter.is_none() && changes.is_empty() {
            return Ok(None);
        }
        let name = meter.as_ref().and_then(|meter| meter.get(NAME)?.as_str());
        let name = name.map(str::to_owned);
        Ok(Some(MeterReport {
            summary: activity_text::in_words(active, meter.is_some(), &changes, active_column),
            key: lossless_json::fields(&key_json),
            name,
            active,
            meter,
            changes,
            key_json,
            has_more: false,
        }))
    }

    /// Converts a key, given as text in key order, to JSON in the form in which the run log stores keys. Returns `None`
    /// if the type of a key column does not accept its value.
    async fn read_key(
        &self,
        tx: &Tx<'_, Local>,
        key: &[String],
    ) -> Result<Option<String>, DbError> {
        tx.savepoint("key").await?;
        let pairs: Vec<String> = (1..)
            .zip(&self.key)
            .map(|(n, column)| {
                format!(
                    "{}, ${n}::{}",
                    quote::literal(&column.name),
                    column.base_type
                )
            })
            .collect();
        let sql = format!(
            "-- read the key\nselect pg_catalog.jsonb_build_object({})::text",
            pairs.join(", ")
        );
        match tx.query_one(&sql, &texts(key)).await {
            Ok(row) => {
                tx.release("key").await?;
                Ok(row.get(0))
            }
            Err(error) if error.is_about_a_row() => {
                tx.back_to("key").await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the row with this key. Returns the key as JSON in the form in which the run log stores keys, whether the
    /// row is active (`None` if unknown), and all columns of the row. Returns `None` if there is no such row.
    async fn row(
        &self,
        tx: &Tx<'_, Local>,
        key: &[String],
    ) -> Result<Option<(String, Option<bool>, Fields)>, DbError> {
        let conditions: Vec<String> = (1..)
            .zip(&self.key)
            .map(|(n, column)| is(column, &format!("${n}")))
            .collect();
        // `row_to_json` is used because a `json` column may hold values that `jsonb` cannot.
        let (table, picked) = (self.relation.quoted(), conditions.join(" and "));
        let sql = |text: fn(&str) -> String| {
            let key = text(&self.key_json());
            format!(
                "-- read a meter\nselect {key}, {}, {} from {table} l where {picked} and {} limit 1",
                text("pg_catalog.row_to_json(l.*)"),
                self.active,
                self.filter
            )
        };
        let rows = tx.query_json(sql, &texts(key)).await?;
        let found = rows
            .first()
            .map(|row| (row.get(0), row.get(2), lossless_json::fields(row.get(1))));
        Ok(found)
    }

    /// Builds the SQL expression for a row's key as JSON, in the form in which the run log stores keys. The table is
    /// called `l`.
    pub(crate) fn key_json(&self) -> String {
        let pairs = quote::list(self.key.iter().map(|column| &column.name), ", ", |name| {
            format!("{}, l.{}", quote::literal(name), quote::identifier(name))
        });
        format!("pg_catalog.jsonb_build_object({pairs})")
    }

    async fn names(
        &self,
        tx: &Tx<'_, Local>,
        keys: &[&Fields],
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

/// Builds the SQL condition that a column of the table `l` equals the SQL expression `text`, cast to the column's type.
pub(crate) fn is(column: &Column, text: &str) -> String {
    let Column {
        name,
        equals,
        base_type,
        ..
    } = column;
    format!("l.{} {equals} {text}::{base_type}", quote::identifier(name))
}

fn texts(key: &[String]) -> Vec<param::Param<'_>> {
    key.iter()
        .map(|value| param::text(value.as_str()))
        .collect()
}
