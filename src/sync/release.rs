//! An inactive meter that is gone from the remote gives a unique value up to a meter that exists: it was entered anew there,
//! under another key.
//!
//! The value is set to NULL, and the change recorded for both meters. A column that may not be null keeps its value, and so
//! does one that rows of other tables refer to, which would lose their meter.

use crate::db::catalog::Column;
use crate::db::computed::Read;
use crate::db::exclusive::Exclusive;
use crate::db::{DbError, Local, Tx, json, param, quote};

use super::collisions::{as_view, collide, entries, movable, wanted};
use super::plan::Step;
use super::record::{self, Form};
use super::rejected::{self, PerRow, Rows, Tried};
use super::{Job, Shape, carry, digest};

/// The values that were given up so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Released {
    /// Each of our temporary tables of them, with the column.
    given_up: Vec<(String, String)>,
    /// The highest number of a recorded change.
    last: i64,
    /// How many.
    rows: i64,
}

impl Released {
    /// None yet; `last` is the last number of the plan.
    pub(super) fn after(last: i64) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }
}

/// Holds for a local row `l` that is inactive and gone from the remote.
pub(super) fn is_gone(shape: &Shape, job: &Job<'_>) -> String {
    let (unmatched, staged) = (shape.same_key("l", "u"), shape.same_key("l", "s"));
    format!(
        "(l.{} is not true and (exists (select from pg_temp.meter_sync_unmatched u where {unmatched})
 or {} and not exists (select from pg_temp.meter_sync_stage s where {staged})
 and not exists (select from pg_temp.meter_sync_aside s where {staged})))",
        quote::identifier(&shape.active),
        digest::is_remembered_as_gone(shape, job)
    )
}

/// Has what the rows of a step are to get given up where it is held by meters that are gone, if the settings allow it; how many
/// values.
pub(super) async fn release(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    step: Step,
    released: &mut Released,
) -> Result<i64, DbError> {
    if !job.limits.release_unique {
        return Ok(0);
    }
    let before = released.rows;
    for rule in &shape.rules.exclusive {
        for column in movable(shape, job, rule) {
            if !column.is_nullable {
                continue;
            }
            let table = format!("meter_sync_released_{}", released.given_up.len());
            let find = find(shape, job, (rule, step), column);
            if as_view(local, &find).await?.is_none() {
                continue;
            }
            let fill = fill(shape, &table);
            let found = rejected::if_possible(local, local.batch(&fill)).await?;
            if found.is_none() {
                continue;
            }
            let rows = give_up(local, shape, (column, &table)).await?;
            released.given_up.push((table, column.name.clone()));
            if rows > 0 {
                record(local, shape, job, released).await?;
                released.rows += rows;
                break;
            }
        }
    }
    Ok(released.rows - before)
}

/// Those that hold what others are to get, `n` being one of these.
fn find(shape: &Shape, job: &Job<'_>, (rule, step): (&Exclusive, Step), column: &Column) -> String {
    let Shape {
        local,
        local_filter,
        key,
        ..
    } = shape;
    let values = key.iter().chain([&column.name]);
    let values: Vec<String> = values.map(|name| shape.column("l", name)).collect();
    let from = format!(
        "{local} l where {local_filter} and {} and {}",
        is_gone(shape, job),
        is_unreferenced(shape, column)
    );
    let held = entries(
        rule,
        &values,
        |read: &Read| shape.column("l", &read.name),
        &from,
    );
    let keys: Vec<String> = (1..)
        .zip(key)
        .map(|(place, name): (usize, _)| format!("b.v{place} as {}", shape.place(name)))
        .collect();
    format!(
        "select a.v1 as n, {}, b.v{} as old from {} a join {held} b on {}",
        keys.join(", "),
        key.len() + 1,
        wanted(shape, rule, step),
        collide(rule, "a", "b")
    )
}

/// Fills a table with what was found, once a row.
fn fill(shape: &Shape, table: &str) -> String {
    let places = shape.places(&shape.key);
    format!(
        "-- find values to be given up
create temp table {table} on commit drop as
select pg_catalog.row_number() over () as k, f.* from (
    select distinct on ({places}) f.* from pg_temp.meter_sync_found f order by {places}
) f;
analyze pg_temp.{table}"
    )
}

/// Holds for a local row `l` whose value of the column no row of another table would lose.
pub(super) fn is_unreferenced(shape: &Shape, column: &Column) -> String {
    let references = shape.rules.references.iter().filter(|reference| {
        let mut pairs = reference.columns.iter();
        pairs.any(|(_, to)| *to == column.name)
    });
    let conditions = references.map(|reference| match reference.is_readable {
        true => format!(
            "not exists (select from {} c where {})",
            reference.table,
            carry::refers(reference)
        ),
        false => "false".to_owned(),
    });
    let conditions: Vec<String> = conditions.collect();
    match conditions.is_empty() {
        true => "true".to_owned(),
        false => conditions.join(" and "),
    }
}

/// Clears the column of the rows in the table, and leaves those there whose value is gone; how many.
async fn give_up(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (column, table): (&Column, &str),
) -> Result<i64, DbError> {
    let Shape {
        local: meters,
        local_filter,
        ..
    } = shape;
    // Who would come to refer to them meanwhile waits, and who has done so is seen by the statement that clears.
    let hold = format!(
        "-- hold who gives a value up
select pg_catalog.count(*) from (
    select from pg_temp.{table} f join {meters} l on {} and {local_filter} order by f.k for update of l) k",
        shape.same_key("l", "f")
    );
    local.query_one(&hold, &[]).await?;
    let clear = PerRow {
        sql: format!(
            "-- give unique values up
update {meters} l set {} = null from pg_temp.{table} f
where {} and {local_filter} and l.{} is not true and f.k >= $1 and f.k <= $2 and {}",
            quote::identifier(&column.name),
            shape.same_key("l", "f"),
            quote::identifier(&shape.active),
            is_unreferenced(shape, column)
        ),
        has_gaps: false,
        checks: !shape.keeps_what_is_written,
    };
    let count = format!(
        "-- count the values to be given up\nselect pg_catalog.count(*) from pg_temp.{table}"
    );
    let last: i64 = local.query_one(&count, &[]).await?.get(0);
    let all = vec![Rows { first: 1, last }];
    let limit = usize::try_from(last).unwrap_or(usize::MAX);
    let kept = rejected::all_but_the_bad(local, all, limit, "select", &clear).await?;
    let kept: Vec<i64> = kept.unwrap_or_default().iter().map(|(k, _)| *k).collect();
    // A trigger may keep one, too.
    let forget = format!(
        "-- forget the values that are kept
delete from pg_temp.{table} f where f.k = any ($1) or exists (
    select from {meters} l where {} and {local_filter} and l.{} is not null)",
        shape.same_key("l", "f"),
        quote::identifier(&column.name)
    );
    let forgotten = local.execute(&forget, &[param::bigints(&kept)]).await?;
    Ok(last - i64::try_from(forgotten).unwrap_or(last))
}

/// Records what the last table holds: as part of its change where the plan deactivates the meter, else as one of its own.
async fn record(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    released: &mut Released,
) -> Result<(), DbError> {
    let Some((table, column)) = released.given_up.last() else {
        return Ok(());
    };
    let as_recorded = as_recorded(local, shape, table).await?;
    let name = quote::literal(column);
    let old = record::recorded("f.old", "f.old::text", Form::Json);
    let before = as_recorded(&format!("pg_catalog.jsonb_build_object({name}, {old})"));
    let after = format!("pg_catalog.jsonb_build_object({name}, null)");
    let same_key = shape.same_key("p", "f");
    let merge = format!(
        "-- record values given up with a deactivation
update meter_sync.meter_sync_change g set before = g.before || {before}, after = g.after || {after}
from pg_temp.{table} f join pg_temp.meter_sync_plan p on {same_key} and p.step = 0
where g.run_id = $1 and g.n = p.n"
    );
    let add = format!(
        "-- record values given up
insert into meter_sync.meter_sync_change (run_id, n, action, key, before, after)
select $1, $2 + f.k, 'update', {}, {before}, {after} from pg_temp.{table} f
where not exists (
    select from pg_temp.meter_sync_plan p
    join meter_sync.meter_sync_change g on g.run_id = $1 and g.n = p.n
    where {same_key} and p.step = 0)
order by f.k limit $3",
        as_recorded(&shape.key_json("f"))
    );
    let run_id = job.run_id.as_uuid();
    local.execute(&merge, &[param::uuid(run_id)]).await?;
    let limit = i64::from(job.limits.change_limit);
    let params = [
        param::uuid(run_id),
        param::bigint(released.last),
        param::bigint(limit),
    ];
    local.execute(&add, &params).await?;
    let count = format!(
        "-- number what comes next\nselect coalesce(pg_catalog.max(f.k), 0) from pg_temp.{table} f"
    );
    let rows: i64 = local.query_one(&count, &[]).await?.get(0);
    released.last += rows;
    Ok(())
}

/// What makes of an expression one that can be recorded: in ASCII where the table has values that cannot be shown.
async fn as_recorded(
    local: &Tx<'_, Local>,
    shape: &Shape,
    table: &str,
) -> Result<fn(&str) -> String, DbError> {
    let key = shape.key_json("f");
    let show = format!(
        "-- look whether the values given up can be shown
select pg_catalog.count(pg_catalog.convert_to(pg_catalog.concat({key}, f.old), 'UTF8')) from pg_temp.{table} f"
    );
    Ok(match local.is_utf8() {
        false
            if rejected::if_possible(local, local.query(&show, &[]))
                .await?
                .is_none() =>
        {
            in_ascii
        }
        _ => str::to_owned,
    })
}

fn in_ascii(value: &str) -> String {
    format!("{}::jsonb", json::in_ascii(value))
}

/// Gives values back whose new meters were rejected after all.
pub(super) async fn give_back(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (released, rejected): (&Released, &[i64]),
) -> Result<(), DbError> {
    if released.rows == 0 || rejected.is_empty() {
        return Ok(());
    }
    let Shape {
        local: meters,
        local_filter,
        ..
    } = shape;
    for (table, column) in &released.given_up {
        let name = quote::identifier(column);
        let give_back = PerRow {
            sql: format!(
                "-- give a value back
update {meters} l set {name} = f.old from pg_temp.{table} f
where {} and {local_filter} and l.{name} is null and f.k >= $1 and f.k <= $2",
                shape.same_key("l", "f")
            ),
            has_gaps: false,
            checks: !shape.keeps_what_is_written,
        };
        let list = format!(
            "-- list the values of rejected rows\nselect f.k from pg_temp.{table} f where f.n = any ($1)"
        );
        for row in local.query(&list, &[param::bigints(rejected)]).await? {
            let k: i64 = row.get(0);
            let one = Rows { first: k, last: k };
            if let Tried::Taken = rejected::attempt(local, give_back.run(local, one)).await? {
                unrecord(local, shape, job, (table, column, k)).await?;
            }
        }
    }
    Ok(())
}

async fn unrecord(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (table, column, k): (&str, &str, i64),
) -> Result<(), DbError> {
    let (key, name) = (shape.key_json("f"), quote::literal(column));
    let (equals, escaped) = (quote::EQUALS, in_ascii(&key));
    let is_key = format!("(g.key {equals} {key} or g.key {equals} {escaped})");
    let of_it = format!("where f.k = $2 and g.run_id = $1 and {is_key}");
    let params = [param::uuid(job.run_id.as_uuid()), param::bigint(k)];
    let split = format!(
        "-- take a value given back from a deactivation
update meter_sync.meter_sync_change g set before = g.before - {name}::text, after = g.after - {name}::text
from pg_temp.{table} f {of_it} and g.action = 'deactivate'"
    );
    local.execute(&split, &params).await?;
    let delete = format!(
        "-- take a value given back from the changes
delete from meter_sync.meter_sync_change g using pg_temp.{table} f
{of_it} and g.action = 'update' and pg_catalog.jsonb_exists(g.before, {name})"
    );
    local.execute(&delete, &params).await.map(drop)
}
