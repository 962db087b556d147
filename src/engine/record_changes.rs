//! Records the changes of a plan, with old and new values, as rows of `meter_sync_change`.

use std::iter::once;

use uuid::Uuid;

use crate::db::catalog::Column;
use crate::db::{DbError, Local, Tx, param, quote, read_lossless_json};
use crate::model::{LONGEST_RECORDED, saturating_i64};

use super::find_gone_meters::MissingMeters;
use super::plan::{self, Plan};
use super::row_difference_sql::{compared, is_same};
use super::write_by_halving::{self, RowRange, RowRangeStatement, WriteAttemptOutcome};
use super::{Relations, RunContext, copy_distributed_rows};

/// Records the changes of the plan, with old and new values, up to the number that the log keeps for a run. If there
/// are more changes, stores some of the others in a temporary table. [`refill`] later takes changes from there in place
/// of those whose rows were rejected. All this is done before the plan is applied, because that overwrites the old
/// values.
pub(super) async fn changes(
    run: &RunContext<'_>,
    plan: &Plan,
    gone: &MissingMeters,
) -> Result<(), DbError> {
    let RunContext { local, job, .. } = *run;
    let changes = plan.counts.changes();
    if changes == 0 {
        return Ok(());
    }
    let limit = i64::from(job.limits.change_limit);
    copy_distributed_rows::copy_planned(run).await?;
    planned(run, limit, gone).await?;
    if changes <= limit || job.dry_run {
        return Ok(());
    }
    local.batch(CREATE_SPARE).await?;
    let further = RowRange {
        first: limit + 1,
        last: limit + i64::from(job.limits.rejected_limit),
    };
    let spare = ChangeDestination {
        has_gone: gone.is_known(),
        ..ChangeDestination::new(run, SPARE)
    };
    let index = plan::index(run.relations);
    record(local, further, &index, |form| of_plan(run, &spare, form)).await
}

/// Records the changes of the plan that are numbered from 1 to `last`. `gone` says where missing meters went.
pub(super) async fn planned(
    run: &RunContext<'_>,
    last: i64,
    gone: &MissingMeters,
) -> Result<(), DbError> {
    gone.keep(run).await?;
    let log = ChangeDestination {
        has_gone: gone.is_known(),
        ..ChangeDestination::new(run, LOG)
    };
    let index = plan::index(run.relations);
    let rows = RowRange { first: 1, last };
    record(run.local, rows, &index, |form| of_plan(run, &log, form)).await
}

/// Creates the temporary table of further changes, from which [`refill`] reads, and leaves it empty. Called instead of
/// [`changes`] if the caller records the changes of the plan later.
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
insert into meter_sync.meter_sync_change (run_id, n, action, key, before, after, gone_to)
select g.run_id, g.n, g.action, g.key, g.before, g.after, g.gone_to
from pg_temp.meter_sync_spare g where g.n <> all ($1) order by g.n limit $2";

/// Records further changes in place of those whose rows were rejected. `rejected` holds the numbers of the rejected
/// rows in the plan. Call this once, when all rejected rows are known, and only if there were more changes than the log
/// keeps.
pub(super) async fn refill(run: &RunContext<'_>, rejected: &[i64]) -> Result<(), DbError> {
    let limit = i64::from(run.job.limits.change_limit);
    let taken = rejected.iter().filter(|n| **n <= limit).count();
    let taken = saturating_i64(taken);
    let params = [param::bigints(rejected), param::bigint(taken)];
    run.local.execute(REFILL, &params).await.map(drop)
}

/// Records the meters of a first load as inserts, numbered in the order of their keys. Records only the numbers in
/// `rows`.
pub(super) async fn load(run: &RunContext<'_>, rows: RowRange) -> Result<(), DbError> {
    let log = ChangeDestination::new(run, LOG);
    record(run.local, rows, "", |form| of_load(run, &log, form)).await
}

/// The table in which changes are recorded, and the run to which the changes belong.
struct ChangeDestination<'t> {
    into: &'t str,
    run_id: Uuid,
    is_utf8: bool,
    /// Whether the temporary table `meter_sync_gone` says where missing meters went.
    has_gone: bool,
}

impl<'t> ChangeDestination<'t> {
    fn new(run: &RunContext<'_>, into: &'t str) -> Self {
        Self {
            into,
            run_id: run.job.run_id.as_uuid(),
            is_utf8: run.local.is_utf8(),
            has_gone: false,
        }
    }

    /// SQL that inserts the rows of the query `rows` into the log table. A value that cannot be converted to UTF-8 must
    /// not be stored, because no client could read it. With [`ValueForm::Json`] or [`ValueForm::Text`], the statement
    /// fails if there is such a value. With the other forms, it writes all values as escaped ASCII, unless the local
    /// encoding is UTF-8.
    fn insert(&self, rows: &str, form: ValueForm) -> String {
        const COLUMNS: &str = "run_id, n, action, key, before, after, gone_to";
        let into = self.into;
        let from = format!("from (\n{rows}\noffset 0) x({COLUMNS})");
        let chosen = match form {
            _ if self.is_utf8 => rows.to_owned(),
            ValueForm::Json | ValueForm::Text => format!(
                "select x.* {from}
where pg_catalog.convert_to(pg_catalog.concat(x.key, x.before, x.after), 'UTF8') is not null"
            ),
            ValueForm::Escaped | ValueForm::Size => {
                let [key, before, after] =
                    ["x.key", "x.before", "x.after"].map(read_lossless_json::in_ascii);
                format!(
                    "select x.run_id, x.n, x.action, {key}::jsonb, {before}::jsonb, {after}::jsonb, x.gone_to {from}"
                )
            }
        };
        format!("insert into {into} ({COLUMNS})\n{chosen}")
    }
}

/// Records a range of rows. A value that cannot be recorded as JSON must not stop the sync, so other forms are tried:
/// if one row fails, all rows are recorded as text. If the local encoding is not UTF-8, a row that fails again is
/// recorded as escaped ASCII. A row that still fails is recorded with the sizes of its long values.
async fn record(
    local: &Tx<'_, Local>,
    rows: RowRange,
    prepare: &str,
    statement: impl Fn(ValueForm) -> String,
) -> Result<(), DbError> {
    let params = |rows: RowRange| [param::bigint(rows.first), param::bigint(rows.last)];
    let (sql, range) = (statement(ValueForm::Json), params(rows));
    let recorded = local.execute(&sql, &range);
    let tried = write_by_halving::attempt(local, async {
        recorded.await.map(|_rows| WriteAttemptOutcome::Written)
    });
    if let WriteAttemptOutcome::Written = tried.await? {
        return Ok(());
    }
    let as_text = RowRangeStatement {
        sql: statement(ValueForm::Text),
        has_gaps: true,
        checks: false,
        recount: None,
    };
    let bad =
        write_by_halving::all_but_the_bad(local, vec![rows], usize::MAX, prepare, &as_text).await?;
    for (n, _reason) in bad.unwrap_or_default() {
        let row = RowRange { first: n, last: n };
        if !local.is_utf8() {
            let escaped = RowRangeStatement {
                sql: statement(ValueForm::Escaped),
                has_gaps: true,
                checks: false,
                recount: None,
            };
            let tried = write_by_halving::attempt(local, escaped.run(local, row));
            if let WriteAttemptOutcome::Written = tried.await? {
                continue;
            }
        }
        local
            .execute(&statement(ValueForm::Size), &params(row))
            .await?;
    }
    Ok(())
}

/// The form in which values are recorded.
#[derive(Clone, Copy, Debug)]
pub(super) enum ValueForm {
    /// The JSON value that `to_jsonb` makes of the value.
    Json,
    /// The value's text as a JSON string, which is possible for any type.
    Text,
    /// The value's text as a JSON string, with each byte that is not ASCII written as an escape such as `\377`.
    Escaped,
    /// The value's size in bytes if the value is long, otherwise its text as a JSON string.
    Size,
}

fn of_plan(run: &RunContext<'_>, log: &ChangeDestination<'_>, form: ValueForm) -> String {
    let relations = run.relations;
    let (rows, local_filter) = (run.relations.local_rows(), &run.scope.local_filter);
    let active = quote::literal(&relations.active);
    let (run_id, key) = (log.run_id, relations.key_json("p"));
    let (local_row, staged_row) = rows_of_plan(relations);
    let differ: Vec<String> = compared(relations)
        .zip(1..)
        .map(|(column, n)| format!("not {} as d{n}", is_same(relations, column)))
        .collect();
    let differ = differ.join(", ");
    let (before, after) = (changed(relations, "l", form), changed(relations, "s", form));
    let inserted = fields(relations, "s", form);
    let (gone_to, gone) = match log.has_gone {
        true => (
            "w.gone_to",
            "left join pg_temp.meter_sync_gone w on w.n operator(pg_catalog.=) p.n",
        ),
        false => ("null::pg_catalog.text", ""),
    };
    let rows = format!(
        "select '{run_id}'::uuid, p.n, p.action, {key},
    case when p.action = 'insert' then '{{}}'::jsonb
        when p.action = 'deactivate' then pg_catalog.jsonb_build_object({active}, true)
        else {before} end,
    case when p.action = 'insert' then {inserted}
        when p.action = 'deactivate' then pg_catalog.jsonb_build_object({active}, false)
        else {after} end, {gone_to}
from pg_temp.meter_sync_plan p
{gone}
left join pg_temp.meter_sync_stage s on {staged_row}
left join {rows} on {local_row} and {local_filter}
cross join lateral (select {differ} offset 0) o
where p.n >= $1 and p.n <= $2"
    );
    format!("-- record the changes\n{}", log.insert(&rows, form))
}

/// SQL conditions: whether `l` is the local row and `s` the staged row of the row `p` of the plan.
fn rows_of_plan(relations: &Relations) -> (String, String) {
    let (here, there) = (relations.same_key("l", "p"), relations.same_key("s", "p"));
    match relations.keeps_places {
        true => (
            format!("l.ctid operator(pg_catalog.=) p.place and {here}"),
            "s.ctid operator(pg_catalog.=) p.staged_place".to_owned(),
        ),
        false => (here, there),
    }
}

fn of_load(run: &RunContext<'_>, log: &ChangeDestination<'_>, form: ValueForm) -> String {
    let relations = run.relations;
    let (local, local_filter) = (&relations.local, &run.scope.local_filter);
    let run_id = log.run_id;
    let (key, order) = (
        relations.key_json("l"),
        quote::columns("l.", &relations.key),
    );
    let after = fields(relations, "l", form);
    // `offset 0` keeps the planner from walking the key index over all tenants to find the first rows of this one. It
    // would do so while a table that is being filled has no statistics, and each load would then read the rows of all
    // earlier loads.
    let rows = match relations.local_tenant {
        Some(_) => format!("(select l.* from {local} l where {local_filter} offset 0) l"),
        None => format!("{local} l where {local_filter}"),
    };
    let rows = format!(
        "select '{run_id}'::uuid, $1 - 1 + pg_catalog.row_number() over (order by {order}), 'insert', {key}, '{{}}'::jsonb, {after}, null::pg_catalog.text
from (select l.* from {rows} order by {order} offset $1 - 1 limit $2 - $1 + 1) l"
    );
    format!("-- record the load\n{}", log.insert(&rows, form))
}

/// A value stored in at most this many bytes has no more than `LONGEST_RECORDED` characters, even if it is compressed.
const SURELY_SHORT: u32 = 100;
/// The types whose values always have fewer characters than `LONGEST_RECORDED`.
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

/// SQL: a JSON object of those fields of a row that the plan changes. The boolean columns `o.d1`, `o.d2` and so on tell
/// for each field whether the plan changes it.
fn changed(relations: &Relations, row: &str, form: ValueForm) -> String {
    let each = compared(relations).zip(1..).map(|(column, n)| {
        let (name, value) = (quote::literal(&column.name), value(relations, row, column, form));
        format!(
            "case when o.d{n} then pg_catalog.jsonb_build_object({name}, {value}) else '{{}}'::jsonb end"
        )
    });
    let each: Vec<String> = once("'{}'::jsonb".to_owned()).chain(each).collect();
    each.join(" || ")
}

/// SQL: a JSON object of those fields of a row that are not NULL. If no value is too long to be recorded, the row is
/// converted as a whole, which takes a third of the time of converting single fields.
fn fields(relations: &Relations, row: &str, form: ValueForm) -> String {
    let each: Vec<String> = compared(relations)
        .map(|column| {
            let value = value(relations, row, column, form);
            format!("({}, {value})", quote::literal(&column.name))
        })
        .collect();
    let one_by_one = format!(
        "(select pg_catalog.jsonb_object_agg(f.name, f.value) from (values {}) f(name, value))",
        each.join(", ")
    );
    let nulls = quote::list(relations.fields(), ", ", |name| {
        let (value, name) = (relations.column(row, name), quote::literal(name));
        format!("case when {value} is null then {name} end")
    });
    let nulls = format!("pg_catalog.array_remove(array[{nulls}], null)");
    if !matches!(form, ValueForm::Json) {
        return format!("{one_by_one} - {nulls}");
    }
    let is_long: String = compared(relations)
        .filter(|column| !SHORT.contains(&column.base_type.as_str()))
        .map(|column| {
            let value = relations.column(row, &column.name);
            let text = beginning(column, &value);
            format!(
                " or pg_catalog.pg_column_size({value}) > {SURELY_SHORT} and pg_catalog.length({text}) > {LONGEST_RECORDED}"
            )
        })
        .collect();
    let columns = quote::list(relations.fields(), ", ", |name| {
        format!(
            "{} as {}",
            relations.column(row, name),
            quote::identifier(name)
        )
    });
    format!(
        "case when false{is_long} then {one_by_one} else (select pg_catalog.to_jsonb(f.*) from (select {columns}) f) end - {nulls}"
    )
}

/// SQL: the JSON value that is recorded for one column of a row.
fn value(relations: &Relations, row: &str, column: &Column, form: ValueForm) -> String {
    let value = relations.column(row, &column.name);
    if matches!(form, ValueForm::Json) && SHORT.contains(&column.base_type.as_str()) {
        return format!("pg_catalog.to_jsonb({value})");
    }
    recorded(&value, &beginning(column, &value), form)
}

pub(super) fn recorded(value: &str, text: &str, form: ValueForm) -> String {
    let whole = match form {
        ValueForm::Json => format!("pg_catalog.to_jsonb({value})"),
        ValueForm::Text | ValueForm::Escaped => format!("pg_catalog.to_jsonb({text})"),
        ValueForm::Size => {
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

/// SQL: the text of a value, or its beginning if that is all that is recorded. A `bytea` is cut before it is converted,
/// because its text is twice as long as the data, and can exceed the size limit of a text.
fn beginning(column: &Column, value: &str) -> String {
    match column.base_type.as_str() {
        "bytea" => format!("pg_catalog.substr({value}, 1, {LONGEST_RECORDED})::text"),
        _ => format!("{value}::text"),
    }
}
