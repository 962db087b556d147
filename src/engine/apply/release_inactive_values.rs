//! Lets an inactive meter that is missing on the remote release (give up) a unique value that another meter needs. The
//! value may be needed, for example, because the same meter was entered again on the remote under another key.
//!
//! The value is set to NULL, and the change is recorded. The meter keeps its value if the column is not nullable, or if
//! a foreign key refers to the value, because the referring rows would lose their meter.

use crate::db::catalog::Column;
use crate::db::computed_expressions::InputColumn;
use crate::db::constraints_between_rows::UniquenessRule;
use crate::db::{DbError, param, quote, read_lossless_json};

use super::collision_queries::{as_view, collide, entries, movable, wanted};
use super::keep_references_through_exchange;
use crate::engine::plan::PlanStep;
use crate::engine::record_changes::{self, ValueForm};
use crate::engine::write_by_halving::{self, RowRange, RowRangeStatement, WriteAttemptOutcome};
use crate::engine::{Relations, RunContext, copy_distributed_rows, digest};

/// The unique values that inactive meters have released (that were set to NULL) so far.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct ClearedValues {
    /// The temporary tables with the released values, each with the name of the column that was set to NULL.
    given_up: Vec<(String, String)>,
    /// The highest number that a row of the plan or a recorded release has so far.
    last: i64,
    /// How many values were released.
    rows: i64,
}

impl ClearedValues {
    /// Starts with no released values. `last` is the highest number of a row in the plan.
    pub(in crate::engine) fn after(last: i64) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }
}

/// Returns the SQL condition that the local row `l` is inactive and missing on the remote.
pub(in crate::engine) fn is_gone(run: &RunContext<'_>) -> String {
    let relations = run.relations;
    let (unmatched, staged) = (relations.same_key("l", "u"), relations.same_key("l", "s"));
    format!(
        "(l.{} is not true and (exists (select 1 from pg_temp.meter_sync_unmatched u where {unmatched})
 or {} and not exists (select 1 from pg_temp.meter_sync_stage s where {staged})
 and not exists (select 1 from pg_temp.meter_sync_aside s where {staged})))",
        quote::identifier(&relations.active),
        digest::is_remembered_as_gone(run)
    )
}

/// Sets unique values to NULL that planned rows of a step need and that inactive meters missing on the remote hold.
/// Does nothing if the setting `release_unique` is off. Returns how many values were released.
pub(in crate::engine) async fn release(
    run: &RunContext<'_>,
    step: PlanStep,
    released: &mut ClearedValues,
) -> Result<i64, DbError> {
    let local = run.local;
    if !run.job.limits.release_unique {
        return Ok(0);
    }
    let before = released.rows;
    for rule in &run.relations.constraints.exclusive {
        for column in movable(run, rule) {
            if !column.is_nullable {
                continue;
            }
            let table = format!("meter_sync_released_{}", released.given_up.len());
            let find = find(run, rule, step, column);
            if as_view(run, &find).await?.is_none() {
                continue;
            }
            let fill = fill(run.relations, &table);
            let found = write_by_halving::if_possible(local, local.batch(&fill)).await?;
            if found.is_none() {
                continue;
            }
            let rows = give_up(run, column, &table).await?;
            released.given_up.push((table, column.name.clone()));
            if rows > 0 {
                record(run, released).await?;
                released.rows += rows;
                break;
            }
        }
    }
    Ok(released.rows - before)
}

/// Returns a query of the meters that can release a unique value which a planned row of the step needs. Such a meter is
/// inactive and missing on the remote, and no row refers to it by the column. The query returns the key of the meter,
/// the value as `old`, and the number `n` of the row that needs the value.
fn find(run: &RunContext<'_>, rule: &UniquenessRule, step: PlanStep, column: &Column) -> String {
    let relations = run.relations;
    let key = &relations.key;
    let (rows, local_filter) = (run.relations.local_rows(), &run.scope.local_filter);
    let values = key.iter().chain([&column.name]);
    let values: Vec<String> = values.map(|name| relations.column("l", name)).collect();
    let from = format!(
        "{rows} where {local_filter} and {} and {}",
        is_gone(run),
        is_unreferenced(relations, column)
    );
    let held = entries(
        rule,
        &values,
        |read: &InputColumn| relations.column("l", &read.name),
        &from,
    );
    let keys: Vec<String> = (1..)
        .zip(key)
        .map(|(place, name): (usize, _)| format!("b.v{place} as {}", relations.temp_column(name)))
        .collect();
    format!(
        "select a.v1 as n, {}, b.v{} as old from {} a join {held} b on {}",
        keys.join(", "),
        key.len() + 1,
        wanted(run, rule, step),
        collide(rule, "a", "b")
    )
}

/// Returns SQL that copies the meters in the view `meter_sync_found` to a temporary table, each once, numbered by `k`.
fn fill(relations: &Relations, table: &str) -> String {
    let places = relations.temp_columns(&relations.key);
    format!(
        "-- find values to be given up
create temp table {table} on commit drop as
select pg_catalog.row_number() over () as k, f.* from (
    select distinct on ({places}) f.* from pg_temp.meter_sync_found f order by {places}
) f;
analyze pg_temp.{table}"
    )
}

/// Returns the SQL condition that no row refers to this column of the local row `l`. The condition is false if our role
/// cannot read a table with a foreign key to the column.
pub(in crate::engine) fn is_unreferenced(relations: &Relations, column: &Column) -> String {
    let references = relations.constraints.references.iter().filter(|reference| {
        let mut pairs = reference.columns.iter();
        pairs.any(|(_, to)| *to == column.name)
    });
    let conditions = references.map(|reference| match reference.is_readable {
        true => format!(
            "not exists (select 1 from {} c where {})",
            reference.table,
            keep_references_through_exchange::refers(reference)
        ),
        false => "false".to_owned(),
    });
    let conditions: Vec<String> = conditions.collect();
    match conditions.is_empty() {
        true => "true".to_owned(),
        false => conditions.join(" and "),
    }
}

/// Sets a column to NULL in the meters that the temporary table `table` lists. Then deletes from `table` the meters
/// whose value could not be set to NULL. Returns how many values were set to NULL.
async fn give_up(run: &RunContext<'_>, column: &Column, table: &str) -> Result<i64, DbError> {
    let RunContext {
        local, relations, ..
    } = *run;
    let (meters, local_filter) = (&relations.local, &run.scope.local_filter);
    // These row locks make a transaction that wants to refer to the rows wait. The statement that clears the values
    // sees all references committed before.
    let hold = format!(
        "-- hold who gives a value up
create temp table {table}_held on commit drop as
select f.k from pg_temp.{table} f join {meters} l on {} and {local_filter} order by f.k for update of l",
        relations.same_key("l", "f")
    );
    local.execute(&hold, &[]).await?;
    let clear = RowRangeStatement {
        sql: format!(
            "-- give unique values up
update {meters} l set {} = null from pg_temp.{table} f
where {} and {local_filter} and l.{} is not true and f.k >= $1 and f.k <= $2 and {}",
            quote::identifier(&column.name),
            relations.same_key("l", "f"),
            quote::identifier(&relations.active),
            is_unreferenced(relations, column)
        ),
        has_gaps: false,
        checks: !relations.stores_rows_unchanged,
        recount: None,
    };
    let count = format!(
        "-- count the values to be given up\nselect pg_catalog.count(*) from pg_temp.{table}"
    );
    let last: i64 = local.query_one(&count, &[]).await?.get(0);
    let all = vec![RowRange { first: 1, last }];
    let limit = usize::try_from(last).unwrap_or(usize::MAX);
    let kept = write_by_halving::all_but_the_bad(local, all, limit, "select", &clear).await?;
    let kept: Vec<i64> = kept.unwrap_or_default().iter().map(|(k, _)| *k).collect();
    // A trigger may have kept a value, too.
    copy_distributed_rows::copy(run).await?;
    let forget = format!(
        "-- forget the values that are kept
delete from pg_temp.{table} k where k.k = any ($1) or k.k in (
    select f.k from pg_temp.{table} f join {} on {} and {local_filter} and l.{} is not null)",
        run.relations.local_rows(),
        relations.same_key("l", "f"),
        quote::identifier(&column.name)
    );
    let forgotten = local.execute(&forget, &[param::bigints(&kept)]).await?;
    Ok(last - i64::try_from(forgotten).unwrap_or(last))
}

/// Records the released values of the latest temporary table as changes of the run. If the deactivation of the meter is
/// already recorded, the value is added to that record. Otherwise, the release is recorded as an update of its own.
async fn record(run: &RunContext<'_>, released: &mut ClearedValues) -> Result<(), DbError> {
    let local = run.local;
    let Some((table, column)) = released.given_up.last() else {
        return Ok(());
    };
    let as_recorded = as_recorded(run, table).await?;
    let name = quote::literal(column);
    let old = record_changes::recorded("f.old", "f.old::text", ValueForm::Json);
    let before = as_recorded(&format!("pg_catalog.jsonb_build_object({name}, {old})"));
    let after = format!("pg_catalog.jsonb_build_object({name}, null)");
    let same_key = run.relations.same_key("p", "f");
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
    select 1 from pg_temp.meter_sync_plan p
    join meter_sync.meter_sync_change g on g.run_id = $1 and g.n = p.n
    where {same_key} and p.step = 0)
order by f.k limit $3",
        as_recorded(&run.relations.key_json("f"))
    );
    let run_id = run.job.run_id.as_uuid();
    local.execute(&merge, &[param::uuid(run_id)]).await?;
    let limit = i64::from(run.job.limits.change_limit);
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

/// Returns a function that takes SQL for a value and returns SQL for the value as it is to be recorded. The value is
/// escaped to ASCII if the temporary table has values that cannot be converted to UTF-8, and unchanged otherwise.
async fn as_recorded(run: &RunContext<'_>, table: &str) -> Result<fn(&str) -> String, DbError> {
    let local = run.local;
    let key = run.relations.key_json("f");
    let show = format!(
        "-- look whether the values given up can be shown
select pg_catalog.count(pg_catalog.convert_to(pg_catalog.concat({key}, f.old), 'UTF8')) from pg_temp.{table} f"
    );
    Ok(match local.is_utf8() {
        false
            if write_by_halving::if_possible(local, local.query(&show, &[]))
                .await?
                .is_none() =>
        {
            in_ascii
        }
        _ => str::to_owned,
    })
}

fn in_ascii(value: &str) -> String {
    format!("{}::jsonb", read_lossless_json::in_ascii(value))
}

/// Undoes releases that were of no use: if the row that needed the value was rejected, gives the value back to the
/// meter and removes the release from the recorded changes. `rejected` has the numbers of the rejected rows.
pub(in crate::engine) async fn give_back(
    run: &RunContext<'_>,
    released: &ClearedValues,
    rejected: &[i64],
) -> Result<(), DbError> {
    let RunContext {
        local, relations, ..
    } = *run;
    if released.rows == 0 || rejected.is_empty() {
        return Ok(());
    }
    let (meters, local_filter) = (&relations.local, &run.scope.local_filter);
    for (table, column) in &released.given_up {
        let name = quote::identifier(column);
        let give_back = RowRangeStatement {
            sql: format!(
                "-- give a value back
update {meters} l set {name} = f.old from pg_temp.{table} f
where {} and {local_filter} and l.{name} is null and f.k >= $1 and f.k <= $2",
                relations.same_key("l", "f")
            ),
            has_gaps: false,
            checks: !relations.stores_rows_unchanged,
            recount: None,
        };
        let list = format!(
            "-- list the values of rejected rows\nselect f.k from pg_temp.{table} f where f.n = any ($1)"
        );
        for row in local.query(&list, &[param::bigints(rejected)]).await? {
            let k: i64 = row.get(0);
            let one = RowRange { first: k, last: k };
            if let WriteAttemptOutcome::Written =
                write_by_halving::attempt(local, give_back.run(local, one)).await?
            {
                unrecord(run, table, column, k).await?;
            }
        }
    }
    Ok(())
}

async fn unrecord(run: &RunContext<'_>, table: &str, column: &str, k: i64) -> Result<(), DbError> {
    let (key, name) = (run.relations.key_json("f"), quote::literal(column));
    let (equals, escaped) = (quote::EQUALS, in_ascii(&key));
    let is_key = format!("(g.key {equals} {key} or g.key {equals} {escaped})");
    let of_it = format!("where f.k = $2 and g.run_id = $1 and {is_key}");
    let params = [param::uuid(run.job.run_id.as_uuid()), param::bigint(k)];
    let split = format!(
        "-- take a value given back from a deactivation
update meter_sync.meter_sync_change g set before = g.before - {name}::text, after = g.after - {name}::text
from pg_temp.{table} f {of_it} and g.action = 'deactivate'"
    );
    run.local.execute(&split, &params).await?;
    let delete = format!(
        "-- take a value given back from the changes
delete from meter_sync.meter_sync_change g using pg_temp.{table} f
{of_it} and g.action = 'update' and pg_catalog.jsonb_exists(g.before, {name})"
    );
    run.local.execute(&delete, &params).await.map(drop)
}
