//! Finds the tenant whose meters a mirror holds: the tenant that the settings name, or the single row of the local
//! table `tenant`.

use crate::config::Mapping;
use crate::db::{DbError, Local, SideName, Tx};
use crate::error::{ErrorCode, Failure};
use crate::model::TenantId;

use look_up_local_table::LocalTable;
use read_local_tenants::{TenantRow, rows};
use run_scope::{LogScope, RunScope};
use tenant_id_spelling::LocalIdTypes;

use crate::store::log;

pub(crate) use list_tenants::all;
pub(crate) use tenant_id_spelling::is_same;

mod list_tenants;
pub(crate) mod look_up_local_table;
pub(crate) mod meter_table;
mod read_local_tenants;
pub(crate) mod run_scope;
mod tenant_id_spelling;

/// A tenant: the organisation whose meters a mirror holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenant {
    /// The id in its canonical spelling (the same for all spellings of one id), for the lock, the log and the slots.
    pub(crate) id: TenantId,
    /// The id in the spelling of the settings or of the table `tenant`, for queries on meters.
    pub(crate) given: TenantId,
    pub(crate) name: Option<String>,
    /// Whether tenant ids have a text type in the local database. Such ids are compared exactly: `07` and `7` are two
    /// tenants.
    pub(crate) is_text: bool,
}

/// Returns the other tenant for which the local table was last synced, if the table has no tenant column and so holds
/// one tenant's meters only. Returns `None` if there is no such tenant.
pub(crate) async fn other(
    tx: &Tx<'_, Local>,
    RunScope { tenant, table }: &RunScope,
) -> Result<Option<String>, DbError> {
    if table.tenant_type.is_some() || !table.has_run_numbers {
        return Ok(None);
    }
    let last = log::last_tenant(tx, &table.name).await?;
    Ok(last.filter(|last| last != tenant.id.as_str()))
}

/// Finds the tenant and its local table; fails if the tenant is not known. The tenant is looked up each time, because
/// the row in the table `tenant` may be added after the process has started.
pub(crate) async fn scope(tx: &Tx<'_, Local>, mapping: &Mapping) -> Result<RunScope, Failure> {
    let (table, tenant) = find(tx, mapping).await?;
    let tenant = tenant?;
    Ok(RunScope { tenant, table })
}

/// Finds the tenant and its local table as [`scope`] does. If no id is set and the table `tenant` does not name a
/// single tenant, the tenant is not known. If the local tenant column does not accept the id that is set, the tenant
/// has that id unchanged: the log has only failed runs under such an id.
pub(crate) async fn log_scope(tx: &Tx<'_, Local>, mapping: &Mapping) -> Result<LogScope, DbError> {
    let unknown = |_failure| {
        let given = mapping.tenant.clone()?;
        Some(Tenant {
            id: given.clone(),
            given,
            name: None,
            is_text: false,
        })
    };
    let (table, found) = find(tx, mapping).await?;
    let tenant = found.map_or_else(unknown, Some);
    Ok(LogScope { table, tenant })
}

/// Finds the tenant and its local table as [`scope`] does. The inner failure says why the tenant is not known: no id is
/// set and the table `tenant` does not name a single tenant, or the local tenant column does not accept the id.
pub(crate) async fn find(
    tx: &Tx<'_, Local>,
    mapping: &Mapping,
) -> Result<(LocalTable, Result<Tenant, Failure>), DbError> {
    let table = look_up_local_table::find(tx, mapping).await?;
    let tenant = find_in(tx, mapping, &table).await?;
    Ok((table, tenant))
}

async fn find_in(
    tx: &Tx<'_, Local>,
    mapping: &Mapping,
    table: &LocalTable,
) -> Result<Result<Tenant, Failure>, DbError> {
    let types = LocalIdTypes::of(table);
    let (given, name) = match &mapping.tenant {
        Some(given) => (given.clone(), None),
        None => match single(rows(tx, &table.tenants, None, Some(2)).await?) {
            Ok(single) => single,
            Err(failure) => return Ok(Err(no_usage(mapping, table).unwrap_or(failure))),
        },
    };
    let id = match types.read(tx, &given).await? {
        Ok(id) => id,
        Err(failure) => return Ok(Err(failure)),
    };
    let mut tenant = Tenant {
        is_text: types.are_texts(),
        id,
        given,
        name,
    };
    if mapping.tenant.is_some() {
        let of = Some((&tenant.given, &tenant.id));
        let rows = rows(tx, &table.tenants, of, Some(1)).await?;
        tenant.name = rows.into_iter().next().and_then(|(_, name)| name);
    }
    Ok(Ok(tenant))
}

/// Returns the error of a role that may not use the schema of the local table; `None` if it may. The table `tenant`,
/// which is usually in the same schema, then cannot be read either.
fn no_usage(mapping: &Mapping, table: &LocalTable) -> Option<Failure> {
    let unusable = table.unusable.as_ref()?;
    Some(unusable.failure(SideName::Local, &mapping.local_table))
}

fn single(rows: Vec<TenantRow>) -> Result<(TenantId, Option<String>), Failure> {
    let mut rows = rows.into_iter();
    let why = match (rows.next(), rows.next()) {
        (Some((Some(id), name)), None) => match TenantId::new(id) {
            Some(id) => return Ok((id, name)),
            None => "The single row of the local tenant table has an empty id",
        },
        (None, _) => "The local tenant table is missing, unreadable or empty",
        (Some((None, _)), None) => "The single row of the local tenant table has no id",
        (Some(_), Some(_)) => "The local tenant table holds more than one row",
    };
    let message = format!("{why}, and METER_SYNC_TENANT_ID is not set.");
    Err(Failure::new(ErrorCode::TenantNotConfigured, message))
}
