//! Checks the tenant's rows on the remote, and the indexes on the tenant column on both sides.

use super::connections::ConnectionWithReport;
use super::synced_columns::CheckedTables;
use super::{Finding, Verdict};
use crate::config::{Config, Mapping, SourceSetting};
use crate::db::{DbError, Local, Remote, Side, Tx, param, quote, unique_indexes};
use crate::engine::{self, Relations, SyncError, TenantFilters};
use crate::model::TenantId;

/// How many of the tenant's remote rows a check reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoteRowLimit {
    /// The first 100 rows, for a web page that must not wait long.
    First,
    /// All rows, as a sync reads them.
    All,
}

/// The subject of the finding about the tenant's remote rows.
pub(super) const SUBJECT: &str = "remote meters";

/// How many rows a check reads with [`RemoteRowLimit::First`].
const FIRST: u32 = 100;

/// Counts the tenant's remote rows, and makes the remote evaluate their synced columns without sending them. With
/// [`RemoteRowLimit::All`], this finds what would make every run fail: an error inside a view, or a duplicate key.
pub(super) async fn remote(
    remote: &mut ConnectionWithReport<Remote>,
    config: &Config,
    tables: &CheckedTables,
    rows_to_read: RemoteRowLimit,
) -> Finding {
    let CheckedTables { relations, scope } = tables;
    let tenant = &scope.tenant;
    let source = &config.mapping.source;
    let looked = async {
        let tx = remote.begin_reading_rows(source).await?;
        let count: i64 = match rows_to_read {
            RemoteRowLimit::First => {
                tx.batch(&compute(relations, scope, Some(FIRST))).await?;
                tx.query_one(&count(relations, scope), &[]).await?.get(0)
            }
            RemoteRowLimit::All => {
                // The statement may take as long as a whole run.
                tx.allow_each_statement(config.limits.run_timeout).await?;
                tx.query_one(&compute(relations, scope, None), &[])
                    .await?
                    .get(0)
            }
        };
        if count == 0 {
            return Ok(none(&tx, &config.mapping, tenant).await?);
        }
        if rows_to_read == RemoteRowLimit::All {
            refuse_duplicates(&tx, relations, scope).await?;
        }
        let hidden = match engine::may_hide_rows(&tx, source).await? {
            true => ", as far as row security shows them to the role",
            false => "",
        };
        Ok(Verdict::Ok(format!("{count} of tenant {tenant}{hidden}")))
    };
    Finding::of_source(SUBJECT, looked.await, source)
}

fn count(relations: &Relations, scope: &TenantFilters) -> String {
    let (from, filter) = (&relations.remote_from, &scope.remote_filter);
    format!("-- count the remote meters\nselect pg_catalog.count(*) from {from} r where {filter}")
}

/// Builds a query that evaluates every synced column of the tenant's remote rows and counts the rows. With `limit`, the
/// query reads only that many rows.
fn compute(relations: &Relations, scope: &TenantFilters, limit: Option<u32>) -> String {
    let (from, filter) = (&relations.remote_from, &scope.remote_filter);
    let columns = quote::columns("r.", &relations.names);
    let counts = quote::list(&relations.names, ", ", |name| {
        format!("pg_catalog.count({})", relations.column("r", name))
    });
    let limit = limit.map_or_else(String::new, |limit| format!(" limit {limit}"));
    format!(
        "-- compute the remote meters\nselect pg_catalog.count(*), {counts} from (select {columns} from {from} r where {filter}{limit}) r"
    )
}

/// Returns an error if several of the tenant's remote rows have the same key. Runs no query if a unique index on the
/// remote rules that out. Does not find keys that differ on the remote but are equal in the local table, as with
/// `citext`; a run finds these.
async fn refuse_duplicates(
    tx: &Tx<'_, Remote>,
    relations: &Relations,
    scope: &TenantFilters,
) -> Result<(), SyncError> {
    if let Some(oid) = relations.all_columns.remote_relation {
        tx.pin_path().await?;
        let unique = unique_indexes::of_table(tx, oid).await?;
        let has_heirs = has_heirs(tx, oid).await?;
        tx.use_role_path().await?;
        let is_within_key =
            |columns: &Vec<String>| columns.iter().all(|c| relations.key.contains(c));
        if unique.whole.iter().any(is_within_key) && !has_heirs {
            return Ok(());
        }
    }
    let (from, filter) = (&relations.remote_from, &scope.remote_filter);
    let (key, whole) = (relations.key_json("r"), relations.has_key("r"));
    let sql = format!(
        "-- look for duplicate keys
select k.key::text from (select {key} as key from {from} r where {filter} and {whole}) k
group by k.key having pg_catalog.count(*) > 1 order by k.key limit {}",
        engine::DUPLICATES_NAMED
    );
    let rows = tx.query(&sql, &[]).await?;
    engine::refuse_keys(&scope.tenant, &rows)
}

const HEIRS: &str = "\
-- look for tables that inherit from the remote one
select c.relkind = 'r' and c.relhassubclass from pg_catalog.pg_class c where c.oid = $1";

/// Whether other tables inherit from the remote table. The indexes of the remote table do not cover the rows of such
/// tables.
async fn has_heirs(tx: &Tx<'_, Remote>, oid: u32) -> Result<bool, DbError> {
    Ok(tx.query_one(HEIRS, &[param::oid(oid)]).await?.get(0))
}

async fn none(
    tx: &Tx<'_, Remote>,
    mapping: &Mapping,
    tenant: &TenantId,
) -> Result<Verdict, DbError> {
    let hidden = match engine::may_hide_rows(tx, &mapping.source).await? {
        true => format!(" {}", engine::ROW_SECURITY_REMEDY),
        false => String::new(),
    };
    Ok(Verdict::Warning(format!(
        "none of tenant {tenant}. Check METER_SYNC_TENANT_ID or METER_SYNC_TENANTS, METER_SYNC_TENANT_COLUMN and the remote table.{hidden}"
    )))
}

/// Checks that tables shared by several tenants have an index on the tenant column.
pub(super) async fn tenant_indexes(
    remote: &mut ConnectionWithReport<Remote>,
    local: &mut ConnectionWithReport<Local>,
    mapping: &Mapping,
    tables: &CheckedTables,
) -> Vec<Finding> {
    let CheckedTables { relations, scope } = tables;
    let column = &mapping.tenant_column;
    let mut findings = Vec::new();
    if let SourceSetting::Table(_) = mapping.source {
        let there = TenantFilteredTable {
            table: &relations.remote_from,
            row: "r",
            filter: &scope.remote_filter,
        };
        findings.extend(tenant_index(remote.begin_read_only().await, column, there).await);
    }
    let here = TenantFilteredTable {
        table: &relations.local,
        row: "l",
        filter: &scope.local_filter,
    };
    findings.extend(tenant_index(local.begin_read_only().await, column, here).await);
    findings
}

/// A table, and the SQL condition that selects the rows of one tenant.
struct TenantFilteredTable<'a> {
    /// The quoted name of the table.
    table: &'a str,
    /// The alias of the table in `filter`, such as `r`.
    row: &'a str,
    /// The SQL condition that selects the tenant's rows.
    filter: &'a str,
}

/// Checks that the table `read` has an index that begins with the tenant column. `None` if it is not a table (but a
/// view, for example) or holds no rows of other tenants.
async fn tenant_index<S: Side>(
    tx: Result<Tx<'_, S>, DbError>,
    column: &str,
    read: TenantFilteredTable<'_>,
) -> Option<Finding> {
    let looked = async { look_for_index(&tx?, column, &read).await };
    let looked = looked.await.transpose()?;
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
    read: &TenantFilteredTable<'_>,
) -> Result<Option<Verdict>, DbError> {
    let TenantFilteredTable { table, row, filter } = read;
    let params = [param::text(*table), param::text(column)];
    let Some(found) = tx.query_opt(INDEXED, &params).await? else {
        return Ok(None);
    };
    let others = format!(
        "-- look for other tenants\nselect 1 from {table} {row} where ({filter}) is not true limit 1"
    );
    tx.use_role_path().await?;
    if tx.query_opt(&others, &[]).await?.is_none() {
        return Ok(None);
    }
    // Postgres cannot create an index on a partitioned table concurrently.
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
