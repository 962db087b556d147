//! Whose rows the meter tables hold.

use super::reached::Reached;
use super::{Finding, Verdict};
use crate::config::{Config, Mapping, Source};
use crate::db::{DbError, Local, Remote, Side, Tx, catalog, param, quote};
use crate::meter::TenantId;
use crate::sync::{self, Shape, SyncError};

/// How many of the tenant's rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Some, for a page that is not to wait.
    First,
    /// All, as a run reads them.
    All,
}

/// How many are some.
const FIRST: u32 = 100;

/// Counts the tenant's remote meters and computes their columns, and sends none of them here. What no run gets past is
/// found: a row that a view fails on, a key that is there twice.
pub(super) async fn remote(
    remote: &mut Reached<Remote>,
    config: &Config,
    shape: &Shape,
    (tenant, extent): (&TenantId, Extent),
) -> Finding {
    let source = &config.mapping.source;
    let looked = async {
        let tx = remote.look_at_rows(source).await?;
        let count: i64 = match extent {
            Extent::First => {
                tx.batch(&compute(shape, Some(FIRST))).await?;
                tx.query_one(&count(shape), &[]).await?.get(0)
            }
            Extent::All => {
                // As long as a run may take to read them.
                tx.allow_each_statement(config.limits.run_timeout).await?;
                tx.query_one(&compute(shape, None), &[]).await?.get(0)
            }
        };
        if count == 0 {
            return Ok(none(&tx, &config.mapping, tenant).await?);
        }
        if extent == Extent::All {
            refuse_duplicates(&tx, shape, tenant).await?;
        }
        let hidden = match sync::may_hide_rows(&tx, source).await? {
            true => ", as far as row security shows them to the role",
            false => "",
        };
        Ok(Verdict::Ok(format!("{count} of tenant {tenant}{hidden}")))
    };
    let looked: Result<Verdict, SyncError> = looked.await;
    let looked = looked.map_err(|e| sync::failure(&e, source));
    Finding::of("remote meters", looked)
}

fn count(shape: &Shape) -> String {
    let (from, filter) = (&shape.remote_from, &shape.remote_filter);
    format!("-- count the remote meters\nselect pg_catalog.count(*) from {from} r where {filter}")
}

/// Computes every synced column of the rows, or of the first; counts them.
fn compute(shape: &Shape, limit: Option<u32>) -> String {
    let (from, filter) = (&shape.remote_from, &shape.remote_filter);
    let columns = quote::columns("r.", &shape.names);
    let counts = quote::list(&shape.names, ", ", |name| {
        format!("pg_catalog.count({})", shape.column("r", name))
    });
    let limit = limit.map_or_else(String::new, |limit| format!(" limit {limit}"));
    format!(
        "-- compute the remote meters\nselect pg_catalog.count(*), {counts} from (select {columns} from {from} r where {filter}{limit}) r"
    )
}

/// Refuses keys that the remote has more than once, where no index there rules that out. Keys that are two there and one
/// here, as with `citext`, only a run finds.
async fn refuse_duplicates(
    tx: &Tx<'_, Remote>,
    shape: &Shape,
    tenant: &TenantId,
) -> Result<(), SyncError> {
    if let Some(oid) = shape.offered.remote_relation {
        tx.pin_path().await?;
        let unique = catalog::unique_indexes(tx, oid).await?;
        let has_heirs = has_heirs(tx, oid).await?;
        tx.use_role_path().await?;
        let is_within_key = |columns: &Vec<String>| columns.iter().all(|c| shape.key.contains(c));
        if unique.whole.iter().any(is_within_key) && !has_heirs {
            return Ok(());
        }
    }
    let (from, filter) = (&shape.remote_from, &shape.remote_filter);
    let (key, whole) = (shape.key_json("r"), shape.has_key("r"));
    let sql = format!(
        "-- look for duplicate keys
select k.key::text from (select {key} as key from {from} r where {filter} and {whole}) k
group by k.key having pg_catalog.count(*) > 1 order by k.key limit {}",
        sync::DUPLICATES_NAMED
    );
    let rows = tx.query(&sql, &[]).await?;
    sync::refuse_keys(tenant, &rows)
}

const HEIRS: &str = "\
-- look for tables that inherit from the remote one
select c.relkind = 'r' and c.relhassubclass from pg_catalog.pg_class c where c.oid = $1";

/// Whether other tables inherit from it, whose rows its indexes do not hold.
async fn has_heirs(tx: &Tx<'_, Remote>, oid: u32) -> Result<bool, DbError> {
    Ok(tx.query_one(HEIRS, &[param::oid(oid)]).await?.get(0))
}

async fn none(
    tx: &Tx<'_, Remote>,
    mapping: &Mapping,
    tenant: &TenantId,
) -> Result<Verdict, DbError> {
    let hidden = match sync::may_hide_rows(tx, &mapping.source).await? {
        true => format!(" {}", sync::HIDDEN),
        false => String::new(),
    };
    Ok(Verdict::Warning(format!(
        "none of tenant {tenant}. Check METER_SYNC_TENANT_ID, METER_SYNC_TENANT_COLUMN and the remote table.{hidden}"
    )))
}

/// That the tables can be read by tenant where they are shared by several.
pub(super) async fn tenant_indexes(
    remote: &mut Reached<Remote>,
    local: &mut Reached<Local>,
    mapping: &Mapping,
    shape: &Shape,
) -> Vec<Finding> {
    let column = &mapping.tenant_column;
    let mut findings = Vec::new();
    if let Source::Table(_) = mapping.source {
        let there = ByTenant {
            table: &shape.remote_from,
            row: "r",
            filter: &shape.remote_filter,
        };
        findings.extend(tenant_index(remote.look().await, column, there).await);
    }
    let here = ByTenant {
        table: &shape.local,
        row: "l",
        filter: &shape.local_filter,
    };
    findings.extend(tenant_index(local.look().await, column, here).await);
    findings
}

/// A table that is read by tenant.
struct ByTenant<'a> {
    /// Its name, quoted.
    table: &'a str,
    /// The name its rows go by in `filter`.
    row: &'a str,
    /// The condition that picks the tenant's rows.
    filter: &'a str,
}

/// Nothing where it is not shared, or no table.
async fn tenant_index<S: Side>(
    tx: Result<Tx<'_, S>, DbError>,
    column: &str,
    read: ByTenant<'_>,
) -> Option<Finding> {
    let looked = async { look_for_index(&tx?, column, &read).await };
    let looked = looked.await.map_err(|e| e.failure()).transpose()?;
    let subject = format!("index on the {} tenant", S::NAME);
    Some(Finding::of(&subject, looked))
}

const INDEXED: &str = "\
-- look for an index on the tenant
select exists (
    select from pg_catalog.pg_index i
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = c.oid and i.indisvalid and i.indpred is null and a.attname = $2
), c.relkind = 'p'
from pg_catalog.pg_class c where c.oid = to_regclass($1)::oid and c.relkind in ('r', 'p')";

async fn look_for_index<S: Side>(
    tx: &Tx<'_, S>,
    column: &str,
    read: &ByTenant<'_>,
) -> Result<Option<Verdict>, DbError> {
    let ByTenant { table, row, filter } = read;
    let params = [param::text(*table), param::text(column)];
    let Some(found) = tx.query_opt(INDEXED, &params).await? else {
        return Ok(None);
    };
    let others = format!(
        "-- look for other tenants\nselect exists (select from {table} {row} where ({filter}) is not true)"
    );
    tx.use_role_path().await?;
    if !tx.query_one(&others, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    // An index on a partitioned table cannot be made beside other work.
    let create = match found.get(1) {
        true => "create index",
        false => "create index concurrently",
    };
    Ok(Some(if found.get(0) {
        Verdict::Ok("there is one; the table holds several tenants".to_owned())
    } else {
        Verdict::Warning(format!(
            "the table holds several tenants, and each sync reads all of their rows. \
             {create} on {table} ({})",
            quote::identifier(column)
        ))
    }))
}
