//! The table `meter_sync_proof`: the last comparison of all meters of each mirror, with the digests of both sides. How a
//! run itself showed that both sides are equal is in its row of the log, where this module reads it, too.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::log::LogFilter;
use super::mirror_params;
use crate::db::{DbError, Local, Tx, param};
use crate::model::{ProofMethod, TenantId};

/// A comparison of all meters of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredComparison {
    /// What was compared: contents, by digests, or every value.
    pub method: ProofMethod,
    /// Whether both sides had the same meters.
    pub are_equal: bool,
    /// Whether the sides differed although row versions showed no change since the last run.
    pub is_unexplained: bool,
    /// The number of remote meters, and their digest.
    pub remote: (i64, String),
    /// The number of local meters, and their digest.
    pub local: (i64, String),
    /// The seeds of the digests.
    pub seeds: [u64; 2],
    /// Whether rows were hashed by SHA-256.
    pub is_portable: bool,
    /// Whether remote values of another type were cast to the local type.
    pub casts: bool,
}

/// A run after which both sides were equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunProof {
    /// When the run ended.
    pub at: DateTime<Utc>,
    /// How it is known.
    pub method: ProofMethod,
    /// The number of remote meters.
    pub meters: i64,
}

/// The latest proofs of a mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatestProofs {
    /// The last run that succeeded, if both sides were surely equal after it; `None` otherwise.
    pub run: Option<RunProof>,
    /// The last comparison of all meters, and when it began or the run before it ended; `None` before the first.
    pub comparison: Option<(DateTime<Utc>, StoredComparison)>,
}

const KEEP: &str = "\
-- store a comparison
insert into meter_sync.meter_sync_proof as p
    (tenant, local_table, compared_at, method, are_equal, is_unexplained,
     remote_meters, remote_digest, local_meters, local_digest, seeds, is_portable, casts)
values ($1, $2, $13, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (tenant, local_table) do update set
    compared_at = excluded.compared_at, method = excluded.method, are_equal = excluded.are_equal,
    is_unexplained = excluded.is_unexplained or not excluded.are_equal and p.is_unexplained and not exists (
        select from meter_sync.meter_sync_log l
        where l.tenant = $1 and l.local_table = $2 and l.outcome in ('succeeded', 'no_change') and l.finished_at > p.compared_at
    ),
    remote_meters = excluded.remote_meters,
    remote_digest = excluded.remote_digest, local_meters = excluded.local_meters,
    local_digest = excluded.local_digest, seeds = excluded.seeds, is_portable = excluded.is_portable,
    casts = excluded.casts
where p.compared_at <= excluded.compared_at or p.compared_at > pg_catalog.clock_timestamp()
returning is_unexplained";

/// Stores a comparison, and replaces the mirror's last one, unless that is newer. `at` is the end of the run that it
/// followed, or when it began.
///
/// A difference that was unexplained stays so until a run succeeds. Returns whether the stored one is unexplained.
pub async fn keep(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
    at: DateTime<Utc>,
    comparison: &StoredComparison,
) -> Result<bool, DbError> {
    let [tenant, table] = mirror_params(tenant.as_str(), local_table);
    let seeds = comparison.seeds.map(u64::cast_signed);
    let params = [
        tenant,
        table,
        param::text(comparison.method.as_str()),
        param::boolean(comparison.are_equal),
        param::boolean(comparison.is_unexplained),
        param::bigint(comparison.remote.0),
        param::text(comparison.remote.1.as_str()),
        param::bigint(comparison.local.0),
        param::text(comparison.local.1.as_str()),
        param::bigints(&seeds),
        param::boolean(comparison.is_portable),
        param::boolean(comparison.casts),
        param::timestamptz(at),
    ];
    let kept = tx.query_opt(KEEP, &params).await?;
    Ok(kept.map_or(comparison.is_unexplained, |row| row.get(0)))
}

const DISPROVE: &str = "\
-- take back what the last run proved
update meter_sync.meter_sync_log set proved = null
where id = (
    select l.id from meter_sync.meter_sync_log l
    where l.local_table = $1 and l.tenant = $2 and l.outcome in ('succeeded', 'no_change')
    order by l.seq desc limit 1
)";

/// Takes back what the last run that succeeded proved, because the sides differed after it although nothing had changed.
pub async fn disprove(tx: &Tx<'_, Local>, log: LogFilter<'_>) -> Result<(), DbError> {
    tx.execute(DISPROVE, &log.params()).await.map(drop)
}

const LATEST: &str = "\
-- read how both sides were shown to be equal
select r.finished_at, r.proved, r.meters, p.compared_at, p.method, p.are_equal, p.is_unexplained,
       p.remote_meters, p.remote_digest, p.local_meters, p.local_digest, p.seeds, p.is_portable, p.casts
from (select) one
left join lateral (
    select l.finished_at, l.proved, l.inserted + l.updated + l.reactivated + l.unchanged as meters
    from meter_sync.meter_sync_log l
    where l.local_table = $1 and l.tenant = $2 and l.outcome in ('succeeded', 'no_change')
    order by l.seq desc limit 1
) r on true
left join meter_sync.meter_sync_proof p on p.local_table = $1 and p.tenant = $2";

/// Reads the latest proofs of the mirror. The caller must know that the table exists.
pub async fn latest(tx: &Tx<'_, Local>, log: LogFilter<'_>) -> Result<LatestProofs, DbError> {
    let row = tx.query_one(LATEST, &log.params()).await?;
    Ok(LatestProofs {
        run: run_proof(&row),
        comparison: comparison(&row),
    })
}

fn method(row: &Row, column: usize) -> Option<ProofMethod> {
    let text: Option<&str> = row.get(column);
    ProofMethod::parse(text?)
}

fn run_proof(row: &Row) -> Option<RunProof> {
    Some(RunProof {
        at: row.get::<_, Option<_>>(0)?,
        method: method(row, 1)?,
        meters: row.get(2),
    })
}

fn comparison(row: &Row) -> Option<(DateTime<Utc>, StoredComparison)> {
    let compared_at: DateTime<Utc> = row.get::<_, Option<_>>(3)?;
    let seeds = <[i64; 2]>::try_from(row.get::<_, Vec<i64>>(11)).ok()?;
    let comparison = StoredComparison {
        method: method(row, 4)?,
        are_equal: row.get(5),
        is_unexplained: row.get(6),
        remote: (row.get(7), row.get(8)),
        local: (row.get(9), row.get(10)),
        seeds: seeds.map(i64::cast_unsigned),
        is_portable: row.get(12),
        casts: row.get(13),
    };
    Some((compared_at, comparison))
}
