//! Finds the tenants of a process that keeps several: the ids that the settings list, all rows of the local table
//! `tenant`, or the rows of a query.

use std::collections::BTreeMap;

use crate::config::{Mapping, TenantSelection};
use crate::db::{Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::model::TenantId;

use super::Tenant;
use super::look_up_local_table::{self, TenantNamesTable};
use super::read_local_tenants::{TenantRow, rows, texts_of};
use super::tenant_id_spelling::{LocalIdTypes, normalize_by_form};

/// Returns the tenants that the settings name by a list, by the table `tenant` or by a query. Each tenant is returned
/// once. They are in the order of their ids.
pub(crate) async fn all(
    tx: &Tx<'_, Local>,
    tenants: &TenantSelection,
    mapping: &Mapping,
) -> Result<Vec<Tenant>, Failure> {
    // If each tenant has its own local table, the column types of those tables are not looked up here. The runs do
    // that.
    let table = match mapping.has_table_per_tenant() {
        true => look_up_local_table::find(tx, &no_table(mapping)).await?,
        false => look_up_local_table::find(tx, mapping).await?,
    };
    let types = LocalIdTypes::of(&table);
    let is_text = types.are_texts();
    let named = match tenants {
        TenantSelection::One(id) => id.iter().map(|id| (id.clone(), None)).collect(),
        TenantSelection::Listed(ids) => listed(tx, &table.tenants, ids, is_text).await?,
        TenantSelection::All => every_row(tx, &table.tenants).await?,
        TenantSelection::Query(query) => of_query(tx, query).await?,
    };
    let ids = types.read_all(tx, named.iter().map(|(id, _)| id)).await?;
    let mut all = BTreeMap::new();
    for ((given, name), id) in named.into_iter().zip(ids) {
        all.entry(order_of(&id)).or_insert(Tenant {
            id,
            given,
            name,
            is_text,
        });
    }
    Ok(all.into_values().collect())
}

/// Returns the mapping with a local table that does not exist, so that [`look_up_local_table::find`] finds only the
/// table `tenant`.
fn no_table(mapping: &Mapping) -> Mapping {
    Mapping {
        local_table: "pg_temp.meter_sync_none".to_owned(),
        ..mapping.clone()
    }
}

/// The tenants in order, each with its name if one is known.
type TenantIdsAndNames = Vec<(TenantId, Option<String>)>;

/// Returns the tenants that the settings list, with their names from the table `tenant` where it has them.
async fn listed(
    tx: &Tx<'_, Local>,
    tenants: &TenantNamesTable,
    ids: &[TenantId],
    is_text: bool,
) -> Result<TenantIdsAndNames, Failure> {
    let key = |id: &TenantId| match is_text {
        true => id.as_str().to_owned(),
        false => normalize_by_form(id.as_str()),
    };
    let names: BTreeMap<String, Option<String>> = match tenants.id_type {
        Some(_) => named_rows(rows(tx, tenants, None, None).await?)
            .map(|(id, name)| (key(&id), name))
            .collect(),
        None => BTreeMap::new(),
    };
    let name = |id: &TenantId| names.get(&key(id)).cloned();
    Ok(ids
        .iter()
        .map(|id| (id.clone(), name(id).flatten()))
        .collect())
}

/// Returns a tenant for every row of the table `tenant` that has an id. Fails if the table is missing, may not be read,
/// or has no column `id`.
async fn every_row(
    tx: &Tx<'_, Local>,
    tenants: &TenantNamesTable,
) -> Result<TenantIdsAndNames, Failure> {
    if tenants.name.is_none() || tenants.id_type.is_none() {
        let message = "METER_SYNC_TENANTS is all, and the local tenant table is missing, unreadable or has no id.";
        let remedy = "Name the tenants in METER_SYNC_TENANTS, or by METER_SYNC_TENANTS_QUERY.";
        return Err(Failure::new(ErrorCode::TenantNotConfigured, message).with_remedy(remedy));
    }
    Ok(named_rows(rows(tx, tenants, None, None).await?).collect())
}

/// Returns the tenants that the query in the settings finds: the ids from its first column, and the names from its
/// column `name`.
async fn of_query(tx: &Tx<'_, Local>, query: &str) -> Result<TenantIdsAndNames, Failure> {
    tx.use_role_path().await?;
    let sql = |text: fn(&str) -> String| {
        let (id, name) = (text("t.id"), text("t.name"));
        format!(
            "-- read the tenants of the query
select {id}, {name} from (
    select pg_catalog.to_jsonb(q.meter_sync_tenant_id) as id, pg_catalog.to_jsonb(q) operator(pg_catalog.->) 'name' as name
    from ({query}
) q (meter_sync_tenant_id)) t"
        )
    };
    let rows = tx.query_json(sql, &[]).await.map_err(|error| {
        let remedy = "Correct METER_SYNC_TENANTS_QUERY: it is run in the local database, and its first column is the tenant's id.";
        error.failure().with_remedy(remedy)
    })?;
    tx.pin_path().await?;
    Ok(named_rows(texts_of(&rows)).collect())
}

/// Returns the id and name of each row, without the rows that have no id.
fn named_rows(rows: Vec<TenantRow>) -> impl Iterator<Item = (TenantId, Option<String>)> {
    rows.into_iter()
        .filter_map(|(id, name)| Some((TenantId::new(id?)?, name)))
}

/// Returns a sort key for a tenant's id. It orders whole numbers by value, before all other ids.
fn order_of(id: &TenantId) -> (bool, i128, String) {
    let number: Option<i128> = id.as_str().parse().ok();
    (
        number.is_none(),
        number.unwrap_or_default(),
        id.as_str().to_owned(),
    )
}
