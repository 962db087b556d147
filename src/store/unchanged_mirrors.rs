//! The table `meter_sync_mirror`: when a sweep (a check of all mirrors) last found each mirror unchanged.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use crate::db::{DbError, Local, Tx, param};

/// Identifies a mirror: one tenant's meters in one local table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MirrorKey {
    /// The tenant's id, in its canonical spelling.
    pub tenant: String,
    /// The local table, with its schema, quoted where needed.
    pub local_table: String,
}

/// The keys of several mirrors as two arrays of equal length, in the form in which statements take them as parameters.
#[derive(Debug, Default)]
pub(super) struct MirrorKeys {
    pub(super) tenants: Vec<String>,
    pub(super) local_tables: Vec<String>,
}

impl MirrorKeys {
    pub(super) fn of<'a>(mirrors: impl IntoIterator<Item = &'a MirrorKey>) -> Self {
        let mut keys = Self::default();
        for key in mirrors {
            keys.tenants.push(key.tenant.clone());
            keys.local_tables.push(key.local_table.clone());
        }
        keys
    }
}

const MARK: &str = "\
-- note the mirrors found unchanged
insert into meter_sync.meter_sync_mirror (tenant, local_table, checked_at)
select u.tenant, u.local_table, $3 from unnest($1, $2) u (tenant, local_table)
on conflict (tenant, local_table) do update set checked_at = excluded.checked_at";

/// Records that a sweep found these mirrors unchanged at the time `at`. Replaces a recorded time even if it is later,
/// because a clock may have been set back.
pub async fn mark<'a>(
    tx: &Tx<'_, Local>,
    mirrors: impl IntoIterator<Item = &'a MirrorKey>,
    at: DateTime<Utc>,
) -> Result<(), DbError> {
    let keys = MirrorKeys::of(mirrors);
    let params = [
        param::texts(&keys.tenants),
        param::texts(&keys.local_tables),
        param::timestamptz(at),
    ];
    tx.execute(MARK, &params).await.map(drop)
}

const OF_TABLES: &str = "\
-- read when mirrors were found unchanged
select m.tenant, m.local_table, m.checked_at from meter_sync.meter_sync_mirror m
where m.local_table = any ($1)";

/// Returns when a sweep last found each mirror of these tables unchanged. A mirror that no sweep has found unchanged
/// is left out.
pub async fn of_tables(
    tx: &Tx<'_, Local>,
    tables: &[String],
) -> Result<Vec<(MirrorKey, DateTime<Utc>)>, DbError> {
    let rows = tx.query(OF_TABLES, &[param::texts(tables)]).await?;
    let checked = |row: &Row| {
        let key = MirrorKey {
            tenant: row.get(0),
            local_table: row.get(1),
        };
        (key, row.get(2))
    };
    Ok(rows.iter().map(checked).collect())
}
