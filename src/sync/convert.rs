//! The rows that a COPY did not take: staged in types that take any value, then converted set by set, and the rows at
//! fault rejected. Each set is converted before more is read, so that too many rows at fault end the read.

use bytes::Bytes;
use serde_json::Value;

use crate::db::catalog::Column;
use crate::db::{DbError, Local, RowFault, Tx, json, param, quote};
use crate::meter::{Fields, Rejection};

use super::format::Format;
use super::rejected::{self, PerRow, Rows, Tried};
use super::relay::{Target, copy_again};
use super::unsendable::Unsendable;
use super::{Job, Shape, SyncError, misfit, read, reasons, recode, rows};

/// Rows in the temporary table `meter_sync_text`, which is there from the first of them on, and rows that not even this
/// table took.
#[derive(Debug)]
pub(super) struct Leftover {
    to: Target,
    format: Format,
    /// How many there are, those in `rejected` included.
    pub(super) rows: i64,
    rejected: Vec<Rejection>,
    unidentified: i64,
}

/// What became of rows that were converted.
#[derive(Debug, Default)]
pub(super) struct Converted {
    /// Those that were rejected.
    pub(super) rejected: Vec<Rejection>,
    /// How many of these have no key that a local row could have.
    pub(super) unidentified: i64,
}

impl Leftover {
    /// None yet of those that were to go into `to`.
    pub(super) fn new(to: Target, format: Format) -> Self {
        Self {
            to,
            format,
            rows: 0,
            rejected: Vec::new(),
            unidentified: 0,
        }
    }

    /// Takes the rows in; gives their number. A row with a text that the encoding of the local database lacks is
    /// rejected at once.
    pub(super) async fn take(
        &mut self,
        local: &Tx<'_, Local>,
        shape: &Shape,
        job: &Job<'_>,
        pieces: &[Bytes],
    ) -> Result<i64, SyncError> {
        self.begin(local, shape).await?;
        let apart = rows::apart(&self.format, pieces);
        let mut waiting = vec![apart.as_slice()];
        while let Some(rows) = waiting.pop() {
            let Tried::NotTaken(fault) = self.copy(local, shape, rows).await? else {
                continue;
            };
            if let [row] = rows {
                Box::pin(self.set_aside(local, shape, row, *fault)).await?;
                self.refuse_too_many(job)?;
            } else {
                let (low, high) = rows.split_at(rows.len() / 2);
                waiting.extend([high, low]);
            }
        }
        let number = i64::try_from(apart.len()).unwrap_or(i64::MAX);
        self.rows += number;
        Box::pin(self.convert(local, shape, job)).await?;
        Ok(number)
    }

    async fn begin(&self, local: &Tx<'_, Local>, shape: &Shape) -> Result<(), DbError> {
        if self.rows > 0 {
            return Ok(());
        }
        if let Target::Meters = self.to {
            read::create_tables(local, shape).await?;
        }
        local.batch(&self.create(shape)).await
    }

    /// Rejects rows that the remote could not send; gives their number.
    pub(super) async fn take_long(
        &mut self,
        local: &Tx<'_, Local>,
        shape: &Shape,
        job: &Job<'_>,
        long: &[Unsendable],
    ) -> Result<i64, SyncError> {
        for row in long {
            self.begin(local, shape).await?;
            let key = row.key.iter().map(|value| match value {
                Some(text) => quote::literal(text),
                None => "null".to_owned(),
            });
            let insert = format!(
                "-- stage a key as text\ninsert into pg_temp.meter_sync_text ({}) values ({})",
                shape.places(&shape.key),
                key.collect::<Vec<_>>().join(", ")
            );
            let tried = rejected::attempt(local, async {
                local.batch(&insert).await.map(|()| Tried::Taken)
            });
            let (key, is_known) = match tried.await? {
                Tried::Taken => self.named(local, shape).await?,
                Tried::NotTaken(_) => (row.named(shape), false),
            };
            let reason = row.reason();
            self.rejected.push(Rejection { key, reason });
            self.unidentified += i64::from(!is_known);
            self.rows += 1;
            self.refuse_too_many(job)?;
        }
        Ok(i64::try_from(long.len()).unwrap_or(i64::MAX))
    }

    /// Remembers the key that was staged last, and takes it out again.
    async fn named(&self, local: &Tx<'_, Local>, shape: &Shape) -> Result<(Fields, bool), DbError> {
        let n: i64 = local.query_one(LAST, &[]).await?.get(0);
        let named = set_aside(local, shape, n).await?;
        local.execute(TAKE_BACK, &[param::bigint(n)]).await?;
        Ok(named)
    }

    fn create(&self, shape: &Shape) -> String {
        let columns: Vec<String> = shape
            .columns
            .iter()
            .map(|column| {
                format!(
                    "{} {}",
                    shape.place(&column.name),
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
        local: &Tx<'_, Local>,
        shape: &Shape,
        rows: &[Bytes],
    ) -> Result<Tried, DbError> {
        let (columns, format) = (shape.places(&shape.names), self.format.to_read());
        let write = format!(
            "-- stage the meters as text\ncopy pg_temp.meter_sync_text ({columns}) from stdin ({format})"
        );
        let copied = copy_again(local, (&write, &self.format), rows);
        rejected::attempt(local, async { copied.await.map(|_rows| Tried::Taken) }).await
    }

    /// Remembers the key of a row that has a text which cannot be stored here.
    async fn set_aside(
        &mut self,
        local: &Tx<'_, Local>,
        shape: &Shape,
        row: &Bytes,
        fault: RowFault,
    ) -> Result<(), DbError> {
        let reason = Box::pin(self.reason(local, shape, row, fault)).await?;
        let place = |name: &String| shape.names.iter().position(|known| known == name);
        let key: Vec<usize> = shape.key.iter().filter_map(place).collect();
        let bare = [rows::only(&self.format, row, &key)];
        let (key, is_known) = match self.copy(local, shape, &bare).await? {
            Tried::Taken => self.named(local, shape).await?,
            Tried::NotTaken(_) => {
                let shown = |name: &String| {
                    let place = shape.names.iter().position(|known| known == name)?;
                    let value = rows::shown(&self.format, row, place);
                    Some((name.clone(), value.map_or(Value::Null, Value::String)))
                };
                (shape.key.iter().filter_map(shown).collect(), false)
            }
        };
        self.rejected.push(Rejection { key, reason });
        self.unidentified += i64::from(!is_known);
        Ok(())
    }

    /// Why a row cannot be staged: its values are tried one by one.
    async fn reason(
        &self,
        local: &Tx<'_, Local>,
        shape: &Shape,
        row: &Bytes,
        fault: RowFault,
    ) -> Result<String, DbError> {
        for (place, name) in shape.names.iter().enumerate() {
            let alone = [rows::only(&self.format, row, &[place])];
            let tried = rejected::attempt(local, async {
                self.copy(local, shape, &alone)
                    .await
                    .map(|tried| match tried {
                        // It is not to stay there.
                        Tried::Taken => Tried::NotTaken(Box::new(RowFault::skipped())),
                        Tried::NotTaken(fault) => Tried::NotTaken(fault),
                    })
            });
            if let Tried::NotTaken(fault) = Box::pin(tried).await?
                && !fault.is_skip()
            {
                let value = rows::shown(&self.format, row, place);
                let lost = recode::fault(local, &self.format, (row, place)).await?;
                let fault = lost.unwrap_or(*fault);
                return reasons::of_value(local, shape, &fault, (name, value.as_deref())).await;
            }
        }
        Ok(reasons::plain(&fault))
    }

    fn refuse_too_many(&self, job: &Job<'_>) -> Result<(), SyncError> {
        let limit = job.limits.rejected_limit as usize;
        match self.rejected.last() {
            Some(last) if self.rejected.len() > limit => Err(too_many(job, last.reason.clone())),
            _ => Ok(()),
        }
    }

    /// What became of them.
    pub(super) fn converted(self) -> Converted {
        Converted {
            rejected: self.rejected,
            unidentified: self.unidentified,
        }
    }

    /// Converts the rows of the text table into the staging table, but for those at fault, and empties the text table.
    async fn convert(
        &mut self,
        local: &Tx<'_, Local>,
        shape: &Shape,
        job: &Job<'_>,
    ) -> Result<(), SyncError> {
        let (columns, values) = (shape.places(&shape.names), values(shape, &shape.names));
        let convert = PerRow {
            sql: format!(
                "-- convert the staged rows
insert into pg_temp.meter_sync_stage ({columns}) select {} from {}
where t.n >= $1 and t.n <= $2",
                values.list, values.from
            ),
            has_gaps: true,
            checks: false,
        };
        let ends = local.query_one(ENDS, &[]).await?;
        let (Some(first), Some(last)) = (ends.get(0), ends.get(1)) else {
            return Ok(());
        };
        let all = Rows { first, last };
        let left = (job.limits.rejected_limit as usize).saturating_sub(self.rejected.len());
        let bad = rejected::all_but_the_bad(local, vec![all], left, INDEX, &convert);
        let bad = bad.await?;
        let bad = bad.map_err(|fault| too_many(job, reasons::plain(&fault)))?;
        for (row, fault) in bad {
            let reason = misfit::reason(local, shape, (row, fault)).await?;
            let (key, is_known) = set_aside(local, shape, row).await?;
            self.rejected.push(Rejection { key, reason });
            self.unidentified += i64::from(!is_known);
        }
        local.batch(EMPTY).await?;
        Ok(())
    }
}

fn too_many(job: &Job<'_>, reason: String) -> SyncError {
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

/// Rows are looked up by their number once and again while those at fault are found.
const INDEX: &str = "\
-- index the text staging table
create index if not exists meter_sync_text_n on pg_temp.meter_sync_text (n);
analyze pg_temp.meter_sync_text (n)";

/// Values of the text table `t` as their local types take them.
pub(super) struct Values {
    /// The list of values.
    pub(super) list: String,
    /// What they are selected from.
    pub(super) from: String,
}

/// The columns of the text table, each as the bare local type. Length and precision are left to the assignment, which
/// refuses what an explicit cast would cut off
/// (<https://www.postgresql.org/docs/current/typeconv-query.html>).
pub(super) fn values(shape: &Shape, names: &[String]) -> Values {
    let column = |name: &str| shape.columns.iter().find(|column| column.name == name);
    let is_read = |name: &str| column(name).is_some_and(is_read_by_input);
    let list = quote::list(names, ", ", |name| match is_read(name) {
        true => shape.column("i", name),
        false => {
            let base_type = column(name).map_or("text", |column| column.base_type.as_str());
            format!("{}::{base_type}", shape.column("t", name))
        }
    });
    let read: Vec<&String> = names.iter().filter(|name| is_read(name)).collect();
    let mut from = "pg_temp.meter_sync_text t".to_owned();
    if !read.is_empty() {
        let texts = shape.list("t", read.iter().copied());
        let types = quote::list(read, ", ", |name| {
            let exact_type = column(name).map_or("text", |column| column.exact_type.as_str());
            format!("{} {exact_type}", shape.place(name))
        });
        from.push_str(&format!(
            "
cross join lateral pg_catalog.json_to_record((select pg_catalog.row_to_json(x) from (select {texts}) x)) i ({types})"
        ));
    }
    Values { list, from }
}

/// Whether a text is to go through the input function of the type with its modifiers, as COPY sends it. A cast does the
/// same, but where the type has a cast from text of its own, as `regclass` and types of one's own may, and for an
/// interval, whose fields decide what a bare number is. In SQL only `json_to_record` calls that function for any type.
fn is_read_by_input(column: &Column) -> bool {
    !column.is_builtin || column.base_type == "regclass" || has_interval_fields(column)
}

/// Whether the column takes some fields of an interval, or fewer digits, only.
pub(super) fn has_interval_fields(column: &Column) -> bool {
    let is_interval = ["interval", "interval[]"].contains(&column.base_type.as_str());
    is_interval && column.exact_type != column.base_type
}

/// Remembers the key of a row that was rejected, so that its meter does not count as gone; gives the
/// key, and whether a local row could have it.
async fn set_aside(
    local: &Tx<'_, Local>,
    shape: &Shape,
    row: i64,
) -> Result<(Fields, bool), DbError> {
    let key = shape.places(&shape.key);
    let values = values(shape, &shape.key);
    let remember = format!(
        "-- reject a row
insert into pg_temp.meter_sync_aside as a ({key})
select {} from {} where t.n = $1
returning {}::text, {}",
        values.list,
        values.from,
        shape.key_json("a"),
        shape.has_key("a")
    );
    let mut found = None;
    let tried = rejected::attempt(local, async {
        found = Some(local.query_one(&remember, &[param::bigint(row)]).await?);
        Ok(Tried::Taken)
    });
    if let (Tried::Taken, Some(key)) = (tried.await?, found) {
        return Ok((json::stored_fields(key.get(0)), key.get(1)));
    }
    // A key that does not convert cannot be the key of any local row; it is named as it came.
    let name = format!(
        "-- name the rejected row
select {}::text from pg_temp.meter_sync_text t where t.n = $1",
        shape.key_json("t")
    );
    let named = local.query_one(&name, &[param::bigint(row)]).await?;
    Ok((json::stored_fields(named.get(0)), false))
}
