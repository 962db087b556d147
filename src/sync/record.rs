//! What a plan changes, old and new, as rows of `meter_sync_change`.

use uuid::Uuid;

use crate::db::param::Param;
use crate::db::{DbError, Local, Tx, param, quote};

use super::plan::Plan;
use super::rejected::{self, Tried};
use super::{Job, Shape};

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
    let range = |after: i64, last: i64| {
        let run_id = param::uuid(job.run_id.as_uuid());
        [run_id, param::bigint(after), param::bigint(last)]
    };
    let first = range(0, limit);
    record(local, &first, |form| of_plan(shape, LOG, form)).await?;
    if changes <= limit || job.dry_run {
        return Ok(());
    }
    local.batch(CREATE_SPARE).await?;
    let last = limit + i64::from(job.limits.rejected_limit);
    record(local, &range(limit, last), |form| {
        of_plan(shape, SPARE, form)
    })
    .await
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

/// Records the first `limit` meters of a table that had none before.
pub(super) async fn load(
    local: &Tx<'_, Local>,
    shape: &Shape,
    run_id: Uuid,
    limit: i64,
) -> Result<(), DbError> {
    let params = [param::uuid(run_id), param::bigint(limit)];
    record(local, &params, |form| of_load(shape, form)).await
}

/// A value that `jsonb` cannot hold must not keep the others from being synced, so it is then recorded
/// as text.
async fn record(
    local: &Tx<'_, Local>,
    params: &[Param<'_>],
    statement: impl Fn(Form) -> String,
) -> Result<(), DbError> {
    let as_json = statement(Form::Json);
    let tried = rejected::attempt(local, async {
        local
            .execute(&as_json, params)
            .await
            .map(|_rows| Tried::Taken)
    });
    if let Tried::NotTaken(_) = tried.await? {
        local.execute(&statement(Form::Text), params).await?;
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
}

/// The rows of the plan after `$2`, up to `$3`.
fn of_plan(shape: &Shape, into: &str, form: Form) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let active = quote::literal(&shape.active);
    let key = shape.key_json("p");
    let local_row = shape.same_key("l", "p");
    let staged_row = shape.same_key("s", "p");
    let is_same = |name: &str| {
        let (before, after) = (shape.column("l", name), shape.column("s", name));
        format!("pg_catalog.record_image_eq(row({before}), row({after}))")
    };
    let left_out = left_out(shape, is_same);
    let (before, after) = (fields(shape, "l", form), fields(shape, "s", form));
    format!(
        "-- record the changes
insert into {into} (run_id, n, action, key, before, after)
select $1, p.n, p.action, {key},
    case when p.action = 'insert' then '{{}}'::jsonb
        when p.action = 'deactivate' then pg_catalog.jsonb_build_object({active}, true)
        else {before} - o.names end,
    case when p.action = 'deactivate' then pg_catalog.jsonb_build_object({active}, false)
        else {after} - o.names end
from pg_temp.meter_sync_plan p
left join pg_temp.meter_sync_stage s on {staged_row}
left join {local} l on {local_row} and {local_filter}
{left_out}
where p.n > $2 and p.n <= $3"
    )
}

fn of_load(shape: &Shape, form: Form) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let (key, order) = (shape.key_json("l"), quote::columns("l.", &shape.key));
    let left_out = left_out(shape, |name| format!("{} is null", shape.column("l", name)));
    let after = fields(shape, "l", form);
    format!(
        "-- record the load
insert into meter_sync.meter_sync_change (run_id, n, action, key, before, after)
select $1, pg_catalog.row_number() over (order by {order}), 'insert', {key}, '{{}}', {after} - o.names
from (select l.* from {local} l where {local_filter} order by {order} limit $2) l
{left_out}"
    )
}

/// The names of the fields for which a condition holds, as `o.names`; found out once a row.
fn left_out(shape: &Shape, condition: impl Fn(&str) -> String) -> String {
    let names = quote::list(shape.fields(), ", ", |name| {
        format!(
            "case when {} then {} end",
            condition(name),
            quote::literal(name)
        )
    });
    format!(
        "cross join lateral (select pg_catalog.array_remove(array[{names}], null) as names offset 0) o"
    )
}

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

/// The fields of a row as one JSON object. Where none is too long, the row as a whole becomes JSON, which
/// takes a third of the time.
fn fields(shape: &Shape, row: &str, form: Form) -> String {
    let each = quote::list(shape.fields(), ", ", |name| {
        let value = recorded(&shape.column(row, name), form);
        format!("({}, {value})", quote::literal(name))
    });
    let one_by_one = format!(
        "(select pg_catalog.jsonb_object_agg(f.name, f.value) from (values {each}) f(name, value))"
    );
    if matches!(form, Form::Text) {
        return one_by_one;
    }
    let may_be_long = shape.columns.iter().filter(|column| {
        !shape.key.contains(&column.name) && !SHORT.contains(&column.base_type.as_str())
    });
    let may_be_long = may_be_long.map(|column| &column.name);
    let is_long = quote::list(may_be_long, "", |name| {
        let column = shape.column(row, name);
        format!(
            " or pg_catalog.pg_column_size({column}) > {SURELY_SHORT} and pg_catalog.length({column}::text) > {LONGEST_RECORDED}"
        )
    });
    let columns = quote::list(shape.fields(), ", ", |name| {
        format!("{} as {}", shape.column(row, name), quote::identifier(name))
    });
    format!(
        "case when false{is_long} then {one_by_one} else (select pg_catalog.to_jsonb(f.*) from (select {columns}) f) end"
    )
}

pub(super) fn recorded(column: &str, form: Form) -> String {
    let whole = match form {
        Form::Json => format!("pg_catalog.to_jsonb({column})"),
        Form::Text => format!("pg_catalog.to_jsonb({column}::text)"),
    };
    format!(
        "case when pg_catalog.length({column}::text) > {LONGEST_RECORDED} \
         then pg_catalog.to_jsonb(pg_catalog.left({column}::text, {LONGEST_RECORDED}) || '...') else {whole} end"
    )
}
