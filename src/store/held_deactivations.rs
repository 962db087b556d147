//! The table `meter_sync_held`: the sets of meters that the brake held back. The brake refuses a plan that would
//! deactivate too many meters. The keys of these meters are stored, so that a person can approve exactly these
//! deactivations.
//!
//! A set belongs to the run whose plan was refused. When a sync of the same tenant and table succeeds, the set is
//! deleted, so no stored set is older than the last successful sync. When a later run uses an approval, each key of its
//! own plan is looked up in the approved set.
//!
//! The brake may refuse the runs of a site every hour for days, so few sets are kept:
//!
//! - If several runs held back the same set, only the last of them keeps it. Sets count as the same if their digests
//!   are equal. A digest is the number of keys and two sums of key hashes.
//! - Of different sets, the latest `SETS` are kept, and all sets of the last hour. A person may need a while to decide,
//!   and the schedule may start a run every minute.

use crate::db::{DbError, Local, Tx, param};
use crate::model::RunId;

/// The maximum number of keys in one row of the table, which stores them as one JSON array that Postgres compresses.
const KEYS_A_ROW: i64 = 1000;

/// How many of the latest sets of a tenant and table are kept, even if they are older than an hour.
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

/// Deletes sets of meters that earlier runs of the same tenant and table held back. Keeps the latest sets and those of
/// the last hour, but none with the given digest, because `run` has stored the same set again.
async fn drop_earlier(local: &Tx<'_, Local>, run: RunId, digest: &str) -> Result<(), DbError> {
    let params = [
        param::uuid(run.as_uuid()),
        param::text(digest),
        param::bigint(SETS - 1),
    ];
    local.execute(DROP_EARLIER, &params).await.map(drop)
}

/// Stores the set of meters that a run held back, and deletes sets of earlier runs that are no longer needed. Returns
/// the digest of the set. `keys` is SQL that selects the key of each meter as `key` and its number in the set as `n`.
/// `whose` names the tenant and table; it is part of each hash, so that sets of different tenants and tables have
/// different digests.
pub async fn keep(
    tx: &Tx<'_, Local>,
    run: RunId,
    keys: &str,
    whose: &str,
) -> Result<String, DbError> {
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
    let params = [param::uuid(run.as_uuid()), param::text(whose)];
    let digest: String = tx.query_one(&sql, &params).await?.get(0);
    drop_earlier(tx, run, &digest).await?;
    Ok(digest)
}

/// SQL `from` clause that joins a run `g` to the rows `h` of the set of meters that it held back. The set is stored
/// under the run itself, or under a later run that held back the same set while no sync succeeded in between.
const SET_OF_RUN: &str = "\
meter_sync.meter_sync_log g
    join meter_sync.meter_sync_held h on h.tenant = g.tenant and h.local_table = g.local_table
    join meter_sync.meter_sync_log holder on holder.id = h.run_id and (holder.id = g.id
        or holder.held_back operator(pg_catalog.->>) 'digest' = g.held_back operator(pg_catalog.->>) 'digest'
        and not exists (
            select from meter_sync.meter_sync_log s
            where s.tenant = g.tenant and s.local_table = g.local_table and s.seq > g.seq and not s.dry_run
              and s.outcome in ('succeeded', 'no_change', 'partial')))";

/// How many of the meters that a run wants to deactivate are in the set that a person approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalCoverage {
    /// All of them are in the approved set.
    All,
    /// This many of them are not in the approved set.
    AllBut(i64),
    /// There is no set to compare with. Either the approved run held back no meters or belongs to another tenant or
    /// table, or a sync has succeeded since, or the set was deleted to make room for later ones.
    Nothing,
}

/// Compares the meters that the run `run` wants to deactivate with those that the earlier run `shown` held back and
/// that a person has approved. `keys` is SQL that selects the keys of the meters of `run`, as for [`keep`].
pub async fn cover(
    tx: &Tx<'_, Local>,
    run: RunId,
    shown: RunId,
    keys: &str,
) -> Result<ApprovalCoverage, DbError> {
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
    let params = [run, shown].map(|run| param::uuid(run.as_uuid()));
    let row = tx.query_one(&sql, &params).await?;
    Ok(match (row.get(0), row.get(1)) {
        (false, _) => ApprovalCoverage::Nothing,
        (true, 0) => ApprovalCoverage::All,
        (true, others) => ApprovalCoverage::AllBut(others),
    })
}

const HAS_HELD: &str = "\
-- look for the table of held meters
select pg_catalog.to_regclass('meter_sync.meter_sync_held') is not null";

/// Whether the meters that a run held back are still stored, so that a person can approve them. They are deleted when a
/// later sync succeeds, and when later runs have held back enough other sets.
pub async fn can_be_approved(tx: &Tx<'_, Local>, id: RunId) -> Result<bool, DbError> {
    // The tables of an earlier version do not include this one.
    let exists: bool = tx.query_one(HAS_HELD, &[]).await?.get(0);
    let held = format!(
        "-- look for the held meters\nselect exists (select from {SET_OF_RUN} where g.id = $1)"
    );
    let params = [param::uuid(id.as_uuid())];
    Ok(exists && tx.query_one(&held, &params).await?.get(0))
}
