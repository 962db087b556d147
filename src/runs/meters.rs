//! One meter as the local table has it, and what the runs did to it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::db::catalog::{self, Column, Relation};
use crate::db::{DbError, Local, Tx, json, migrations, param, quote};
use crate::error::{ErrorCode, Failure};
use crate::meter::{Action, Fields, RunId};

use super::Runs;
use super::table::{self, LocalTable, Scope};
use super::tenant::{self, NoTenant};

/// A meter and its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterReport {
    /// Its key.
    pub key: Fields,
    /// Its local row, the site's own columns included; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<Fields>,
    /// What runs changed of it, the latest first, at most [`CHANGES`].
    pub changes: Vec<MeterChange>,
}

/// What one run changed of a meter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterChange {
    /// The run.
    pub run_id: RunId,
    /// When the change became visible.
    pub at: DateTime<Utc>,
    /// What was done.
    pub action: Action,
    /// The changed fields before.
    pub before: Fields,
    /// The changed fields after.
    pub after: Fields,
}

/// A meter's key as an address gives it, its values as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyText {
    /// The values of the key's columns, in the order of the key.
    Ordered(Vec<String>),
    /// The values by the columns' names, as the key in a [`MeterReport`] or a change has them.
    Named(BTreeMap<String, String>),
}

impl KeyText {
    /// The last part of an address: values in the order of the key, percent-encoded, with commas between;
    /// `None` for what is no key of any meter.
    pub fn parse(part: &str) -> Option<Self> {
        if part.is_empty() || part.len() > LONGEST {
            return None;
        }
        let decoded = |part| percent_decode_str(part).decode_utf8();
        let values = part
            .split(',')
            .map(|part| Some(decoded(part).ok()?.into_owned()));
        let key = Self::Ordered(values.collect::<Option<_>>()?);
        key.is_text().then_some(key)
    }

    /// The query of an address: `column=value` pairs, form-encoded and decoded already.
    pub fn named(pairs: BTreeMap<String, String>) -> Option<Self> {
        let key = Self::Named(pairs);
        key.is_text().then_some(key)
    }

    /// Postgres has no texts with a NUL.
    fn is_text(&self) -> bool {
        let holds_nul = |text: &String| text.contains('\0');
        match self {
            Self::Ordered(values) => !values.iter().any(holds_nul),
            Self::Named(pairs) => !pairs.values().any(holds_nul),
        }
    }

    fn values(&self, columns: &[Column]) -> Option<Vec<String>> {
        match self {
            Self::Ordered(values) => Some(values.clone()),
            Self::Named(pairs) if pairs.len() == columns.len() => {
                let value = |column: &Column| pairs.get(&column.name).cloned();
                columns.iter().map(value).collect()
            }
            Self::Named(_) => None,
        }
        .filter(|values| values.len() == columns.len())
    }
}

/// More than any key of a meter takes, percent-encoded.
const LONGEST: usize = 2048;

/// The column that people know a meter by, where there is one.
const NAME: &str = "name";

/// How many changes of a meter are told.
pub const CHANGES: i64 = 100;

/// How long keys are looked for while a person is typing. No index leads to those that begin so, and to look at a
/// million takes a third of a second.
const TYPING: Duration = Duration::from_secs(1);

/// The table of the meters and what picks one of them.
struct Meters {
    scope: Scope,
    relation: Relation,
    /// The key's columns.
    key: Vec<Column>,
    /// The condition that picks the tenant's rows, for a row named `l`.
    filter: String,
}

impl Runs {
    /// The meter with this key; `None` if neither a row nor the log knows it.
    pub async fn meter(&self, key: &KeyText) -> Result<Option<MeterReport>, Failure> {
        let local = self.local()?;
        let mut connection = local.connect_to_read().await.map_err(|e| e.failure())?;
        let tx = connection.begin("meter").await.map_err(|e| e.failure())?;
        let meters = self.meters(&tx).await?;
        meters.find(&tx, key).await.map_err(|e| e.failure())
    }

    /// Keys that begin so, in order, where the key is one column.
    pub async fn meter_keys(&self, prefix: &str, limit: i64) -> Result<Vec<String>, Failure> {
        let local = self.local()?;
        let mut connection = local.connect_to_read().await.map_err(|e| e.failure())?;
        let tx = connection.begin("meter keys").await;
        let tx = tx.map_err(|e| e.failure())?;
        let meters = self.meters(&tx).await?;
        meters
            .keys(&tx, prefix, limit)
            .await
            .map_err(|e| e.failure())
    }

    /// The names that the meters with these keys have in the local table, in the order of the keys; none where
    /// there is no such row, it has no name, or the key is none of the table's.
    pub async fn names(&self, keys: &[&Fields]) -> Result<Vec<Option<String>>, Failure> {
        let local = self.local()?;
        let mut connection = local.connect_to_read().await.map_err(|e| e.failure())?;
        let tx = connection.begin("meter names").await;
        let tx = tx.map_err(|e| e.failure())?;
        let meters = self.meters(&tx).await?;
        match meters.names(&tx, keys).await {
            Err(error) if error.is_about_a_row() => Ok(vec![None; keys.len()]),
            names => names.map_err(|e| e.failure()),
        }
    }

    async fn meters(&self, tx: &Tx<'_, Local>) -> Result<Meters, Failure> {
        let mapping = &self.config().mapping;
        let table = table::find(tx, mapping).await.map_err(|e| e.failure())?;
        let tenant = match tenant::resolve(tx, mapping, &table).await {
            Ok(tenant) => tenant,
            Err(NoTenant::Unknown(failure)) => return Err(failure),
            Err(NoTenant::Database(error)) => return Err(error.failure()),
        };
        let missing = |what: String| Failure::new(ErrorCode::LocalSchema, what);
        let found = catalog::find(tx, &mapping.local_table).await;
        let relation = found.map_err(|e| e.failure())?.ok_or_else(|| {
            missing(format!(
                "The local table {} does not exist.",
                mapping.local_table
            ))
        })?;
        let key = match &mapping.key {
            Some(key) => Some(key.clone()),
            None => {
                let unique = catalog::unique_indexes(tx, relation.oid).await;
                unique.map_err(|e| e.failure())?.primary
            }
        };
        let column = |name: &String| relation.column(name).cloned();
        let key: Option<Vec<_>> = key.and_then(|key| key.iter().map(column).collect());
        let key = key.ok_or_else(|| {
            missing(format!(
                "The local table {} has no key.",
                mapping.local_table
            ))
        })?;
        let filter = table::of_tenant(&table, mapping, &tenant.given);
        tx.use_role_path().await.map_err(|e| e.failure())?;
        Ok(Meters {
            scope: Scope { tenant, table },
            relation,
            key,
            filter,
        })
    }
}

impl Meters {
    async fn find(
        &self,
        tx: &Tx<'_, Local>,
        key: &KeyText,
    ) -> Result<Option<MeterReport>, DbError> {
        let Some(key) = key.values(&self.key) else {
            return Ok(None);
        };
        let Some(read) = self.read_key(tx, &key).await? else {
            return Ok(None);
        };
        // A type may take for one key what is written otherwise, such as `char(3)`; the log has it as the row does.
        let (key_json, meter) = match self.row(tx, &key).await? {
            Some((key, meter)) => (key, Some(meter)),
            None => (read, None),
        };
        let changes = match migrations::exist(tx).await? {
            true => self.changes(tx, &key_json).await?,
            false => Vec::new(),
        };
        let key = json::fields(&key_json);
        let is_known = meter.is_some() || !changes.is_empty();
        let report = MeterReport {
            key,
            meter,
            changes,
        };
        Ok(is_known.then_some(report))
    }

    /// The key as the log has it; `None` if its values are none of their types.
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

    /// The row with this key, and its key as the log has it.
    async fn row(
        &self,
        tx: &Tx<'_, Local>,
        key: &[String],
    ) -> Result<Option<(String, Fields)>, DbError> {
        let pairs = quote::list(self.key.iter().map(|column| &column.name), ", ", |name| {
            format!("{}, l.{}", quote::literal(name), quote::identifier(name))
        });
        let conditions: Vec<String> = (1..)
            .zip(&self.key)
            .map(|(n, column)| is(column, &format!("${n}")))
            .collect();
        // As `json`, which holds whatever a column of that type does.
        let (table, picked) = (self.relation.quoted(), conditions.join(" and "));
        let sql = |text: fn(&str) -> String| {
            let key = text(&format!("pg_catalog.jsonb_build_object({pairs})"));
            format!(
                "-- read a meter\nselect {key}, {} from {table} l where {picked} and {} limit 1",
                text("pg_catalog.row_to_json(l.*)"),
                self.filter
            )
        };
        let rows = tx.query_json(sql, &texts(key)).await?;
        let found = rows
            .first()
            .map(|row| (row.get(0), json::fields(row.get(1))));
        Ok(found)
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

    async fn changes(&self, tx: &Tx<'_, Local>, key: &str) -> Result<Vec<MeterChange>, DbError> {
        let params = [
            param::text(key),
            param::text(self.scope.table.name.as_str()),
            param::text(self.scope.tenant.id.as_str()),
            param::bigint(CHANGES),
        ];
        let change = |row: &Row| MeterChange {
            run_id: RunId::from(row.get::<_, uuid::Uuid>(0)),
            at: row.get(1),
            action: Action::read(row.get(2)),
            before: json::fields(row.get(3)),
            after: json::fields(row.get(4)),
        };
        let rows = tx.query(&history(&self.scope.table), &params).await?;
        Ok(rows.iter().map(change).collect())
    }

    async fn keys(
        &self,
        tx: &Tx<'_, Local>,
        prefix: &str,
        limit: i64,
    ) -> Result<Vec<String>, DbError> {
        let [column] = self.key.as_slice() else {
            return Ok(Vec::new());
        };
        let key = quote::identifier(&column.name);
        let sql = format!(
            "-- list keys
select l.{key}::text from {} l
where pg_catalog.starts_with(l.{key}::text, $1) and {} order by l.{key} limit $2",
            self.relation.quoted(),
            self.filter
        );
        tx.allow_each_statement(TYPING).await?;
        let params = [param::text(prefix), param::bigint(limit)];
        let rows = tx.query(&sql, &params).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

fn history(table: &LocalTable) -> String {
    let order = match table.has_run_numbers {
        true => "g.seq",
        false => "c.run_id",
    };
    format!(
        "-- list a meter's changes
select c.run_id, g.finished_at, c.action, c.before::text, c.after::text
from meter_sync.meter_sync_change c
join meter_sync.meter_sync_log g on g.id = c.run_id
where c.key = $1::jsonb and g.local_table = $2 and g.tenant = $3
  and not g.dry_run and g.outcome in ('succeeded', 'partial')
order by {order} desc limit $4"
    )
}

/// The condition that a column of the row `l` is what a text says.
fn is(column: &Column, text: &str) -> String {
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
