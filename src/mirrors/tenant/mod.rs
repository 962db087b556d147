//! Finds the tenant whose meters a mirror holds: the tenant that the settings name, or the single row of the local
//! table `tenant`.

use crate::config::Mapping;
use crate::db::{DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::model::TenantId;

use local_tenant_table::{Row, rows};
use spelling::LocalIdTypes;

use super::local_table::{self, LocalTable};
use super::status_parts::TenantStatus;
use crate::store::log;

pub(super) use list_tenants::all;
pub(super) use spelling::is_same;

mod list_tenants;
mod local_tenant_table;
mod spelling;

/// A tenant: the organisation whose meters a mirror holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tenant {
    /// The id in its canonical spelling (the same for all spellings of one id), for the lock, the log and the slots.
    pub(super) id: TenantId,
    /// The id in the spelling of the settings or of the table `tenant`, for queries on meters.
    pub(super) given: TenantId,
    pub(super) name: Option<String>,
    /// Whether tenant ids have a text type in the local database. Such ids are compared exactly: `07` and `7` are two
    /// tenants.
    pub(super) is_text: bool,
}

impl Tenant {
    /// Returns the tenant's id and name as a status shows them.
    pub(super) fn status(&self) -> TenantStatus {
        TenantStatus {
            id: self.id.as_str().to_owned(),
            name: self.name.clone(),
        }
    }
}

/// What the check of the setup (`meter-sync check`) needs to know about the tenant.
pub(crate) struct CheckedTenant {
    /// The id in the spelling of the settings or of the table `tenant`.
    pub(crate) id: TenantId,
    pub(crate) name: Option<String>,
    /// The name of the local table, and the other tenant whose meters it holds; `None` if it holds no other tenant's
    /// meters.
    pub(crate) mismatch: Option<(String, String)>,
}

/// Looks up the tenant for the check of the setup (`meter-sync check`). Fails if the tenant cannot be determined.
pub(crate) async fn look(tx: &Tx<'_, Local>, mapping: &Mapping) -> Result<CheckedTenant, Failure> {
    let table = local_table::find(tx, mapping).await?;
    let tenant = resolve(tx, mapping, &table).await?;
    let other = match table.has_run_numbers {
        true => other(tx, &table, &tenant).await?,
        false => None,
    };
    Ok(CheckedTenant {
        id: tenant.given,
        name: tenant.name,
        mismatch: other.map(|other| (table.name, other)),
    })
}

/// Returns the other tenant for which the local table was last synced, if the table has no tenant column and so holds
/// one tenant's meters only. Returns `None` if there is no such tenant.
pub(super) async fn other(
    tx: &Tx<'_, Local>,
    table: &LocalTable,
    tenant: &Tenant,
) -> Result<Option<String>, DbError> {
    if table.tenant_type.is_some() {
        return Ok(None);
    }
    let last = log::last_tenant(tx, &table.name).await?;
    Ok(last.filter(|last| last != tenant.id.as_str()))
}

/// Finds the tenant: its id in the settings, or the single row of the table `tenant`. Fails if neither gives a valid
/// id. Each call reads the table again, because the row may be added after the process has started.
pub(super) async fn resolve(
    tx: &Tx<'_, Local>,
    mapping: &Mapping,
    table: &LocalTable,
) -> Result<Tenant, Failure> {
    find(tx, mapping, table).await?
}

/// Finds the tenant as [`resolve`] does, but returns two kinds of errors. The outer error comes from the database. The
/// inner error says that the tenant is not known: no id is set and the table `tenant` does not have exactly one row
/// with an id, or the local tenant column does not accept the id.
pub(super) async fn find(
    tx: &Tx<'_, Local>,
    mapping: &Mapping,
    table: &LocalTable,
) -> Result<Result<Tenant, Failure>, DbError> {
    let types = LocalIdTypes::of(table);
    let (given, name) = match &mapping.tenant {
        Some(given) => (given.clone(), None),
        None => match single(rows(tx, &table.tenants, None, Some(2)).await?) {
            Ok(single) => single,
            Err(failure) => return Ok(Err(failure)),
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

/// Returns the tenant under which runs are logged; `None` if no id is set and the table `tenant` does not have exactly
/// one row with an id. If the local tenant column does not accept the id that is set, returns the id unchanged, because
/// failed runs are logged under it.
pub(super) async fn known(
    tx: &Tx<'_, Local>,
    mapping: &Mapping,
    table: &LocalTable,
) -> Result<Option<Tenant>, DbError> {
    let unknown = |_failure| {
        let given = mapping.tenant.clone()?;
        Some(Tenant {
            id: given.clone(),
            given,
            name: None,
            is_text: false,
        })
    };
    let found = find(tx, mapping, table).await?;
    Ok(found.map_or_else(unknown, Some))
}

fn single(rows: Vec<Row>) -> Result<(TenantId, Option<String>), Failure> {
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
