//! Stores the sets of meters that the brake held back: their keys, so that a person can approve exactly these
//! meters.
//!
//! A set belongs to the run that showed it (table `meter_sync_held`). It is deleted as soon as a sync of the same
//! tenant and table succeeds, so a stored set is never older than the last successful sync. An approval is checked
//! key by key.
//!
//! A site may be refused every hour for days, so few sets are kept:
//!
//! - If several runs held back the same set, only the last of them keeps it. Sets count as the same if their digests
//!   are equal: the number of keys and two sums of key hashes.
//! - Of different sets the latest ones are kept, and all of the last hour. A person may take a while to decide, and
//!   the schedule may run every minute.

use tokio_postgres::Row;

use super::RunContext;
use crate::db::{DbError, Local, Tx, json, param};
use crate::model::{Fields, RunId};

/// SQL for the meters that the plan makes inactive: `key` is the key as the local table has it, `n` the number in
/// the plan.
fn keys(run: &RunContext<'_>) -> String {
    let relations = run.relations;
    let key = relations.key_json("l");
    let same_key = relations.same_key("l", "p");
    let (table, filter) = (&relations.local, &run.scope.local_filter);
    format!(
        "select {key} as key, p.n
    from pg_temp.meter_sync_plan p join {table} l on {same_key} and {filter}
    where p.action = 'deactivate' or p.is_switched_off"
    )
}

/// How many keys one row of the table stores, as one JSON array that Postgres compresses.
const KEYS_A_ROW: i64 = 1000;

/// How many of the latest sets of a tenant and table are kept, however old they are.
const SETS: i64 = 10;

const DROP_EARLIER: &str = "\
-- drop the held meters of earlier runs
delete from meter_sync.meter_sync_held h
using meter_sync.meter_sync_log g
where g.id = $1 and h.tenant = g.tenant and h.local_table = g.local_table and h.run_id <> g.id
  and h.run_id not in (
      select latest.id
      from (
          select l.id, l.started_at, row_number() over (order by l.seq desc) as place
          from meter_sync.meter_sync_log l
          where l.id in (select o.run_id from meter_sync.meter_sync_held o where o.tenant = g.tenant and o.local_table = g.local_table)
            and l.id <> g.id and l.held_back operator(pg_catalog.->>) 'digest' is distinct from $2) latest
      where latest.place <= $3 or latest.started_at > now() - interval '1 hour')";

/// Deletes the sets of earlier runs that are the same as this run's set, and those that are neither recent nor among
/// the latest.
async fn drop_earlier(local: &Tx<'_, Local>, run: RunId, digest: &str) -> Result<(), DbError> {
    let params = [
        param::uuid(run.as_uuid()),
        param::text(digest),
        param::bigint(SETS - 1),
    ];
    local.execute(DROP_EARLIER, &params).await.map(drop)
}

/// Stores the meters that the plan makes inactive under the job's run, and deletes sets of earlier runs that are no
/// longer needed. Returns the digest of the set: the number of keys, and two sums of hashes of the keys with tenant
/// and table.
pub(super) async fn keep(run: &RunContext<'_>) -> Result<String, DbError> {
    let job = run.job;
    let keys = keys(run);
    let sql = format!(
        "-- keep the held meters
with held as materialized (
    {keys}
), kept as (
    insert into meter_sync.meter_sync_held (run_id, n, tenant, local_table, keys)
    select g.id, h.n / {KEYS_A_ROW}, g.tenant, g.local_table, pg_catalog.jsonb_agg(h.key)
    from held h join meter_sync.meter_sync_log g on g.id = $1
    group by 1, 2
)
select pg_catalog.concat_ws('-', pg_catalog.count(*),
    pg_catalog.sum(pg_catalog.hashtextextended(($2 || h.key::text) collate pg_catalog.\"C\", 1)::numeric),
    pg_catalog.sum(pg_catalog.hashtextextended(($2 || h.key::text) collate pg_catalog.\"C\", 2)::numeric))
from held h"
    );
    let whose = format!("{} {} ", run.relations.local, job.tenant);
    let params = [param::uuid(job.run_id.as_uuid()), param::text(&*whose)];
    let digest: String = run.local.query_one(&sql, &params).await?.get(0);
    drop_earlier(run.local, job.run_id, &digest).await?;
    Ok(digest)
}

/// A `from` clause that joins the run `g` to its stored set `h`. The set is stored under that run, or under a later
/// one with the same set as long as no sync has succeeded since.
pub(crate) const SET_OF_RUN: &str = "\
meter_sync.meter_sync_log g
    join meter_sync.meter_sync_held h on h.tenant = g.tenant and h.local_table = g.local_table
    join meter_sync.meter_sync_log holder on holder.id = h.run_id and (holder.id = g.id
        or holder.held_back operator(pg_catalog.->>) 'digest' = g.held_back operator(pg_catalog.->>) 'digest'
        and not exists (
            select from meter_sync.meter_sync_log s
            where s.tenant = g.tenant and s.local_table = g.local_table and s.seq > g.seq and not s.dry_run
              and s.outcome in ('succeeded', 'no_change', 'partial')))";

/// How many of the meters that the plan makes inactive an earlier run has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// It showed all of these meters.
    All,
    /// It did not show this many of them.
    AllBut(i64),
    /// Nothing of that run can be approved: it held back no meters, was a run for another tenant or table, a sync
    /// has succeeded since, or its set is no longer stored.
    Nothing,
}

/// Compares the meters that the plan makes inactive with those that the run `shown` held back.
pub(super) async fn cover(run: &RunContext<'_>, shown: RunId) -> Result<Cover, DbError> {
    let keys = keys(run);
    let sql = format!(
        "-- compare with the meters that were approved
with shown as materialized (
    select k.key
    from {SET_OF_RUN}
    join meter_sync.meter_sync_log own on own.id = $1 and own.tenant = g.tenant and own.local_table = g.local_table
    cross join lateral pg_catalog.jsonb_array_elements(h.keys) k(key)
    where g.id = $2
)
select exists (select from shown),
       (select pg_catalog.count(*) from (select h.key from ({keys}) h except select s.key from shown s) x)"
    );
    let params = [run.job.run_id, shown].map(|run| param::uuid(run.as_uuid()));
    let row = run.local.query_one(&sql, &params).await?;
    Ok(match (row.get(0), row.get(1)) {
        (false, _) => Cover::Nothing,
        (true, 0) => Cover::All,
        (true, others) => Cover::AllBut(others),
    })
}

/// How many meters of each kind are named.
const NAMED: u32 = 5;

/// Why a meter would become inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is missing on the remote.
    Gone,
    /// Its remote row has an `active` that is not true.
    SwitchedOff,
}

/// The first meters of a kind, for people to read: their keys, and their names if there is a column `name`.
pub(super) async fn first(run: &RunContext<'_>, kind: Kind) -> Result<Vec<Fields>, DbError> {
    let relations = run.relations;
    let key = relations.key_json("l");
    let same_key = relations.same_key("l", "p");
    let name = match relations.names.iter().any(|name| name == "name") {
        true => "pg_catalog.jsonb_build_object('name', pg_catalog.left(l.name::text, 200))",
        false => "'{}'::jsonb",
    };
    let is_of_kind = match kind {
        Kind::Gone => "p.action = 'deactivate'",
        Kind::SwitchedOff => "p.is_switched_off",
    };
    let (table, filter) = (&relations.local, &run.scope.local_filter);
    let sql = |text: fn(&str) -> String| {
        format!(
            "-- name the first meters to be deactivated
select {}
from pg_temp.meter_sync_plan p
join {table} l on {same_key} and {filter}
where {is_of_kind} order by p.n limit {NAMED}",
            text(&format!("({key} || {name})"))
        )
    };
    let rows = run.local.query_json(sql, &[]).await?;
    let named = rows.iter().map(|row: &Row| json::fields(row.get(0)));
    Ok(named.collect())
}
