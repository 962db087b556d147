//! Checks all tenants of a process that syncs several tenants. Each check uses one statement for all of them.

use super::connections::ConnectionWithReport;
use super::remote_rows_and_tenant_indexes::RemoteRowLimit;
use super::{Finding, Verdict};
use crate::config::Config;
use crate::db::index_from_ordinality::index;
use crate::db::look_up_table_names::oid_of_name;
use crate::db::{DbError, Local, Remote, Side, Tx, param, quote};
use crate::engine::{self, Relations, SyncError};
use crate::error::{ErrorCode, Failure};
use crate::machine_clock;
use crate::mirrors::{Mirrors, TenantAndMirror};
use crate::model::RunId;

/// How many tenants or tables a finding names. The others are only counted.
const NAMED: usize = 5;

/// Returns findings about all tenants: whether the names of their local tables are valid, whether these tables exist,
/// and whether the remote has meters of each tenant.
///
/// The remote is read only with [`RemoteRowLimit::All`], because reading a view may take long. If a connection fails,
/// the checks that need it are left out, because the checks of single tenants report that failure.
pub(super) async fn findings(
    config: &Config,
    mirrors: &Mirrors,
    all: &[TenantAndMirror],
    rows_to_read: RemoteRowLimit,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = too_long_table_names(mirrors.refused(None))
        .into_iter()
        .collect();
    let (limits, mapping) = (&config.limits, &config.mapping);
    let Ok(mut local) = ConnectionWithReport::<Local>::new(config.local.as_ref(), limits).await
    else {
        return findings;
    };
    if mapping.has_table_per_tenant() {
        let looked = local_tables(&mut local, all).await;
        findings.push(Finding::of("local tables", looked));
    }
    if rows_to_read == RemoteRowLimit::First {
        return findings;
    }
    let remote = ConnectionWithReport::<Remote>::new(config.remote.as_ref(), limits).await;
    let (Ok(mut remote), Some(first)) = (remote, all.first()) else {
        return findings;
    };
    if let Ok(relations) = relations(&mut remote, &mut local, first).await {
        let looked = remote_tenants(&mut remote, config, &relations, all).await;
        findings.push(Finding::of_source(
            "remote tenants",
            looked,
            &mapping.source,
        ));
    }
    findings
}

/// Returns a failed finding if some tenants have ids with which the name of their local table is too long. `refused`
/// has one failure for each such tenant; `None` if it is empty.
fn too_long_table_names(refused: Vec<Failure>) -> Option<Finding> {
    let count = refused.len();
    let mut first = refused.into_iter().next()?;
    if count > 1 {
        first.message += &format!(" So it is with {} more tenants.", count - 1);
    }
    Some(Finding::new("local table names", Verdict::Failed(first)))
}

const MISSING: &str = concat!(
    "\
-- look for local tables that are missing
select u.n from pg_catalog.unnest($1) with ordinality u (name, n)
where (",
    oid_of_name!(),
    ") is null order by u.n"
);

/// Checks that the local table of each tenant exists.
async fn local_tables(
    local: &mut ConnectionWithReport<Local>,
    all: &[TenantAndMirror],
) -> Result<Verdict, DbError> {
    let tx = local.begin_read_only().await?;
    tx.use_role_path().await?;
    let tables: Vec<String> = all
        .iter()
        .map(|known| known.mirror.mapping().local_table.clone())
        .collect();
    let missing = array_positions(&tx, MISSING, &tables).await?;
    let missing: Vec<&str> = missing
        .into_iter()
        .filter_map(|index| tables.get(index))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        let text = format!("each of the {} tenants has one", all.len());
        return Ok(Verdict::Ok(text));
    }
    let message = format!(
        "Of {} local tables, {} are missing: {}.",
        all.len(),
        missing.len(),
        first_names(&missing)
    );
    let remedy = "Create them, grant the role usage on their schemas, or correct METER_SYNC_LOCAL_TABLE or METER_SYNC_TENANTS. Until then only the syncs of these tenants fail.";
    let failure = Failure::new(ErrorCode::LocalSchema, message);
    Ok(Verdict::Failed(failure.with_remedy(remedy)))
}

async fn relations(
    remote: &mut ConnectionWithReport<Remote>,
    local: &mut ConnectionWithReport<Local>,
    first: &TenantAndMirror,
) -> Result<Relations, SyncError> {
    let (there, here) = (
        remote.begin_read_only().await?,
        local.begin_read_only().await?,
    );
    let mark = RunId::at(machine_clock::now());
    let (relations, _) = engine::look_up(&there, &here, first.mirror.mapping(), mark).await?;
    Ok(relations)
}

/// Checks that each tenant has meters on the remote.
async fn remote_tenants(
    remote: &mut ConnectionWithReport<Remote>,
    config: &Config,
    relations: &Relations,
    all: &[TenantAndMirror],
) -> Result<Verdict, SyncError> {
    let column = &relations.remote_tenant;
    let sql = format!(
        "-- look for tenants without meters
select u.n from pg_catalog.unnest($1) with ordinality u (id, n)
where not exists (select 1 from {} r where r.{} {} u.id::{}) order by u.n",
        relations.remote_from,
        quote::identifier(&column.name),
        column.equals,
        column.base_type
    );
    let given: Vec<String> = all
        .iter()
        .filter_map(|known| known.mirror.mapping().tenant.as_ref())
        .map(|id| id.as_str().to_owned())
        .collect();
    let tx = remote.begin_reading_rows(&config.mapping.source).await?;
    // The statement may take as long as a whole run.
    tx.allow_each_statement(config.limits.run_timeout).await?;
    let without = match array_positions(&tx, &sql, &given).await {
        Err(error) if error.is_about_a_row() => return Ok(refused_id(&column.base_type)),
        answered => answered?,
    };
    let without: Vec<&str> = without
        .into_iter()
        .filter_map(|index| given.get(index))
        .map(String::as_str)
        .collect();
    Ok(match without.is_empty() {
        true => Verdict::Ok(format!("each of the {} has meters there", all.len())),
        false => Verdict::Warning(format!(
            "of {}, {} have no meters there: {}. Check METER_SYNC_TENANTS or METER_SYNC_TENANTS_QUERY, METER_SYNC_TENANT_COLUMN and the remote table.",
            all.len(),
            without.len(),
            first_names(&without)
        )),
    })
}

fn refused_id(wanted: &str) -> Verdict {
    let message = format!(
        "The id of at least one tenant is no value of type {wanted}, which the remote tenant column has."
    );
    let remedy = "The syncs of these tenants fail, and their statuses say so. Correct METER_SYNC_TENANTS or METER_SYNC_TENANTS_QUERY.";
    let failure = Failure::new(ErrorCode::ConfigInvalid, message);
    Verdict::Failed(failure.with_remedy(remedy))
}

/// Runs `sql` with the array `texts` as its parameter. Each row of the result is a 1-based position in that array.
/// Returns these positions 0-based.
async fn array_positions<S: Side>(
    tx: &Tx<'_, S>,
    sql: &str,
    texts: &[String],
) -> Result<Vec<usize>, DbError> {
    let rows = tx.query(sql, &[param::texts(texts)]).await?;
    Ok(rows.iter().map(|row| index(row.get(0))).collect())
}

/// Joins the first [`NAMED`] names with commas, and adds how many more there are.
fn first_names(names: &[&str]) -> String {
    let first: Vec<&str> = names.iter().take(NAMED).copied().collect();
    let first = first.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
