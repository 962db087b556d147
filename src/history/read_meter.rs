//! Reads one meter from the local table, together with the changes that runs made to it.

use crate::db::{DbError, Local, Tx, param, quote, read_lossless_json};
use crate::error::Failure;
use crate::model::MeterFields;

use super::parse_meter_key::MeterKeyText;
use super::why_inactive;
use crate::mirrors::Mirror;
use crate::reports::meter_report::MeterReport;
use crate::store::changes::{self, MeterChangesQuery};
use crate::store::migrations;
use crate::tenants::meter_table::{MeterTable, NAME, is};

/// The maximum number of changes of a meter in a report, unless the caller sets another limit.
const CHANGES: i64 = 100;

impl Mirror {
    /// Returns the meter with this key; `None` if neither the local table nor the log has it.
    pub async fn meter(&self, key: &MeterKeyText) -> Result<Option<MeterReport>, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let meters = self.meters(tx).await?;
            let active = &self.mapping().active_column;
            Ok(meters.find(tx, key, active).await?)
        };
        self.local()?.read("meter", read).await
    }
}

impl MeterTable {
    pub(super) async fn find(
        &self,
        tx: &Tx<'_, Local>,
        key: &MeterKeyText,
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
                let newest = MeterChangesQuery {
                    limit: CHANGES,
                    ..MeterChangesQuery::default()
                };
                changes::of_meter(tx, self.scope.log(), &key_json, &newest).await?
            }
            false => Vec::new(),
        };
        if meter.is_none() && changes.is_empty() {
            return Ok(None);
        }
        let name = meter.as_ref().and_then(|meter| meter.get(NAME)?.as_str());
        let name = name.map(str::to_owned);
        Ok(Some(MeterReport {
            summary: why_inactive::in_words(active, meter.is_some(), &changes, active_column),
            key: read_lossless_json::fields(&key_json),
            name,
            active,
            meter,
            changes,
            key_json,
            has_more: false,
        }))
    }

    /// Returns the key as JSON, in the form in which the log stores keys; `None` if a value does not fit the type of
    /// its column.
    async fn read_key(
        &self,
        tx: &Tx<'_, Local>,
        key: &[String],
    ) -> Result<Option<String>, DbError> {
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
        let values = texts(key);
        let read = tx.query_one(&sql, &values);
        let read = tx.undo_if("key", DbError::is_about_a_row, read).await?;
        Ok(read.ok().and_then(|row| row.get(0)))
    }

    /// Reads the row with this key. Returns three values: its key as the log stores keys, whether the row is active,
    /// and its fields.
    async fn row(
        &self,
        tx: &Tx<'_, Local>,
        key: &[String],
    ) -> Result<Option<(String, Option<bool>, MeterFields)>, DbError> {
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
        let found = rows.first().map(|row| {
            (
                row.get(0),
                row.get(2),
                read_lossless_json::fields(row.get(1)),
            )
        });
        Ok(found)
    }

    /// Builds the SQL expression for the key of the row `l` in the form in which the log stores keys.
    pub(super) fn key_json(&self) -> String {
        let pairs = quote::list(self.key.iter().map(|column| &column.name), ", ", |name| {
            format!("{}, l.{}", quote::literal(name), quote::identifier(name))
        });
        format!("pg_catalog.jsonb_build_object({pairs})")
    }
}

fn texts(key: &[String]) -> Vec<param::Param<'_>> {
    key.iter()
        .map(|value| param::text(value.as_str()))
        .collect()
}
