//! Reads and writes what runs know of the columns that they have synced: `meter_sync.meter_sync_column`.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio_postgres::Row;

use crate::config::Mapping;
use crate::db::{DbError, Local, Tx, param};
use crate::engine::Relations;
use crate::engine::drift::{self, ColumnReport, Drift, KnownColumn, KnownColumns};
use crate::error::Failure;
use crate::model::TenantId;

use crate::mirrors::local_table::{self, LocalTable, Scope};
use crate::mirrors::tenant::{self, NoTenant};
use crate::store::migrations;

const KNOWN: &str = "\
-- read the known columns
select c.column_name, c.source, c.remote_relation, c.remote_number, c.remote_type, c.local_type, c.drift, c.drifted_to
from meter_sync.meter_sync_column c
where c.tenant = $1 and c.local_table = $2";

const IS_UNICODE: &str = "\
-- look whether the database stores every character
select pg_catalog.getdatabaseencoding() in ('UTF8', 'SQL_ASCII')";

/// The columns of a scope as the runs so far know them.
pub(in crate::mirrors) async fn known(
    tx: &Tx<'_, Local>,
    scope: &Scope,
) -> Result<KnownColumns, DbError> {
    of(tx, &scope.table, &scope.tenant.id).await
}

async fn of(
    tx: &Tx<'_, Local>,
    table: &LocalTable,
    tenant: &TenantId,
) -> Result<KnownColumns, DbError> {
    Ok(KnownColumns {
        is_unicode: tx.query_one(IS_UNICODE, &[]).await?.get(0),
        columns: read(tx, KNOWN, (table, tenant)).await?,
    })
}

/// The columns whose drift is not settled.
pub(in crate::mirrors) async fn drifted(
    tx: &Tx<'_, Local>,
    table: &LocalTable,
    tenant: &TenantId,
) -> Result<Vec<KnownColumn>, DbError> {
    let drifted = format!("{KNOWN} and c.drift is not null");
    read(tx, &drifted, (table, tenant)).await
}

async fn read(
    tx: &Tx<'_, Local>,
    sql: &str,
    (table, tenant): (&LocalTable, &TenantId),
) -> Result<Vec<KnownColumn>, DbError> {
    let params = [
        param::text(tenant.as_str()),
        param::text(table.name.as_str()),
    ];
    let rows = tx.query(sql, &params).await?;
    Ok(rows.iter().map(column).collect())
}

fn column(row: &Row) -> KnownColumn {
    let to: Option<String> = row.get(7);
    let to = to.unwrap_or_default();
    KnownColumn {
        name: row.get(0),
        source: row.get(1),
        remote_relation: u32::try_from(row.get::<_, i64>(2)).unwrap_or_default(),
        remote_number: row.get(3),
        remote_type: row.get(4),
        local_type: row.get(5),
        drift: match row.get::<_, Option<&str>>(6) {
            Some("renamed") => Some(Drift::Renamed(to)),
            Some("retyped") => Some(Drift::Retyped(to)),
            Some("replaced") => Some(Drift::Replaced(to)),
            Some(_) => Some(Drift::Missing),
            None => None,
        },
    }
}

const GROUPS: &str = "\
-- group the tenants by what is known of their columns
select array_agg(d.tenant), min(d.tenant)
from (
    select c.tenant, bit_xor(hashtextextended(concat_ws(' ', c.column_name, c.source, c.remote_relation, c.remote_number,
               c.remote_type, c.local_type, c.drift, c.drifted_to), 0)) as digest
    from meter_sync.meter_sync_column c where c.local_table = $1 group by c.tenant
) d
group by d.digest";

/// The tenants of a table of which a run with these relations would find nothing new about the columns. Most tenants have
/// the same known columns, so few are compared.
pub(in crate::mirrors) async fn settled(
    tx: &Tx<'_, Local>,
    local_table: &str,
    relations: &Relations,
    mapping: &Mapping,
) -> Result<BTreeSet<String>, DbError> {
    let is_unicode = tx.query_one(IS_UNICODE, &[]).await?.get(0);
    let mut settled = BTreeSet::new();
    for group in tx.query(GROUPS, &[param::text(local_table)]).await? {
        let params = [
            param::text(group.get::<_, &str>(1)),
            param::text(local_table),
        ];
        let rows = tx.query(KNOWN, &params).await?;
        let known = KnownColumns {
            is_unicode,
            columns: rows.iter().map(column).collect(),
        };
        if !drift::compare(&known, relations, mapping).is_changed {
            settled.extend(group.get::<_, Vec<String>>(0));
        }
    }
    Ok(settled)
}

/// The known columns of a scope, for a check.
#[derive(Clone, Debug)]
pub(crate) struct KnownScope {
    /// The columns.
    pub(crate) known: KnownColumns,
    /// The tenant id as our tables spell it.
    pub(crate) tenant: TenantId,
    /// The local table's full name, as our tables spell it.
    pub(crate) local_table: String,
}

/// Reads the known columns for a check; `None` while no run has recorded any.
pub(crate) async fn look(
    tx: &Tx<'_, Local>,
    mapping: &Mapping,
) -> Result<Option<KnownScope>, Failure> {
    let failed = |e: DbError| e.failure();
    if !migrations::tables(tx).await.map_err(failed)?.columns {
        return Ok(None);
    }
    let table = local_table::find(tx, mapping).await.map_err(failed)?;
    let tenant = match tenant::resolve(tx, mapping, &table).await {
        Ok(tenant) => tenant.id,
        Err(NoTenant::Unknown(failure)) => return Err(failure),
        Err(NoTenant::Database(error)) => return Err(error.into()),
    };
    let known = of(tx, &table, &tenant).await.map_err(failed)?;
    let is_known = !known.columns.is_empty();
    Ok(is_known.then_some(KnownScope {
        known,
        tenant,
        local_table: table.name,
    }))
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

/// Replaces the known columns with those of the report, for the next run. Writes nothing if they are the same.
pub(in crate::mirrors) async fn keep(
    tx: &Tx<'_, Local>,
    scope: &Scope,
    report: &ColumnReport,
) -> Result<(), DbError> {
    if !report.is_changed {
        return Ok(());
    }
    let of = || {
        [
            param::text(scope.tenant.id.as_str()),
            param::text(scope.table.name.as_str()),
        ]
    };
    tx.execute(FORGET, &of()).await?;
    let columns: Vec<Value> = report.columns.iter().map(row).collect();
    let [tenant, table] = of();
    tx.execute(KEEP, &[tenant, table, param::jsonb(&columns)])
        .await
        .map(drop)
}

fn row(column: &KnownColumn) -> Value {
    let (drift, to) = match &column.drift {
        None => (None, None),
        Some(Drift::Missing) => (Some("missing"), None),
        Some(Drift::Renamed(to)) => (Some("renamed"), Some(to)),
        Some(Drift::Retyped(to)) => (Some("retyped"), Some(to)),
        Some(Drift::Replaced(to)) => (Some("replaced"), Some(to)),
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
