//! The table `meter_sync_column`: the columns that runs have synced, and what the remote has changed about them since
//! (drift).

use serde_json::{Value, json};
use tokio_postgres::Row;

use super::mirror_params;
use super::unchanged_mirrors::{MirrorKey, MirrorKeys};
use crate::db::index_from_ordinality::index;
use crate::db::param::Param;
use crate::db::{DbError, Local, Tx, param};
use crate::model::TenantId;

/// A column that is or was synced, as earlier runs recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedColumn {
    /// The name of the local column.
    pub name: String,
    /// A hash of the setting that names the remote table or query from which the column was read.
    pub source: String,
    /// The object id of the remote table or view; 0 for a query.
    pub remote_relation: u32,
    /// The column's number in the remote table or view; 0 for a query.
    pub remote_number: i16,
    /// The type of the remote column. If `drift` is [`ColumnDrift::Retyped`], this is the type before the change.
    pub remote_type: String,
    /// The type of the local column.
    pub local_type: String,
    /// What the remote has changed about the column, until the local table or the settings are adapted to it, or the
    /// remote undoes it. `None` if there is no such change.
    pub drift: Option<ColumnDrift>,
}

/// What the remote changed about a synced column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnDrift {
    /// The remote no longer has the column: it was dropped, or renamed in a way that cannot be recognized.
    Missing,
    /// The remote column now has this name.
    Renamed(String),
    /// The remote column now has this type.
    Retyped(String),
    /// The remote column now has this name, and another remote column has its old name.
    Replaced(String),
}

/// The columns of a mirror (one tenant's meters in one local table) as earlier runs recorded them.
#[derive(Clone, Debug, Default)]
pub struct KnownColumns {
    /// The recorded columns; empty before the first run.
    pub columns: Vec<RecordedColumn>,
    /// Whether the encoding of the local database can store every Unicode character.
    pub is_unicode: bool,
}

const KNOWN: &str = "\
-- read the known columns
select c.column_name, c.source, c.remote_relation, c.remote_number, c.remote_type, c.local_type, c.drift, c.drifted_to
from meter_sync.meter_sync_column c
where c.tenant = $1 and c.local_table = $2";

const IS_UNICODE: &str = "\
-- look whether the database stores every character
select pg_catalog.getdatabaseencoding() in ('UTF8', 'SQL_ASCII')";

/// Reads the recorded columns of a mirror.
pub async fn known(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
) -> Result<KnownColumns, DbError> {
    Ok(KnownColumns {
        is_unicode: is_unicode(tx).await?,
        columns: read(tx, KNOWN, &mirror_params(tenant.as_str(), local_table)).await?,
    })
}

/// Reads the recorded columns of a mirror whose `drift` is set: the remote has changed them, and this is not settled
/// yet.
pub async fn drifted(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
) -> Result<Vec<RecordedColumn>, DbError> {
    let drifted = format!("{KNOWN} and c.drift is not null");
    read(tx, &drifted, &mirror_params(tenant.as_str(), local_table)).await
}

const COUNT_DRIFTED: &str = "\
-- count the columns that have drifted
select count(*)
from unnest($1, $2) u (tenant, local_table)
join meter_sync.meter_sync_column c on c.tenant = u.tenant and c.local_table = u.local_table
where c.drift is not null";

/// Counts the recorded columns of these mirrors whose `drift` is set: the remote has changed them, and this is not
/// settled yet.
pub async fn count_drifted(tx: &Tx<'_, Local>, mirrors: &[MirrorKey]) -> Result<i64, DbError> {
    let keys = MirrorKeys::of(mirrors);
    let params = [
        param::texts(&keys.tenants),
        param::texts(&keys.local_tables),
    ];
    Ok(tx.query_one(COUNT_DRIFTED, &params).await?.get(0))
}

async fn is_unicode(tx: &Tx<'_, Local>) -> Result<bool, DbError> {
    Ok(tx.query_one(IS_UNICODE, &[]).await?.get(0))
}

async fn read(
    tx: &Tx<'_, Local>,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Vec<RecordedColumn>, DbError> {
    Ok(tx.query(sql, params).await?.iter().map(column).collect())
}

fn column(row: &Row) -> RecordedColumn {
    let to: Option<String> = row.get(7);
    let to = to.unwrap_or_default();
    RecordedColumn {
        name: row.get(0),
        source: row.get(1),
        remote_relation: u32::try_from(row.get::<_, i64>(2)).unwrap_or_default(),
        remote_number: row.get(3),
        remote_type: row.get(4),
        local_type: row.get(5),
        drift: match row.get::<_, Option<&str>>(6) {
            Some("renamed") => Some(ColumnDrift::Renamed(to)),
            Some("retyped") => Some(ColumnDrift::Retyped(to)),
            Some("replaced") => Some(ColumnDrift::Replaced(to)),
            Some(_) => Some(ColumnDrift::Missing),
            None => None,
        },
    }
}

const GROUPS: &str = "\
-- group the mirrors by what is known of their columns
select array_agg(d.n), min(d.n)
from (
    select u.n, sum(hashtextextended(concat_ws(' ', c.column_name, c.source, c.remote_relation, c.remote_number,
               c.remote_type, c.local_type, c.drift, c.drifted_to), 0)) as digest
    from unnest($1, $2) with ordinality u (tenant, local_table, n)
    join meter_sync.meter_sync_column c on c.tenant = u.tenant and c.local_table = u.local_table
    group by u.n
) d
group by d.digest";

/// Mirrors for which the same columns are recorded.
#[derive(Clone, Debug)]
pub struct MirrorGroup {
    /// The indexes of these mirrors, from 0, in the argument of [`groups`].
    pub places: Vec<usize>,
    /// The recorded columns, which are equal for all these mirrors.
    pub known: KnownColumns,
}

/// Groups mirrors for which equal columns are recorded. Most mirrors have equal columns, so there are few groups. A
/// mirror without recorded columns is in no group.
pub async fn groups(
    tx: &Tx<'_, Local>,
    mirrors: &[&MirrorKey],
) -> Result<Vec<MirrorGroup>, DbError> {
    let is_unicode = is_unicode(tx).await?;
    let keys = MirrorKeys::of(mirrors.iter().copied());
    let params = [
        param::texts(&keys.tenants),
        param::texts(&keys.local_tables),
    ];
    let mut groups = Vec::new();
    for group in tx.query(GROUPS, &params).await? {
        let Some(first) = mirrors.get(index(group.get(1))) else {
            continue;
        };
        let of_first = mirror_params(&first.tenant, &first.local_table);
        groups.push(MirrorGroup {
            places: group.get::<_, Vec<i64>>(0).into_iter().map(index).collect(),
            known: KnownColumns {
                is_unicode,
                columns: read(tx, KNOWN, &of_first).await?,
            },
        });
    }
    Ok(groups)
}

const FORGET: &str = "\
-- forget the known columns
delete from meter_sync.meter_sync_column where tenant = $1 and local_table = $2";

const KEEP: &str = "\
-- keep the known columns
insert into meter_sync.meter_sync_column (tenant, local_table, column_name, source, remote_relation, remote_number,
    remote_type, local_type, drift, drifted_to)
select $1, $2, c.column_name, c.source, c.remote_relation, c.remote_number, c.remote_type, c.local_type, c.drift, c.drifted_to
from pg_catalog.jsonb_to_recordset($3) as c (column_name text, source text, remote_relation bigint, remote_number smallint,
    remote_type text, local_type text, drift text, drifted_to text)";

/// Replaces the recorded columns of a mirror by `columns`.
pub async fn keep(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
    columns: &[RecordedColumn],
) -> Result<(), DbError> {
    let key = || mirror_params(tenant.as_str(), local_table);
    tx.execute(FORGET, &key()).await?;
    let columns: Vec<Value> = columns.iter().map(row).collect();
    let [tenant, table] = key();
    let params = [tenant, table, param::jsonb(&columns)];
    tx.execute(KEEP, &params).await.map(drop)
}

fn row(column: &RecordedColumn) -> Value {
    let (drift, to) = match &column.drift {
        None => (None, None),
        Some(ColumnDrift::Missing) => (Some("missing"), None),
        Some(ColumnDrift::Renamed(to)) => (Some("renamed"), Some(to)),
        Some(ColumnDrift::Retyped(to)) => (Some("retyped"), Some(to)),
        Some(ColumnDrift::Replaced(to)) => (Some("replaced"), Some(to)),
    };
    json!({
        "column_name": column.name,
        "source": column.source,
        "remote_relation": column.remote_relation,
        "remote_number": column.remote_number,
        "remote_type": column.remote_type,
        "local_type": column.local_type,
        "drift": drift,
        "drifted_to": to,
    })
}
