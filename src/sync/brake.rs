//! Holds back a plan that looks like the remote's mistake rather than its will.

use tokio_postgres::Row;

use crate::db::{DbError, Local, Tx, json, quote};
use crate::meter::{Fields, HeldBack, Permission};

use super::plan::Plan;
use super::read::Staged;
use super::{Job, Shape, SyncError};

/// Refuses a plan that empties the site, or that deactivates more meters than the settings let pass,
/// unless a person allowed it. Who allowed one plan allowed no other, however alike.
pub(super) async fn check(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    plan: &Plan,
    staged: &Staged,
) -> Result<(), SyncError> {
    // Rows that cannot be told from each other tell of no meter.
    let is_empty = staged.rows == staged.unidentified;
    let deactivated = plan.counts.deactivated;
    let are_few = deactivated <= i64::from(job.limits.max_deactivated_rows);
    // Counting the meters takes a look at all of them, so it waits till it matters.
    if *job.mass_deactivation == Permission::Any || are_few && !is_empty {
        return Ok(());
    }
    let percent = i64::from(job.limits.max_deactivated_percent);
    // Of so many active ones this is a small enough share, however many more there are.
    let enough = match percent {
        0 => i64::MAX,
        percent => (deactivated * 100 + percent - 1) / percent,
    };
    if !is_empty && count_active(local, shape, enough).await? == enough {
        return Ok(());
    }
    let active = count_active(local, shape, i64::MAX).await?;
    let is_emptied = is_empty && active > 0;
    let are_many = deactivated * 100 > active * percent && !are_few;
    if !is_emptied && !are_many {
        return Ok(());
    }
    let held = HeldBack {
        digest: digest(local, shape, job).await?,
        deactivated,
        active,
        first: first(local, shape).await?,
    };
    if *job.mass_deactivation == Permission::Plan(held.digest.clone()) {
        return Ok(());
    }
    let (tenant, held) = (job.tenant.clone(), Box::new(held));
    Err(match is_emptied {
        true => SyncError::SourceEmpty { tenant, held },
        false => SyncError::MassDeactivation { tenant, held },
    })
}

/// What tells the plan from another one, also of another tenant or for another table: how many rows it has, and two
/// sums over what each is and becomes.
async fn digest(local: &Tx<'_, Local>, shape: &Shape, job: &Job<'_>) -> Result<String, DbError> {
    let whose = quote::literal(&format!("{} {}", shape.local, job.tenant));
    let key = shape.key_json("p");
    let same_key = shape.same_key("s", "p");
    let staged = shape.list("s", &shape.names);
    let sql = format!(
        "-- digest the plan
select pg_catalog.concat_ws('-', pg_catalog.count(*),
    pg_catalog.sum(pg_catalog.hashtextextended(t.line, 1)::numeric),
    pg_catalog.sum(pg_catalog.hashtextextended(t.line, 2)::numeric))
from (
    select pg_catalog.concat_ws(' ', {whose}, p.action, {key}, row({staged})::text) collate pg_catalog.\"C\" as line
    from pg_temp.meter_sync_plan p
    left join pg_temp.meter_sync_stage s on {same_key}
) t"
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}

/// How many of the meters are named.
const NAMED: u32 = 5;

/// The first meters that the plan deactivates.
async fn first(local: &Tx<'_, Local>, shape: &Shape) -> Result<Vec<Fields>, DbError> {
    let key = shape.key_json("l");
    let same_key = shape.same_key("l", "p");
    let name = match shape.names.iter().any(|name| name == "name") {
        true => "pg_catalog.jsonb_build_object('name', pg_catalog.left(l.name::text, 200))",
        false => "'{}'::jsonb",
    };
    let sql = format!(
        "-- name the first meters to be deactivated
select ({key} || {name})::text
from pg_temp.meter_sync_plan p
join {} l on {same_key} and {}
where p.action = 'deactivate' order by p.n limit {NAMED}",
        shape.local, shape.local_filter
    );
    let rows = local.query(&sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row: &Row| json::fields(row.get(0)))
        .collect())
}

/// How many active meters there are, counted no further than `most`.
async fn count_active(local: &Tx<'_, Local>, shape: &Shape, most: i64) -> Result<i64, DbError> {
    let sql = format!(
        "-- count the active meters
select pg_catalog.count(*) from (select from {} l where {} and l.{} limit {most}) l",
        shape.local,
        shape.local_filter,
        quote::identifier(&shape.active)
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}
