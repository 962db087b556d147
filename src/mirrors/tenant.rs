//! Finds the tenant whose meters this site mirrors: the one in the settings, or the single row of the local
//! `tenant` table.
//!
//! A tenant id can have several spellings that mean the same to a database with a number or UUID column: `1`
//! and `01`, or a UUID in upper and lower case. Lock, log and slots need one spelling. It comes from casting
//! the id to the local type, or from the form of the id if no local type settles it. Queries for meters use the
//! id as it was given, because the remote's type may be another.

use uuid::Uuid;

use crate::config::Mapping;
use crate::db::{DbError, Local, Tx, param, quote};
use crate::error::{ErrorCode, Failure};
use crate::model::TenantId;

use super::local_table::{self, LocalTable, TenantTable};
use crate::store::log;

/// The organisation whose meters are mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tenant {
    /// The id in its canonical spelling, for lock, log and slots.
    pub(super) id: TenantId,
    /// The id as it was given, for queries.
    pub(super) given: TenantId,
    pub(super) name: Option<String>,
}

/// What a check reports about the tenant.
pub(crate) struct TenantCheck {
    /// The id as it was given.
    pub(crate) id: TenantId,
    pub(crate) name: Option<String>,
    /// The local table, and the other tenant whose meters it holds; `None` if there is no such tenant.
    pub(crate) mismatch: Option<(String, String)>,
}

/// Looks up the tenant for a check.
pub(crate) async fn look(tx: &Tx<'_, Local>, mapping: &Mapping) -> Result<TenantCheck, Failure> {
    let table = local_table::find(tx, mapping).await?;
    let tenant = match resolve(tx, mapping, &table).await {
        Ok(tenant) => tenant,
        Err(NoTenant::Unknown(failure)) => return Err(failure),
        Err(NoTenant::Database(error)) => return Err(error.into()),
    };
    let other = match table.has_run_numbers {
        true => other(tx, &table, &tenant).await?,
        false => None,
    };
    Ok(TenantCheck {
        id: tenant.given,
        name: tenant.name,
        mismatch: other.map(|other| (table.name, other)),
    })
}

/// The other tenant whose meters the table holds: it has no tenant column and was last synced for that tenant.
/// `None` if there is no such tenant.
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

/// Why the tenant is not known.
pub(super) enum NoTenant {
    /// No id is set and the `tenant` table gives none, or the local tenant column does not accept the id.
    Unknown(Failure),
    /// The local database failed.
    Database(DbError),
}

impl From<DbError> for NoTenant {
    fn from(error: DbError) -> Self {
        Self::Database(error)
    }
}

/// The statement that reads rows of the `tenant` table. The values pass through jsonb, because the id may have
/// any type. Other columns are not read: their values may have no jsonb form, and the role may have no right to
/// them.
fn rows_of(tenants: &TenantTable, table: &str, text: fn(&str) -> String) -> String {
    let (id, name) = (
        match tenants.id_type {
            Some(_) => "pg_catalog.to_jsonb(r.id)",
            None => "null::pg_catalog.jsonb",
        },
        match tenants.has_name {
            true => "pg_catalog.to_jsonb(r.name::pg_catalog.text)",
            false => "null::pg_catalog.jsonb",
        },
    );
    let (shown_id, shown_name) = (text("t.id"), text("t.name"));
    format!(
        "-- read the tenant
select {shown_id}, {shown_name} from (select {id} as id, {name} as name from {table} r) t
where $1::text is null or t.id operator(pg_catalog.#>>) '{{}}' in ($1, $2)
limit $3"
    )
}

/// The text of a JSON value.
fn text_of(json: String) -> String {
    match json.starts_with('"') {
        true => serde_json::from_str(&json).unwrap_or(json),
        false => json,
    }
}

/// Finds the tenant. Each run calls this, because the row may be added after the process has started.
pub(super) async fn resolve(
    tx: &Tx<'_, Local>,
    mapping: &Mapping,
    table: &LocalTable,
) -> Result<Tenant, NoTenant> {
    let tenants = &table.tenants;
    let types = Types {
        column: table.tenant_type.as_deref(),
        id: table.tenants.id_type.as_deref(),
    };
    let Some(given) = mapping.tenant.clone() else {
        let (given, name) = single(rows(tx, tenants, None, Some(2)).await?)?;
        let id = types.read(tx, &given).await?;
        return Ok(Tenant { id, given, name });
    };
    let id = types.read(tx, &given).await?;
    let rows = rows(tx, tenants, Some((&given, &id)), Some(1)).await?;
    let name = rows.into_iter().next().and_then(|(_, name)| name);
    Ok(Tenant { id, given, name })
}

/// The tenant; `None` if none is set and the `tenant` table names none. An id that the local column does not take stays as it
/// was given: no row of ours is under it but those of its failed runs.
pub(super) async fn known(
    tx: &Tx<'_, Local>,
    mapping: &Mapping,
    table: &LocalTable,
) -> Result<Option<Tenant>, DbError> {
    match resolve(tx, mapping, table).await {
        Ok(tenant) => Ok(Some(tenant)),
        Err(NoTenant::Unknown(_)) => Ok(mapping.tenant.clone().map(|given| Tenant {
            id: given.clone(),
            given,
            name: None,
        })),
        Err(NoTenant::Database(error)) => Err(error),
    }
}

pub(super) type Row = (Option<String>, Option<String>);

/// The rows of the `tenant` table, or those with the ids in `of`, at most `limit`; none if there is no table.
pub(super) async fn rows(
    tx: &Tx<'_, Local>,
    tenants: &TenantTable,
    of: Option<(&TenantId, &TenantId)>,
    limit: Option<i64>,
) -> Result<Vec<Row>, DbError> {
    let Some(table) = &tenants.name else {
        return Ok(Vec::new());
    };
    let params = [
        param::text(of.map(|(given, _)| given.as_str())),
        param::text(of.map(|(_, id)| id.as_str())),
        param::bigint(limit),
    ];
    let sql = |text| rows_of(tenants, table, text);
    let rows = tx.query_json(sql, &params).await?;
    Ok(texts_of(&rows))
}

pub(super) fn texts_of(rows: &[tokio_postgres::Row]) -> Vec<Row> {
    let text = |row: &tokio_postgres::Row, place| row.get::<_, Option<String>>(place).map(text_of);
    rows.iter()
        .map(|row| (text(row, 0), text(row, 1)))
        .collect()
}

fn single(rows: Vec<Row>) -> Result<(TenantId, Option<String>), NoTenant> {
    let mut rows = rows.into_iter();
    match (rows.next(), rows.next()) {
        (Some((Some(id), name)), None) => match TenantId::new(id) {
            Some(id) => Ok((id, name)),
            None => Err(not_configured(
                "The single row of the local tenant table has an empty id",
            )),
        },
        (None, _) => Err(not_configured(
            "The local tenant table is missing, unreadable or empty",
        )),
        (Some((None, _)), None) => Err(not_configured(
            "The single row of the local tenant table has no id",
        )),
        (Some(_), Some(_)) => Err(not_configured(
            "The local tenant table holds more than one row",
        )),
    }
}

fn not_configured(why: &str) -> NoTenant {
    let message = format!("{why}, and METER_SYNC_TENANT_ID is not set.");
    NoTenant::Unknown(Failure::new(ErrorCode::TenantNotConfigured, message))
}

/// Whether two texts are spellings of one id, by their form.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one == other || normalize_by_form(one) == normalize_by_form(other)
}

/// The local types that decide which spellings are the same id.
pub(super) struct Types<'a> {
    /// The type of the meters' tenant column. A text that it does not accept is not a valid id.
    pub(super) column: Option<&'a str>,
    /// The type of `tenant.id`, which may differ from the remote's type.
    pub(super) id: Option<&'a str>,
}

impl Types<'_> {
    /// The canonical spelling of an id.
    pub(super) async fn read(
        &self,
        tx: &Tx<'_, Local>,
        given: &TenantId,
    ) -> Result<TenantId, NoTenant> {
        let read = match (self.column, self.id) {
            (Some(column), _) if keeps_any_text(column) => Some(given.as_str().to_owned()),
            (Some(column), _) => match cast(tx, given, column).await? {
                Some(read) => Some(read),
                None => return Err(refused(given, column)),
            },
            (None, Some(id)) if !keeps_any_text(id) => cast(tx, given, id).await?,
            (None, _) => None,
        };
        let read = read.unwrap_or_else(|| normalize_by_form(given.as_str()));
        Ok(TenantId::new(read).unwrap_or_else(|| given.clone()))
    }
}

pub(super) fn keeps_any_text(name: &str) -> bool {
    ["text", "character varying", "bpchar", "name"].contains(&name)
}

/// The id as the type formats it; `None` if the type does not accept it.
async fn cast(
    tx: &Tx<'_, Local>,
    given: &TenantId,
    type_: &str,
) -> Result<Option<String>, DbError> {
    // All in one message, which takes no parameters. Three messages would take a sixth of the time of a status.
    let sql = format!(
        "-- read the tenant id\nsavepoint tenant; select {}::text::{type_}::text; release savepoint tenant",
        quote::literal(given.as_str())
    );
    match tx.simple(&sql).await {
        Ok(rows) => Ok(rows.first().and_then(|row| row.get(0)).map(str::to_owned)),
        Err(error) if error.is_about_a_row() => {
            tx.back_to("tenant").await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn refused(given: &TenantId, type_: &str) -> NoTenant {
    let message =
        format!("The tenant id {given} is not of type {type_}, as the local tenant column is.");
    let remedy = "Set METER_SYNC_TENANT_ID or METER_SYNC_TENANTS to the organisation's id as the databases hold it.";
    NoTenant::Unknown(Failure::new(ErrorCode::ConfigInvalid, message).with_remedy(remedy))
}

/// The id normalised by its form: a UUID in lower case, a whole number without needless sign or zeros.
pub(super) fn normalize_by_form(given: &str) -> String {
    let given = given.trim();
    if given.len() == uuid::fmt::Hyphenated::LENGTH && Uuid::try_parse(given).is_ok() {
        return given.to_lowercase();
    }
    let digits = given.trim_start_matches(['+', '-']);
    let is_number = !digits.is_empty()
        && given.len() - digits.len() <= 1
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return given.to_owned();
    }
    match (digits.trim_start_matches('0'), given.starts_with('-')) {
        ("", _) => "0".to_owned(),
        (digits, true) => format!("-{digits}"),
        (digits, false) => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::normalize_by_form;

    #[test]
    fn spellings_of_one_number_or_uuid_look_alike_and_others_stay_as_they_are() {
        for (given, one) in [
            ("7", "7"),
            (" 007 ", "7"),
            ("+7", "7"),
            ("-07", "-7"),
            ("-0", "0"),
            ("+-7", "+-7"),
            ("+", "+"),
            ("7a", "7a"),
            ("Acme", "Acme"),
            (
                "0190A1B2-C3D4-7E5F-8A9B-0C1D2E3F4A5B",
                "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
            ),
        ] {
            assert_eq!(normalize_by_form(given), one, "{given}");
        }
    }
}
