//! The table `meter_sync_remote`: which remote database each mirror was last synced from. A run compares it with the
//! database that it finds, and so notices a remote that was restored, rewound or swapped for another.

use super::mirror_params;
use super::watermarks::WatermarkKey;
use crate::db::index_from_ordinality::index;
use crate::db::param::Param;
use crate::db::{DbError, Local, Tx, param};
use crate::model::TenantId;

/// What identifies a remote database and its state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteIdentity {
    /// The identifier that `initdb` gave the server. Copies of its data directory have the same one: standbys, and
    /// servers restored from a base backup.
    pub system_identifier: i64,
    /// The object id of the database. A database that is dropped and created anew has another one.
    pub database_oid: i64,
    /// A hash of the setting that names the remote table or query.
    pub source: String,
    /// The object id of the remote table; `None` for a view or a query, and for a table with row security, rules or
    /// triggers.
    pub relation_oid: Option<i64>,
    /// How far the server has come; `None` on a standby, which may lag.
    pub progress: Option<RemotePosition>,
}

/// How far a server has come. Both numbers only grow, unless the server is taken back to an earlier state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemotePosition {
    /// The number of the timeline. It grows when a standby is promoted, and when a server is recovered from an archive.
    pub timeline: i64,
    /// The position in the write-ahead log, in bytes, up to which it was written to disk. A crash does not take this
    /// back.
    pub flushed: i64,
}

/// The remote database as the last run saw it.
#[derive(Clone, Debug)]
pub struct KnownRemote {
    /// What identified that database.
    pub identity: RemoteIdentity,
    /// The last sums of row versions of the tenant's remote rows, newest first.
    pub version_sums: Vec<i64>,
    /// Why a strict brake waits for a person; `None` if it does not.
    pub refused: Option<String>,
}

const READ: &str = "\
-- look up the remote last seen
select system_identifier, database_oid, source, relation_oid, timeline, flushed, version_sums, refused
from meter_sync.meter_sync_remote where tenant = $1 and local_table = $2";

/// Reads the remote database from which a mirror was last synced; `None` if none is known.
pub async fn read(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
) -> Result<Option<KnownRemote>, DbError> {
    let params = mirror_params(tenant.as_str(), local_table);
    let found = tx.query_opt(READ, &params).await?;
    Ok(found.map(|row| {
        let progress = Option::zip(row.get(4), row.get(5));
        KnownRemote {
            identity: RemoteIdentity {
                system_identifier: row.get(0),
                database_oid: row.get(1),
                source: row.get(2),
                relation_oid: row.get(3),
                progress: progress.map(|(timeline, flushed)| RemotePosition { timeline, flushed }),
            },
            version_sums: row.get(6),
            refused: row.get(7),
        }
    }))
}

impl RemoteIdentity {
    fn params(&self) -> [Param<'_>; 6] {
        let progress = self.progress;
        [
            param::bigint(self.system_identifier),
            param::bigint(self.database_oid),
            param::text(self.source.as_str()),
            param::bigint(self.relation_oid),
            param::bigint(progress.map(|progress| progress.timeline)),
            param::bigint(progress.map(|progress| progress.flushed)),
        ]
    }
}

// A standby does not tell how far its primary has come, so what is known of the same server stays.
const KEEP: &str = "\
-- remember the remote
insert into meter_sync.meter_sync_remote as known
    (tenant, local_table, system_identifier, database_oid, source, relation_oid, timeline, flushed)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (tenant, local_table) do update set
    system_identifier = excluded.system_identifier, database_oid = excluded.database_oid,
    source = excluded.source, relation_oid = excluded.relation_oid, refused = null,
    timeline = case when excluded.timeline is not null or $9 or known.system_identifier <> excluded.system_identifier
                    then excluded.timeline else known.timeline end,
    flushed = case when excluded.flushed is not null or $9 or known.system_identifier <> excluded.system_identifier
                   then excluded.flushed else known.flushed end";

/// Stores the remote database from which a mirror was synced. `forgets_progress` says that the remote may have lost
/// commits. The stored progress of the server is then deleted even if the remote is a standby, which does not tell any
/// progress.
pub async fn keep(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
    identity: &RemoteIdentity,
    forgets_progress: bool,
) -> Result<(), DbError> {
    let mirror = mirror_params(tenant.as_str(), local_table);
    let params = mirror.into_iter().chain(identity.params());
    let params: Vec<_> = params.chain([param::boolean(forgets_progress)]).collect();
    tx.execute(KEEP, &params).await.map(drop)
}

/// How many sums of row versions are kept of each mirror.
const SUMS: i64 = 50;

// If the rows are as in an earlier state, the states after that are lost, and no state to come back to.
const KEEP_SUM: &str = "\
-- remember the sum of the remote versions
update meter_sync.meter_sync_remote
set version_sums = ($3::bigint || version_sums[coalesce(array_position(version_sums, $3) + 1, 1):])[:$4]
where tenant = $1 and local_table = $2 and version_sums[1] is distinct from $3";

/// Adds a sum of the row versions of the tenant's remote rows, unless it is the newest one already. Does nothing if
/// [`keep`] has not stored the database.
pub async fn keep_sum(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
    sum: i64,
) -> Result<(), DbError> {
    let [tenant, table] = mirror_params(tenant.as_str(), local_table);
    let params = [tenant, table, param::bigint(sum), param::bigint(SUMS)];
    tx.execute(KEEP_SUM, &params).await.map(drop)
}

const KEEP_REFUSAL: &str = "\
-- remember why a person must allow the remote
update meter_sync.meter_sync_remote set refused = $3 where tenant = $1 and local_table = $2";

/// Stores why a strict brake waits for a person. [`keep`] deletes this reason.
pub async fn keep_refusal(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
    why: &str,
) -> Result<(), DbError> {
    let [tenant, table] = mirror_params(tenant.as_str(), local_table);
    tx.execute(KEEP_REFUSAL, &[tenant, table, param::text(why)])
        .await
        .map(drop)
}

const OTHERS: &str = "\
-- look which mirrors were synced from another remote
select u.n from unnest($1, $2) with ordinality u (tenant, local_table, n)
join meter_sync.meter_sync_remote m on m.tenant = u.tenant and m.local_table = u.local_table
where m.system_identifier <> $3 or m.database_oid <> $4 or m.flushed > $5 or m.refused is not null
order by u.n";

/// Returns the indexes, in ascending order, of those mirrors that were last synced from another remote database or from
/// a later state of this one. Includes mirrors for which a strict brake waits for a person.
pub async fn synced_from_another(
    tx: &Tx<'_, Local>,
    mirrors: &[WatermarkKey],
    identity: &RemoteIdentity,
) -> Result<Vec<usize>, DbError> {
    let (tenants, tables) = columns(mirrors);
    let flushed = identity.progress.map(|progress| progress.flushed);
    let params = [
        param::texts(&tenants),
        param::texts(&tables),
        param::bigint(identity.system_identifier),
        param::bigint(identity.database_oid),
        param::bigint(flushed),
    ];
    let others = tx.query(OTHERS, &params).await?;
    Ok(others.iter().map(|row| index(row.get(0))).collect())
}

const KEEP_NEW: &str = "\
-- remember the remote of mirrors that have none
insert into meter_sync.meter_sync_remote
    (tenant, local_table, system_identifier, database_oid, source, relation_oid, timeline, flushed)
select u.tenant, u.local_table, $3, $4, $5, $6, $7, $8 from unnest($1, $2) u (tenant, local_table)
order by u.tenant, u.local_table
on conflict do nothing";

/// Stores the remote database for those of the mirrors that have none stored yet.
pub async fn keep_if_unknown(
    tx: &Tx<'_, Local>,
    mirrors: &[WatermarkKey],
    identity: &RemoteIdentity,
) -> Result<(), DbError> {
    let (tenants, tables) = columns(mirrors);
    let keys = [param::texts(&tenants), param::texts(&tables)];
    let params: Vec<_> = keys.into_iter().chain(identity.params()).collect();
    tx.execute(KEEP_NEW, &params).await.map(drop)
}

/// The tenants and the local tables of mirrors.
fn columns(mirrors: &[WatermarkKey]) -> (Vec<String>, Vec<String>) {
    let keys = mirrors.iter();
    keys.map(|key| (key.tenant.as_str().to_owned(), key.local_table.clone()))
        .unzip()
}
