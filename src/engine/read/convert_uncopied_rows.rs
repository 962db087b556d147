//! Handles the rows of COPYs that failed: stages them in a table whose columns take any value, converts them to the
//! local types set by set, and rejects the rows that do not convert. Each set is converted before more rows are read,
//! so the read ends as soon as too many rows are rejected.

use bytes::Bytes;
use serde_json::Value;

use crate::db::{DbError, RowFault, param, quote, read_lossless_json};
use crate::model::{MeterFields, Rejection, saturating_i64};

use super::choose_copy_format::CopyFormat;
use super::conversion_sql::values;
use super::copy_from_memory::{CopyTarget, copy_again};
use super::oversized_rows::OversizedRow;
use super::{misfit_values, recode_rows, split_copy_data};
use crate::engine::why_value_refused;
use crate::engine::write_by_halving::{self, RowRange, RowRangeStatement, WriteAttemptOutcome};
use crate::engine::{Relations, RunContext, SyncError, SyncJob};

/// Converts the rows of COPYs that failed, and collects those that it rejects. The rows pass through the temporary
/// table `meter_sync_text`, the text table, which is created for the first of them. A row that even this table does not
/// take is rejected.
#[derive(Debug)]
pub(in crate::engine) struct UncopiedRowConverter {
    to: CopyTarget,
    format: CopyFormat,
    /// How many rows of failed COPYs there were so far, including the rejected ones.
    pub(in crate::engine) rows: i64,
    rejected: Vec<Rejection>,
    unidentified: i64,
}

/// The rows that an [`UncopiedRowConverter`] has rejected.
#[derive(Debug, Default)]
pub(in crate::engine) struct RejectedRows {
    pub(in crate::engine) rejected: Vec<Rejection>,
    /// How many of the rejected rows have a key that no local row can have.
    pub(in crate::engine) unidentified: i64,
}

impl UncopiedRowConverter {
    /// Makes a converter that has got no rows yet. `to` is the table that the COPYs write to.
    pub(in crate::engine) fn new(to: CopyTarget, format: CopyFormat) -> Self {
        Self {
            to,
            format,
            rows: 0,
            rejected: Vec::new(),
            unidentified: 0,
        }
    }

    /// Converts the rows in `pieces` and moves them to the staging table. Rejects a row that does not convert, or that
    /// cannot even be staged as text, for instance because the local encoding cannot represent it. Returns the number
    /// of rows, including rejected ones. Fails if too many rows are rejected.
    pub(in crate::engine) async fn take(
        &mut self,
        run: &RunContext<'_>,
        pieces: &[Bytes],
    ) -> Result<i64, SyncError> {
        self.begin(run).await?;
        let split = split_copy_data::split_rows(&self.format, pieces);
        let mut waiting = vec![split.as_slice()];
        while let Some(rows) = waiting.pop() {
            let WriteAttemptOutcome::NotWritten(fault) = self.copy(run, rows).await? else {
                continue;
            };
            if let [row] = rows {
                Box::pin(self.set_aside(run, row, *fault)).await?;
                self.refuse_too_many(run.job)?;
            } else {
                let (low, high) = rows.split_at(rows.len() / 2);
                waiting.extend([high, low]);
            }
        }
        let number = saturating_i64(split.len());
        self.rows += number;
        Box::pin(self.convert(run)).await?;
        Ok(number)
    }

    async fn begin(&self, run: &RunContext<'_>) -> Result<(), DbError> {
        if self.rows > 0 {
            return Ok(());
        }
        if let CopyTarget::Meters = self.to {
            super::create_tables(run).await?;
        }
        run.local.batch(&self.create(run.relations)).await
    }

    /// Rejects rows that were too long for the remote to send, and returns their number. Fails if too many rows are
    /// rejected.
    pub(in crate::engine) async fn take_long(
        &mut self,
        run: &RunContext<'_>,
        long: &[OversizedRow],
    ) -> Result<i64, SyncError> {
        let relations = run.relations;
        for row in long {
            self.begin(run).await?;
            let key = row.key.iter().map(|value| match value {
                Some(text) => quote::literal(text),
                None => "null".to_owned(),
            });
            let insert = format!(
                "-- stage a key as text\ninsert into pg_temp.meter_sync_text ({}) values ({})",
                relations.temp_columns(&relations.key),
                key.collect::<Vec<_>>().join(", ")
            );
            let tried = write_by_halving::attempt(run.local, async {
                run.local
                    .batch(&insert)
                    .await
                    .map(|()| WriteAttemptOutcome::Written)
            });
            let (key, is_known) = match tried.await? {
                WriteAttemptOutcome::Written => self.named(run).await?,
                WriteAttemptOutcome::NotWritten(_) => (row.named(relations), false),
            };
            let reason = row.reason();
            self.rejected.push(Rejection { key, reason });
            self.unidentified += i64::from(!is_known);
            self.rows += 1;
            self.refuse_too_many(run.job)?;
        }
        Ok(saturating_i64(long.len()))
    }

    /// Records the key of the last row of the text table as rejected, and deletes that row. Returns the key, and
    /// whether a local row could have it.
    async fn named(&self, run: &RunContext<'_>) -> Result<(MeterFields, bool), DbError> {
        let n: i64 = run.local.query_one(LAST, &[]).await?.get(0);
        let named = set_aside(run, n).await?;
        run.local.execute(TAKE_BACK, &[param::bigint(n)]).await?;
        Ok(named)
    }

    fn create(&self, relations: &Relations) -> String {
        let columns: Vec<String> = relations
            .columns
            .iter()
            .map(|column| {
                format!(
                    "{} {}",
                    relations.temp_column(&column.name),
                    self.format.loosest(column)
                )
            })
            .collect();
        format!(
            "-- create the text staging table
create temp table meter_sync_text ({}, n bigint generated always as identity) on commit drop",
            columns.join(", ")
        )
    }

    async fn copy(
        &self,
        run: &RunContext<'_>,
        rows: &[Bytes],
    ) -> Result<WriteAttemptOutcome, DbError> {
        let (columns, format) = (
            run.relations.temp_columns(&run.relations.names),
            self.format.to_read(),
        );
        let write = format!(
            "-- stage the meters as text\ncopy pg_temp.meter_sync_text ({columns}) from stdin ({format})"
        );
        let copied = copy_again(run.local, &write, &self.format, rows);
        write_by_halving::attempt(run.local, async {
            copied.await.map(|_rows| WriteAttemptOutcome::Written)
        })
        .await
    }

    /// Rejects a row that cannot be staged as text.
    async fn set_aside(
        &mut self,
        run: &RunContext<'_>,
        row: &Bytes,
        fault: RowFault,
    ) -> Result<(), DbError> {
        let relations = run.relations;
        let reason = Box::pin(self.reason(run, row, fault)).await?;
        let index = |name: &String| relations.names.iter().position(|known| known == name);
        let key: Vec<usize> = relations.key.iter().filter_map(index).collect();
        let only_key = [split_copy_data::with_nulls_except(&self.format, row, &key)];
        let (key, is_known) = match self.copy(run, &only_key).await? {
            WriteAttemptOutcome::Written => self.named(run).await?,
            WriteAttemptOutcome::NotWritten(_) => {
                let shown = |name: &String| {
                    let index = relations.names.iter().position(|known| known == name)?;
                    let value = split_copy_data::shown(&self.format, row, index);
                    Some((name.clone(), value.map_or(Value::Null, Value::String)))
                };
                (relations.key.iter().filter_map(shown).collect(), false)
            }
        };
        self.rejected.push(Rejection { key, reason });
        self.unidentified += i64::from(!is_known);
        Ok(())
    }

    /// Finds out why a row cannot be staged as text, by staging each of its values alone.
    async fn reason(
        &self,
        run: &RunContext<'_>,
        row: &Bytes,
        fault: RowFault,
    ) -> Result<String, DbError> {
        for (index, name) in run.relations.names.iter().enumerate() {
            let alone = [split_copy_data::with_nulls_except(
                &self.format,
                row,
                &[index],
            )];
            let tried = write_by_halving::attempt(run.local, async {
                let outcome = self.copy(run, &alone).await?;
                // The value was only tried, so undo it.
                Ok::<_, DbError>(match outcome {
                    WriteAttemptOutcome::Written => not_written(RowFault::skipped()),
                    WriteAttemptOutcome::NotWritten(fault) => not_written(*fault),
                })
            });
            if let WriteAttemptOutcome::NotWritten(fault) = Box::pin(tried).await?
                && !fault.is_skip()
            {
                let value = split_copy_data::shown(&self.format, row, index);
                let lost = recode_rows::fault(run.local, &self.format, row, index).await?;
                let fault = lost.unwrap_or(*fault);
                return why_value_refused::of_value(run, &fault, name, value.as_deref()).await;
            }
        }
        Ok(why_value_refused::plain(&fault))
    }

    fn refuse_too_many(&self, job: &SyncJob<'_>) -> Result<(), SyncError> {
        let limit = job.limits.rejected_limit as usize;
        match self.rejected.last() {
            Some(last) if self.rejected.len() > limit => Err(too_many(job, last.reason.clone())),
            _ => Ok(()),
        }
    }

    /// Returns the rows that were rejected.
    pub(in crate::engine) fn converted(self) -> RejectedRows {
        RejectedRows {
            rejected: self.rejected,
            unidentified: self.unidentified,
        }
    }

    /// Converts the rows of the text table to the local types, moves them to the staging table, and rejects those that
    /// do not convert.
    async fn convert(&mut self, run: &RunContext<'_>) -> Result<(), SyncError> {
        let RunContext {
            local, relations, ..
        } = *run;
        let (columns, values) = (
            relations.temp_columns(&relations.names),
            values(relations, &relations.names),
        );
        let convert = RowRangeStatement {
            sql: format!(
                "-- convert the staged rows
insert into pg_temp.meter_sync_stage ({columns}) select {} from {}
where t.n >= $1 and t.n <= $2",
                values.list, values.from
            ),
            has_gaps: true,
            checks: false,
            recount: None,
        };
        let ends = local.query_one(ENDS, &[]).await?;
        let (Some(first), Some(last)) = (ends.get(0), ends.get(1)) else {
            return Ok(());
        };
        let all = RowRange { first, last };
        let left = (run.job.limits.rejected_limit as usize).saturating_sub(self.rejected.len());
        let bad = write_by_halving::all_but_the_bad(local, vec![all], left, INDEX, &convert);
        let bad = bad.await?;
        let bad = bad.map_err(|fault| too_many(run.job, why_value_refused::plain(&fault)))?;
        for (row, fault) in bad {
            let reason = misfit_values::reason(run, row, fault).await?;
            let (key, is_known) = set_aside(run, row).await?;
            self.rejected.push(Rejection { key, reason });
            self.unidentified += i64::from(!is_known);
        }
        local.batch(EMPTY).await?;
        Ok(())
    }
}

fn too_many(job: &SyncJob<'_>, reason: String) -> SyncError {
    SyncError::TooManyRejected {
        tenant: job.tenant.clone(),
        limit: job.limits.rejected_limit as usize,
        reason,
    }
}

const LAST: &str = "\
-- look up the last staged row
select pg_catalog.max(t.n) from pg_temp.meter_sync_text t";

const TAKE_BACK: &str = "\
-- take a row out of the text staging table
delete from pg_temp.meter_sync_text t where t.n = $1";

const ENDS: &str = "\
-- look up which rows are staged
select pg_catalog.min(t.n), pg_catalog.max(t.n) from pg_temp.meter_sync_text t";

const EMPTY: &str = "-- empty the text staging table\ntruncate pg_temp.meter_sync_text";

/// Indexes the text table by row number, because the search for rows that do not convert looks up many rows by number.
const INDEX: &str = "\
-- index the text staging table
create index if not exists meter_sync_text_n on pg_temp.meter_sync_text (n);
analyze pg_temp.meter_sync_text (n)";

/// Records the key of a row of the text table as rejected, so that its meter does not count as missing on the remote.
/// `row` is the number of the row. Returns the key, and whether a local row could have it.
async fn set_aside(run: &RunContext<'_>, row: i64) -> Result<(MeterFields, bool), DbError> {
    let RunContext {
        local, relations, ..
    } = *run;
    let key = relations.temp_columns(&relations.key);
    let values = values(relations, &relations.key);
    let remember = format!(
        "-- reject a row
insert into pg_temp.meter_sync_aside as a ({key})
select {} from {} where t.n = $1
returning {}::text, {}",
        values.list,
        values.from,
        relations.key_json("a"),
        relations.has_key("a")
    );
    let mut found = None;
    let tried = write_by_halving::attempt(local, async {
        found = Some(local.query_one(&remember, &[param::bigint(row)]).await?);
        Ok(WriteAttemptOutcome::Written)
    });
    if let (WriteAttemptOutcome::Written, Some(key)) = (tried.await?, found) {
        return Ok((read_lossless_json::stored_fields(key.get(0)), key.get(1)));
    }
    // No local row can have a key that does not convert. The key is reported as the remote sent it.
    let name = format!(
        "-- name the rejected row
select {}::text from pg_temp.meter_sync_text t where t.n = $1",
        relations.key_json("t")
    );
    let named = local.query_one(&name, &[param::bigint(row)]).await?;
    Ok((read_lossless_json::stored_fields(named.get(0)), false))
}

fn not_written(fault: RowFault) -> WriteAttemptOutcome {
    WriteAttemptOutcome::NotWritten(Box::new(fault))
}
