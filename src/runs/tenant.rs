//! Whose meters this site mirrors: the setting, or the single row of the local `tenant` table.

use crate::config::Mapping;
use crate::db::{Local, Tx, param};
use crate::error::{ErrorCode, Failure};
use crate::meter::TenantId;

/// The organisation whose meters are mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) name: Option<String>,
}

const HAS_TABLE: &str = "\
-- look for the tenant table
select coalesce(has_table_privilege(to_regclass('tenant')::oid, 'select'), false)";

// Through jsonb, as the table need not have a name and its id may be of any type.
const ROWS: &str = "\
-- read the tenant
select to_jsonb(t)->>'id', to_jsonb(t)->>'name' from tenant t
where $1::text is null or to_jsonb(t)->>'id' = $1
limit 2";

/// Finds the tenant; read at each run, as the row may come later than the process.
pub(crate) async fn resolve(tx: &Tx<'_, Local>, mapping: &Mapping) -> Result<Tenant, Failure> {
    let set = mapping.tenant.as_ref();
    let has_table = tx
        .query_one(HAS_TABLE, &[])
        .await
        .map_err(|e| e.failure())?;
    let rows = if has_table.get(0) {
        let id = set.map(TenantId::as_str);
        tx.query(ROWS, &[param::text(id)])
            .await
            .map_err(|e| e.failure())?
    } else {
        Vec::new()
    };
    let found: Vec<(Option<String>, Option<String>)> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    match (set, found.as_slice()) {
        (Some(id), rows) => {
            let name = rows.first().and_then(|(_, name)| name.clone());
            Ok(Tenant {
                id: id.clone(),
                name,
            })
        }
        (None, [(Some(id), name)]) => TenantId::new(id.as_str())
            .map(|id| Tenant {
                id,
                name: name.clone(),
            })
            .ok_or_else(|| {
                not_configured("The single row of the local tenant table has an empty id")
            }),
        (None, []) => Err(not_configured(
            "The local tenant table is missing, unreadable or empty",
        )),
        (None, [_]) => Err(not_configured(
            "The single row of the local tenant table has no id",
        )),
        (None, _) => Err(not_configured(
            "The local tenant table holds more than one row",
        )),
    }
}

fn not_configured(why: &str) -> Failure {
    let message = format!("{why}, and METER_SYNC_TENANT_ID is not set.");
    Failure::new(ErrorCode::TenantNotConfigured, message)
}
