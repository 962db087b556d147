//! Whose rows the meter tables hold.

use super::reached::Reached;
use super::{Finding, Verdict};
use crate::config::Mapping;
use crate::db::{DbError, Local, Remote, param, quote};
use crate::meter::TenantId;
use crate::sync::Shape;

/// How many meters the remote has for the tenant.
pub(super) async fn remote(
    remote: &mut Reached<Remote>,
    shape: &Shape,
    tenant: &TenantId,
) -> Finding {
    let looked = async {
        let tx = remote.look().await?;
        let Shape {
            remote_from,
            remote_filter,
            ..
        } = shape;
        let count = format!(
            "-- count the remote meters\nselect count(*) from {remote_from} r where {remote_filter}"
        );
        let count: i64 = tx.query_one(&count, &[]).await?.get(0);
        Ok(match count {
            0 => Verdict::Warning(format!(
                "none of tenant {tenant}. Check METER_SYNC_TENANT_ID, METER_SYNC_TENANT_COLUMN and the remote table."
            )),
            count => Verdict::Ok(format!("{count} of tenant {tenant}")),
        })
    };
    let looked: Result<Verdict, DbError> = looked.await;
    Finding::of("remote meters", looked.map_err(|e| e.failure()))
}

const INDEXED: &str = "\
-- look for an index on the tenant
select exists (
    select from pg_catalog.pg_index i
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = to_regclass($1)::oid and i.indisvalid and i.indpred is null and a.attname = $2
)";

/// That a local table shared by several tenants can be read by tenant; nothing where it is not
/// shared.
pub(super) async fn local_tenant_index(
    local: &mut Reached<Local>,
    mapping: &Mapping,
    shape: &Shape,
) -> Option<Finding> {
    let looked = look_for_index(local, mapping, shape).await;
    let looked = looked.map_err(|e| e.failure()).transpose()?;
    Some(Finding::of("index on the local tenant", looked))
}

async fn look_for_index(
    local: &mut Reached<Local>,
    mapping: &Mapping,
    shape: &Shape,
) -> Result<Option<Verdict>, DbError> {
    let tx = local.look().await?;
    let Shape {
        local: table,
        local_filter,
        ..
    } = shape;
    let others = format!(
        "-- look for other tenants\nselect exists (select from {table} l where ({local_filter}) is not true)"
    );
    if !tx.query_one(&others, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let column = &mapping.tenant_column;
    let params = [param::text(table.as_str()), param::text(column.as_str())];
    let indexed: bool = tx.query_one(INDEXED, &params).await?.get(0);
    Ok(Some(if indexed {
        Verdict::Ok("there is one; the table holds several tenants".to_owned())
    } else {
        Verdict::Warning(format!(
            "the table holds several tenants, and each sync reads all of their rows. \
             create index concurrently on {table} ({})",
            quote::identifier(column)
        ))
    }))
}
