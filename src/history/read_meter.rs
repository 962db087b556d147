//! Reads one meter from the local table, together with the changes that runs made to it.

use chrono::{DateTime, Utc};

use crate::db::{DbError, Local, Tx, param, quote, read_lossless_json};
use crate::error::Failure;
use crate::model::MeterFields;

use super::parse_meter_key::MeterKeyText;
use super::rewind_meter::{self, DividedChanges};
use super::why_inactive;
use crate::mirrors::Mirror;
use crate::reports::meter_report::{MeterReport, PastMeter};
use crate::store::changes::{self, MeterChangesQuery};
use crate::store::{migrations, rejected_rows};
use crate::tenants::meter_table::{MeterTable, NAME, is};

/// The maximum number of changes of a meter in a report, unless the caller sets another limit.
const CHANGES: i64 = 100;

/// The maximum number of changes of a meter from which its state at a time in the past is worked out. Hourly runs that
/// each change the meter make so many in eleven years.
const REWOUND: i64 = 100_000;

/// What a report of a meter contains besides the meter itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct MeterReportOptions<'a> {
    /// The name of the active column.
    pub(super) active_column: &'a str,
    /// The time in the past for which the report says how the meter was; `None` for no such time.
    pub(super) at: Option<DateTime<Utc>>,
    /// The time since which the log has all runs; `None` if no run is ever deleted.
    pub(super) kept_since: Option<DateTime<Utc>>,
    /// The current time.
    pub(super) now: DateTime<Utc>,
}

impl Mirror {
    /// Returns the meter with this key; `None` if neither the local table nor the log has it. With `at`, a time in the
    /// past, also returns how the meter was then.
    pub async fn meter(
        &self,
        key: &MeterKeyText,
        at: Option<DateTime<Utc>>,
    ) -> Result<Option<MeterReport>, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let meters = self.meters(tx).await?;
            Ok::<_, Failure>(meters.find(tx, key, self.report_options(at)).await?)
        };
        let mut found = self.local()?.read("meter", read).await?;
        if let Some(report) = &mut found {
            self.hide_in_meter(&mut report.changes);
        }
        Ok(found)
    }

    pub(super) fn report_options(&self, at: Option<DateTime<Utc>>) -> MeterReportOptions<'_> {
        MeterReportOptions {
            active_column: &self.mapping().active_column,
            at,
            kept_since: self.kept_since(),
            now: self.now(),
        }
    }
}

impl MeterTable {
    pub(super) async fn find(
        &self,
        tx: &Tx<'_, Local>,
        key: &MeterKeyText,
        options: MeterReportOptions<'_>,
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
        let has_log = migrations::exist(tx).await?;
        let newest = MeterChangesQuery {
            limit: CHANGES,
            ..MeterChangesQuery::default()
        };
        let log = self.scope.log();
        let (changes, rejected) = match has_log {
            true => (
                changes::of_meter(tx, log, &key_json, &newest).await?,
                rejected_rows::open(tx, log, &key_json).await?,
            ),
            false => (Vec::new(), None),
        };
        if meter.is_none() && changes.is_empty() && rejected.is_none() {
            return Ok(None);
        }
        let name = meter.as_ref().and_then(|meter| meter.get(NAME)?.as_str());
        let name = name.map(str::to_owned);
        let mut report = MeterReport {
            summary: why_inactive::in_words(
                active,
                meter.is_some(),
                &changes,
                rejected.as_ref(),
                options.active_column,
            ),
            key: read_lossless_json::fields(&key_json),
            name,
            active,
            meter,
            rejected,
            changes,
            past: None,
            key_json,
            has_more: false,
        };
        if let Some(at) = options.at {
            let past = match has_log {
                true => self.rewound(tx, &report, at, options).await?,
                false => rewind_meter::without_log(&report, at, options.active_column, options.now),
            };
            report.past = Some(past);
        }
        Ok(Some(report))
    }

    /// Works out how a meter was at the time `at`.
    async fn rewound(
        &self,
        tx: &Tx<'_, Local>,
        report: &MeterReport,
        at: DateTime<Utc>,
        options: MeterReportOptions<'_>,
    ) -> Result<PastMeter, DbError> {
        let log = self.scope.log();
        let known = changes::count_since(tx, log, at, options.kept_since).await?;
        // The earlier changes tell whether somebody has deleted the row here since.
        let query = MeterChangesQuery {
            limit: REWOUND,
            ..MeterChangesQuery::default()
        };
        let changes = changes::of_meter(tx, log, &report.key_json, &query).await?;
        let (later, earlier) = changes.into_iter().partition(|change| change.at > at);
        let changes = DividedChanges { later, earlier };
        let MeterReportOptions {
            active_column, now, ..
        } = options;
        let past = rewind_meter::rewind(report, &changes, &known, active_column, now);
        Ok(past)
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
