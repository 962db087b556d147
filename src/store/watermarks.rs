//! The table `meter_sync_seen`: the watermark of each mirror. A watermark holds the number of rows of both sides and
//! the sums of their row versions, from the moment at which both sides were last found equal. If a run finds the same
//! numbers and sums again, no row has changed and the run need not compare the rows.
//!
//! A watermark is written in the local transaction that makes the sides equal, or that finds them equal.

use super::mirror_params;
use crate::db::count_writes::WriteCounts;
use crate::db::index_from_ordinality::index;
use crate::db::{DbError, Local, Tx, param};
use crate::model::TenantId;

/// A pair of values, one for each side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerSide<T> {
    /// The value for the remote database.
    pub remote: T,
    /// The value for the local database.
    pub local: T,
}

/// The number of rows on one side, and the sum of their versions: the bitwise XOR of a hash of each row's `ctid` and
/// `xmin`. The order of the rows does not matter.
pub type VersionSum = (i64, i64);

/// The sums of the row versions of both sides at a moment when both were equal.
#[derive(Clone, Debug)]
pub struct Watermark {
    /// The number of rows and the sum of versions on each side.
    pub totals: PerSide<VersionSum>,
    /// The ID of the oldest transaction that was still running on the remote at that moment. Row versions that appear
    /// later were written by it or by a newer transaction.
    pub horizon: i64,
    /// How often rows of the remote table, of any tenant, were written until then; `None` if it is not known
    /// (see [`count_writes`](crate::db::count_writes)).
    pub remote_writes: Option<WriteCounts>,
}

const READ: &str = "\
-- look up the versions last seen
select remote_rows, remote_sum, local_rows, local_sum, remote_horizon, remote_writes, remote_deletes,
       exists (select from meter_sync.meter_sync_remote m where m.tenant = $1 and m.local_table = $2), basis = $3
from meter_sync.meter_sync_seen
where tenant = $1 and local_table = $2";

/// The stored watermark of a mirror.
#[derive(Clone, Debug)]
pub struct StoredWatermark {
    /// The watermark; `None` if it was stored for another basis.
    pub watermark: Option<Watermark>,
    /// Whether it is known from which remote database the mirror was synced (see `remote_identities`).
    pub is_remote_known: bool,
}

/// Reads the watermark of a mirror. `basis` is a hash of the table files and settings; row versions can be compared
/// only while these stay the same. Returns `None` if there is no watermark.
pub async fn read(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
    basis: &str,
) -> Result<Option<StoredWatermark>, DbError> {
    let [tenant, table] = mirror_params(tenant.as_str(), local_table);
    let params = [tenant, table, param::text(basis)];
    let found = tx.query_opt(READ, &params).await?;
    Ok(found.map(|row| {
        let watermark = Watermark {
            totals: PerSide {
                remote: (row.get(0), row.get(1)),
                local: (row.get(2), row.get(3)),
            },
            horizon: row.get(4),
            remote_writes: writes(row.get(5), row.get(6)),
        };
        StoredWatermark {
            watermark: row.get::<_, bool>(8).then_some(watermark),
            is_remote_known: row.get(7),
        }
    }))
}

fn writes(written: Option<i64>, deleted: Option<i64>) -> Option<WriteCounts> {
    let (written, deleted) = written.zip(deleted)?;
    Some(WriteCounts { written, deleted })
}

/// Stores a watermark, and replaces the mirror's last one.
pub async fn keep(
    tx: &Tx<'_, Local>,
    key: WatermarkKey,
    watermark: &Watermark,
) -> Result<(), DbError> {
    let totals = watermark.totals.clone();
    let new = [NewWatermark { key, totals }];
    keep_all(tx, &new, watermark.horizon, watermark.remote_writes).await
}

/// Identifies a watermark: its mirror and its basis.
#[derive(Clone, Debug)]
pub struct WatermarkKey {
    /// The tenant of the mirror.
    pub tenant: TenantId,
    /// The local table of the mirror, quoted.
    pub local_table: String,
    /// A hash of the table files and settings. Row versions can be compared only while these stay the same.
    pub basis: String,
}

/// A watermark to be stored by [`keep_all`], which takes its horizon separately.
#[derive(Clone, Debug)]
pub struct NewWatermark {
    /// The mirror, and a hash of the table files and settings under which the versions can be compared.
    pub key: WatermarkKey,
    /// The number of rows and the sum of versions on each side.
    pub totals: PerSide<VersionSum>,
}

// Postgres accepts `unnest` with several arrays only without its schema. In that form it never means another function.
const KEEP: &str = "\
-- remember the versions
insert into meter_sync.meter_sync_seen
    (tenant, local_table, basis, remote_rows, remote_sum, local_rows, local_sum, remote_horizon,
     remote_writes, remote_deletes)
select u.tenant, u.local_table, u.basis, u.remote_rows, u.remote_sum, u.local_rows, u.local_sum, $8, $9, $10
from unnest($1, $2, $3, $4, $5, $6, $7) u (tenant, local_table, basis, remote_rows, remote_sum, local_rows, local_sum)
order by u.tenant
on conflict (tenant, local_table) do update set
    basis = excluded.basis, remote_rows = excluded.remote_rows, remote_sum = excluded.remote_sum,
    local_rows = excluded.local_rows, local_sum = excluded.local_sum,
    remote_horizon = excluded.remote_horizon, remote_writes = excluded.remote_writes,
    remote_deletes = excluded.remote_deletes";

/// Stores watermarks, all with the same `horizon` and `remote_writes` (see [`Watermark`]). The caller must be sure of
/// two things:
///
/// - Both sides were equal in the remote snapshot in which the remote versions and the horizon were read.
/// - The local versions were read before the local rows were compared.
///
/// A run may store another watermark of the same tenant meanwhile. Either watermark is valid for the versions that it
/// holds.
pub async fn keep_all(
    local: &Tx<'_, Local>,
    watermarks: &[NewWatermark],
    horizon: i64,
    remote_writes: Option<WriteCounts>,
) -> Result<(), DbError> {
    let texts = |text: fn(&WatermarkKey) -> &str| -> Vec<String> {
        let keys = watermarks.iter().map(|one| &one.key);
        keys.map(|key| text(key).to_owned()).collect()
    };
    let numbers = |number: fn(&PerSide<VersionSum>) -> i64| -> Vec<i64> {
        watermarks.iter().map(|one| number(&one.totals)).collect()
    };
    let tenants = texts(|key| key.tenant.as_str());
    let (tables, bases) = (texts(|key| &key.local_table), texts(|key| &key.basis));
    let remote_rows = numbers(|totals| totals.remote.0);
    let remote_sums = numbers(|totals| totals.remote.1);
    let local_rows = numbers(|totals| totals.local.0);
    let local_sums = numbers(|totals| totals.local.1);
    let params = [
        param::texts(&tenants),
        param::texts(&tables),
        param::texts(&bases),
        param::bigints(&remote_rows),
        param::bigints(&remote_sums),
        param::bigints(&local_rows),
        param::bigints(&local_sums),
        param::bigint(horizon),
        param::bigint(remote_writes.map(|writes| writes.written)),
        param::bigint(remote_writes.map(|writes| writes.deleted)),
    ];
    local.execute(KEEP, &params).await.map(drop)
}

const TOTAL: &str = "\
-- sum up the watermarks
select pg_catalog.count(*),
       coalesce(pg_catalog.sum(remote_rows), 0)::bigint, coalesce(pg_catalog.bit_xor(remote_sum), 0),
       coalesce(pg_catalog.sum(local_rows), 0)::bigint, coalesce(pg_catalog.bit_xor(local_sum), 0)
from meter_sync.meter_sync_seen
where tenant = any ($1) and local_table = $2 and basis = $3";

/// Returns how many of these tenants have a watermark for this table and basis. Also returns, for each side, the total
/// of the numbers of rows and the XOR of the sums of versions of these watermarks.
pub async fn total(
    local: &Tx<'_, Local>,
    table: &str,
    basis: &str,
    tenants: &[String],
) -> Result<(i64, PerSide<VersionSum>), DbError> {
    let params = [
        param::texts(tenants),
        param::text(table),
        param::text(basis),
    ];
    let row = local.query_one(TOTAL, &params).await?;
    let totals = PerSide {
        remote: (row.get(1), row.get(2)),
        local: (row.get(3), row.get(4)),
    };
    Ok((row.get(0), totals))
}

const OF_TABLES: &str = "\
-- look up the watermarks of tables
select u.n, s.remote_rows, s.remote_sum, s.local_rows, s.local_sum
from unnest($1, $2, $3) with ordinality u (tenant, local_table, basis, n)
join meter_sync.meter_sync_seen s on s.tenant = u.tenant and s.local_table = u.local_table and s.basis = u.basis";

/// Reads the number of rows and the sum of versions from several watermarks, in the order of `keys`. An element of the
/// result is `None` if its key is `None`, or if [`read`] would return `None` for its key.
pub async fn of_tables(
    local: &Tx<'_, Local>,
    keys: &[Option<WatermarkKey>],
) -> Result<Vec<Option<PerSide<VersionSum>>>, DbError> {
    let text = |text: fn(&WatermarkKey) -> &str| -> Vec<String> {
        let texts = keys.iter().map(|key| key.as_ref().map_or("", text));
        texts.map(str::to_owned).collect()
    };
    let (tenants, tables) = (
        text(|key| key.tenant.as_str()),
        text(|key| &key.local_table),
    );
    let bases = text(|key| &key.basis);
    let params = [
        param::texts(&tenants),
        param::texts(&tables),
        param::texts(&bases),
    ];
    let mut found = vec![None; keys.len()];
    for row in local.query(OF_TABLES, &params).await? {
        if let Some(known) = found.get_mut(index(row.get(0))) {
            *known = Some(PerSide {
                remote: (row.get(1), row.get(2)),
                local: (row.get(3), row.get(4)),
            });
        }
    }
    Ok(found)
}

const FORGET: &str = "\
-- forget the versions
delete from meter_sync.meter_sync_seen where tenant = $1 and local_table = $2";

/// Deletes the watermark of a mirror, so that the next run compares the contents of the rows.
pub async fn forget(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
) -> Result<(), DbError> {
    let params = mirror_params(tenant.as_str(), local_table);
    tx.execute(FORGET, &params).await.map(drop)
}
