//! The table `meter_sync_remote`: which remote database each mirror was last synced from. A run compares it with the
//! database that it finds, and so notices a remote that was restored, rewound or swapped for another.

use chrono::{DateTime, Utc};

use super::mirror_params;
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
    /// The object id of the remote table or view; `None` for a query.
    pub relation_oid: Option<i64>,
    /// The timeline of the server's write-ahead log, and the number of its next transaction. Both only grow, unless the
    /// server is taken back to an earlier state. `None` on a standby, which may lag.
    pub progress: Option<RemoteProgress>,
}

/// How far a server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteProgress {
    /// The number of the timeline. It grows when a standby is promoted, and when a server is recovered from an archive.
    pub timeline: i64,
    /// One more than the number of the newest transaction that had ended.
    pub next_transaction: i64,
}

/// The remote database as the last run saw it.
#[derive(Clone, Debug)]
pub struct KnownRemote {
    /// What identified it.
    pub identity: RemoteIdentity,
    /// When a run last stored it.
    pub seen_at: DateTime<Utc>,
    /// The last sums of row versions of the tenant's remote rows, newest first.
    pub version_sums: Vec<i64>,
}

const READ: &str = "\
-- look up the remote last seen
select system_identifier, database_oid, source, relation_oid, timeline, next_transaction, seen_at, version_sums
from meter_sync.meter_sync_remote where tenant = $1 and local_table = $2";

/// Reads the remote database from which a mirror was last synced; `None` before the first sync.
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
                progress: progress.map(|(timeline, next_transaction)| RemoteProgress {
                    timeline,
                    next_transaction,
                }),
            },
            seen_at: row.get(6),
            version_sums: row.get(7),
        }
    }))
}

// A standby does not tell how far the primary has come, so what is known of that stays, unless it is to be forgotten.
const KEEP: &str = "\
-- remember the remote
insert into meter_sync.meter_sync_remote
    (tenant, local_table, system_identifier, database_oid, source, relation_oid, timeline, next_transaction, seen_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, now())
on conflict (tenant, local_table) do update set
    system_identifier = excluded.system_identifier, database_oid = excluded.database_oid,
    source = excluded.source, relation_oid = excluded.relation_oid,
    timeline = coalesce(excluded.timeline, case when not $9 then meter_sync_remote.timeline end),
    next_transaction = coalesce(excluded.next_transaction, case when not $9 then meter_sync_remote.next_transaction end),
    seen_at = excluded.seen_at";

/// Stores the remote database from which a mirror was synced. If `has_changed`, what is known of its progress is of
/// another server or of a state that is lost, and is forgotten.
pub async fn keep(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
    identity: &RemoteIdentity,
    has_changed: bool,
) -> Result<(), DbError> {
    let [tenant, table] = mirror_params(tenant.as_str(), local_table);
    let progress = identity.progress;
    let params = [
        tenant,
        table,
        param::bigint(identity.system_identifier),
        param::bigint(identity.database_oid),
        param::text(identity.source.as_str()),
        param::bigint(identity.relation_oid),
        param::bigint(progress.map(|progress| progress.timeline)),
        param::bigint(progress.map(|progress| progress.next_transaction)),
        param::boolean(has_changed),
    ];
    tx.execute(KEEP, &params).await.map(drop)
}

/// How many sums of row versions are kept of each mirror.
const SUMS: i64 = 50;

const KEEP_STATE: &str = "\
-- remember the state of the remote
update meter_sync.meter_sync_remote set
    next_transaction = greatest(next_transaction, case when next_transaction is not null then $3::bigint end),
    version_sums = case when version_sums[1] = $4 then version_sums else ($4::bigint || version_sums)[:$5] end
where tenant = $1 and local_table = $2";

/// Stores the state of the remote database that a mirror was synced from: the number of its next transaction, and the
/// sum of the row versions of the tenant's rows. Does nothing if [`keep`] has not stored the database.
pub async fn keep_state(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
    next_transaction: i64,
    version_sum: i64,
) -> Result<(), DbError> {
    let [tenant, table] = mirror_params(tenant.as_str(), local_table);
    let params = [
        tenant,
        table,
        param::bigint(next_transaction),
        param::bigint(version_sum),
        param::bigint(SUMS),
    ];
    tx.execute(KEEP_STATE, &params).await.map(drop)
}
