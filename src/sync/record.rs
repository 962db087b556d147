//! What a plan changes, old and new, as rows of `meter_sync_change`.

use std::iter::once;

use uuid::Uuid;

use crate::db::catalog::Column;
use crate::db::{DbError, Local, Tx, json, param, quote};

use super::plan::Plan;
use super::rejected::{self, PerRow, Rows, Tried};
use super::{Job, Shape, apply};

/// Records what the plan changes, old and new, as many rows as the log keeps of a run. What comes after them is kept ready
/// for rows that turn out to be rejected: once a row is written, its old values are gone.
pub(super) async fn changes(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    plan: &Plan,
) -> Result<(), DbError> {
    let changes = plan.counts.changes();
    if changes == 0 {
        return Ok(());
    }
    let limit = i64::from(job.limits.change_limit);
    let log = Log::new(local, LOG, job.run_id.as_uuid());
    let index = apply::index(shape);
    let first = Rows {
        first: 1,
        last: limit,
    };
    record(local, first, &index, |form| of_plan(shape, &log, form)).await?;
    if changes <= limit || job.dry_run {
        return Ok(());
    }
    local.batch(CREATE_SPARE).await?;
    let further = Rows {
        first: limit + 1,
        last: limit + i64::from(job.limits.rejected_limit),
    };
    let spare = Log { into: SPARE, ..log };
    record(local, further, &index, |form| of_plan(shape, &spare, form)).await
}

/// Records nothing of a plan, whose rows are recorded by other means.
pub(super) async fn no_changes(local: &Tx<'_, Local>) -> Result<(), DbError> {
    local.batch(CREATE_SPARE).await
}

const LOG: &str = "meter_sync.meter_sync_change";
const SPARE: &str = "pg_temp.meter_sync_spare";

const CREATE_SPARE: &str = "\
-- create the table of further changes
create temp table meter_sync_spare on commit drop as
select g.* from meter_sync.meter_sync_change g with no data";

const REFILL: &str = "\
-- record further changes
insert into meter_sync.meter_sync_change (run_id, n, action, key, before, after)
select g.run_id, g.n, g.action, g.key, g.before, g.after
from pg_temp.meter_sync_spare g where g.n <> all ($1) order by g.n limit $2";

/// Records further changes in place of those that were taken from the log, as these rows of the plan were rejected. To be called once
/// all are known, if there were more changes than the log keeps.
pub(super) async fn refill(
    local: &Tx<'_, Local>,
    job: &Job<'_>,
    rejected: &[i64],
) -> Result<(), DbError> {
    let limit = i64::from(job.limits.change_limit);
    let taken = rejected.iter().filter(|n| **n <= limit).count();
    let taken = i64::try_from(taken).unwrap_or(i64::MAX);
    let params = [param::bigints(rejected), param::bigint(taken)];
    local.execute(REFILL, &params).await.map(drop)
}

/// Records these meters of a table that had none before, numbered by their keys.
pub(super) async fn load(
    local: &Tx<'_, Local>,
    shape: &Shape,
    run_id: Uuid,
    rows: Rows,
) -> Result<(), DbError> {
    let log = Log::new(local, LOG, run_id);
    record(local, rows, "", |form| of_load(shape, &log, form)).await
}

/// Where changes are recorded.
struct Log<'t> {
    into: &'t str,
    run_id: Uuid,
    is_utf8: bool,
}

impl<'t> Log<'t> {
    fn new(local: &Tx<'_, Local>, into: &'t str, run_id: Uuid) -> Self {
        Self {
            into,
            run_id,
            is_utf8: local.is_utf8(),
        }
    }

    /// Inserts the rows of a query. If one of them has a value that cannot be converted to UTF-8, and so could not be read
    /// again, the statement fails or writes it in ASCII.
    fn insert(&self, rows: &str, form: Form) -> String {
        const COLUMNS: &str = "run_id, n, action, key, before, after";
        let into = self.into;
        let from = format!("from (\n{rows}\noffset 0) x({COLUMNS})");
        let chosen = match form {
            _ if self.is_utf8 => rows.to_owned(),
            Form::Json | Form::Text => format!(
                "select x.* {from}
where pg_catalog.convert_to(pg_catalog.concat(x.key, x.before, x.after), 'UTF8') is not null"
            ),
            Form::Escaped | Form::Size => {
                let [key, before, after] = ["x.key", "x.before", "x.after"].map(json::in_ascii);
                format!(
                    "select x.run_id, x.n, x.action, {key}::jsonb, {before}::jsonb, {after}::jsonb {from}"
                )
            }
        };
        format!("insert into {into} ({COLUMNS})\n{chosen}")
    }
}

/// A value that `jsonb` cannot hold must not keep the others from being synced, so it is then recorded
/// as text, one that cannot be shown in UTF-8 as its bytes, and one that is too large for that as its size.
async fn record(
    local: &Tx<'_, Local>,
    rows: Rows,
    prepare: &str,
    statement: impl Fn(Form) -> String,
) -> Result<(), DbError> {
    let params = |rows: Rows| [param::bigint(rows.first), param::bigint(rows.last)];
    let (sql, range) = (statement(Form::Json), params(rows));
    let recorded = local.execute(&sql, &range);
    let tried = rejected::attempt(local, async { recorded.await.map(|_rows| Tried::Taken) });
    if let Tried::Taken = tried.await? {
        return Ok(());
    }
    let as_text = PerRow {
        sql: statement(Form::Text),
        has_gaps: true,
        checks: false,
    };
    let bad = rejected::all_but_the_bad(local, vec![rows], usize::MAX, prepare, &as_text).await?;
    for (n, _reason) in bad.unwrap_or_default() {
        let row = Rows { first: n, last: n };
        if !local.is_utf8() {
            let escaped = PerRow {
                sql: statement(Form::Escaped),
                has_gaps: true,
                checks: false,
            };
            let tried = rejected::attempt(local, escaped.run(local, row));
            if let Tried::Taken = tried.await? {
                continue;
            }
        }
        local.execute(&statement(Form::Size), &params(row)).await?;
    }
    Ok(())
}

/// How values are recorded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// As the JSON value nearest to each.
    Json,
    /// As their text, which JSON can hold whatever it is.
    Text,
    /// As their text, with bytes that are not ASCII written as `\377`.
    Escaped,
    /// As how large they are, where they are not short.
    Size,
}

fn of_plan(shape: &Shape, log: &Log<'_>, form: Form) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let active = quote::literal(&shape.active);
    let (run_id, key) = (log.run_id, shape.key_json("p"));
    let local_row = shape.same_key("l", "p");
    let staged_row = shape.same_key("s", "p");
    let differ: Vec<String> = others(shape)
        .zip(1..)
        .map(|(column, n)| format!("not {} as d{n}", is_same(shape, column)))
        .collect();
    let differ = differ.join(", ");
    let (before, after) = (changed(shape, "l", form), changed(shape, "s", form));
    let inserted = fields(shape, "s", form);
    let rows = format!(
        "select '{run_id}'::uuid, p.n, p.action, {key},
    case when p.action = 'insert' then '{{}}'::jsonb
        when p.action = 'deactivate' then pg_catalog.jsonb_build_object({active}, true)
        else {before} end,
    case when p.action = 'insert' then {inserted}
        when p.action = 'deactivate' then pg_catalog.jsonb_build_object({active}, false)
        else {after} end
from pg_temp.meter_sync_plan p
left join pg_temp.meter_sync_stage s on {staged_row}
left join {local} l on {local_row} and {local_filter}
cross join lateral (select {differ} offset 0) o
where p.n >= $1 and p.n <= $2"
    );
    format!("-- record the changes\n{}", log.insert(&rows, form))
}

fn of_load(shape: &Shape, log: &Log<'_>, form: Form) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let run_id = log.run_id;
    let (key, order) = (shape.key_json("l"), quote::columns("l.", &shape.key));
    let after = fields(shape, "l", form);
    let rows = format!(
        "select '{run_id}'::uuid, $1 - 1 + pg_catalog.row_number() over (order by {order}), 'insert', {key}, '{{}}'::jsonb, {after}
from (select l.* from {local} l where {local_filter} order by {order} offset $1 - 1 limit $2 - $1 + 1) l"
    );
    format!("-- record the load\n{}", log.insert(&rows, form))
}

/// The columns but those of the key.
fn others(shape: &Shape) -> impl Iterator<Item = &Column> {
    let is_field = |column: &&Column| !shape.key.contains(&column.name);
    shape.columns.iter().filter(is_field)
}

/// Whether the staged value of a column is that of the local row, as the plan compares them.
fn is_same(shape: &Shape, column: &Column) -> String {
    let [before, after] = ["l", "s"].map(|row| shape.column(row, &column.name));
    match column.base_type.as_str() {
        _ if !column.is_builtin => {}
        base_type if EXACT.contains(&base_type) => {
            return format!(
                "coalesce({before} operator(pg_catalog.=) {after}, {before} is null and {after} is null)"
            );
        }
        "text" | "character varying" => {
            return format!(
                "coalesce({before}::text collate pg_catalog.\"C\" operator(pg_catalog.=) {after}::text, \
                 {before} is null and {after} is null)"
            );
        }
        _ => {}
    }
    format!("pg_catalog.record_image_eq(row({before}), row({after}))")
}

/// Types whose values are equal only if their stored images are, and which are compared faster than these.
const EXACT: &[&str] = &[
    "smallint",
    "integer",
    "bigint",
    "boolean",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
    "uuid",
];

/// Longer values are cut in the recorded changes, in characters; the meters have them whole.
const LONGEST_RECORDED: u32 = 10_000;
/// What takes no more bytes than this is no longer than that, however well it was compressed.
const SURELY_SHORT: u32 = 100;
/// Types whose values are always shorter.
const SHORT: &[&str] = &[
    "smallint",
    "integer",
    "bigint",
    "boolean",
    "real",
    "double precision",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
    "uuid",
    "inet",
];

/// The fields of a row that the plan changes, as one JSON object; which they are stands in `o`.
fn changed(shape: &Shape, row: &str, form: Form) -> String {
    let each = others(shape).zip(1..).map(|(column, n)| {
        let (name, value) = (quote::literal(&column.name), value(shape, row, column, form));
        format!(
            "case when o.d{n} then pg_catalog.jsonb_build_object({name}, {value}) else '{{}}'::jsonb end"
        )
    });
    let each: Vec<String> = once("'{}'::jsonb".to_owned()).chain(each).collect();
    each.join(" || ")
}

/// The fields of a row that are not null, as one JSON object. Where none is too long, the row as a whole becomes JSON, which
/// takes a third of the time.
fn fields(shape: &Shape, row: &str, form: Form) -> String {
    let each: Vec<String> = others(shape)
        .map(|column| {
            let value = value(shape, row, column, form);
            format!("({}, {value})", quote::literal(&column.name))
        })
        .collect();
    let one_by_one = format!(
        "(select pg_catalog.jsonb_object_agg(f.name, f.value) from (values {}) f(name, value))",
        each.join(", ")
    );
    let nulls = quote::list(shape.fields(), ", ", |name| {
        let (value, name) = (shape.column(row, name), quote::literal(name));
        format!("case when {value} is null then {name} end")
    });
    let nulls = format!("pg_catalog.array_remove(array[{nulls}], null)");
    if !matches!(form, Form::Json) {
        return format!("{one_by_one} - {nulls}");
    }
    let is_long: String = others(shape)
        .filter(|column| !SHORT.contains(&column.base_type.as_str()))
        .map(|column| {
            let value = shape.column(row, &column.name);
            let text = beginning(column, &value);
            format!(
                " or pg_catalog.pg_column_size({value}) > {SURELY_SHORT} and pg_catalog.length({text}) > {LONGEST_RECORDED}"
            )
        })
        .collect();
    let columns = quote::list(shape.fields(), ", ", |name| {
        format!("{} as {}", shape.column(row, name), quote::identifier(name))
    });
    format!(
        "case when false{is_long} then {one_by_one} else (select pg_catalog.to_jsonb(f.*) from (select {columns}) f) end - {nulls}"
    )
}

/// One value as it is recorded.
fn value(shape: &Shape, row: &str, column: &Column, form: Form) -> String {
    let value = shape.column(row, &column.name);
    if matches!(form, Form::Json) && SHORT.contains(&column.base_type.as_str()) {
        return format!("pg_catalog.to_jsonb({value})");
    }
    recorded(&value, &beginning(column, &value), form)
}

pub(super) fn recorded(value: &str, text: &str, form: Form) -> String {
    let whole = match form {
        Form::Json => format!("pg_catalog.to_jsonb({value})"),
        Form::Text | Form::Escaped => format!("pg_catalog.to_jsonb({text})"),
        Form::Size => {
            return format!(
                "case when pg_catalog.pg_column_size({value}) > {SURELY_SHORT} \
                 then pg_catalog.to_jsonb(pg_catalog.format('... (%s bytes, too large to be recorded)', pg_catalog.pg_column_size({value}))) \
                 else pg_catalog.to_jsonb({value}::text) end"
            );
        }
    };
    format!(
        "case when pg_catalog.length({text}) > {LONGEST_RECORDED} \
         then pg_catalog.to_jsonb(pg_catalog.left({text}, {LONGEST_RECORDED}) || '...') else {whole} end"
    )
}

/// The text of a value, at least as far as it is recorded. The text of binary data is twice as long as the data, and may
/// be longer than a text can be.
fn beginning(column: &Column, value: &str) -> String {
    match column.base_type.as_str() {
        "bytea" => format!("pg_catalog.substr({value}, 1, {LONGEST_RECORDED})::text"),
        _ => format!("{value}::text"),
    }
}
