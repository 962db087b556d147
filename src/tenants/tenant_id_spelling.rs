//! Finds the canonical spelling of tenant ids, one for all spellings of the same id.
//!
//! A tenant id can have several spellings that mean the same to a database with a number or UUID column: `1` and `01`,
//! or a UUID in upper and lower case. The lock, the log and the slots need one spelling. It comes from casting the id
//! to its type in the local database. If no local type is known, it comes from the text itself, if that looks like a
//! number or a UUID. Queries on meters use the id as it was given, because the type on the remote may be another one.

use uuid::Uuid;

use crate::db::{DbError, Local, Tx, param, quote};
use crate::error::{ErrorCode, Failure};
use crate::model::TenantId;

use super::look_up_local_table::LocalTable;

/// The SQL types of tenant ids in the local database. They decide which spellings are the same id.
pub(super) struct LocalIdTypes<'a> {
    /// The type of the tenant column in the meter table; `None` if there is no such column. A text that the type does
    /// not accept is not a valid id.
    column: Option<&'a str>,
    /// The type of the column `id` of the table `tenant`, which may differ from the type on the remote. `None` if there
    /// is no such column.
    id: Option<&'a str>,
}

impl<'a> LocalIdTypes<'a> {
    pub(super) fn of(table: &'a LocalTable) -> Self {
        Self {
            column: table.tenant_type.as_deref(),
            id: table.tenants.id_type.as_deref(),
        }
    }

    /// Whether tenant ids have a text type in the local database.
    pub(super) fn are_texts(&self) -> bool {
        self.column.or(self.id).is_some_and(keeps_any_text)
    }

    /// Returns the canonical spelling of an id. The inner result is an error if the type of the local tenant column
    /// does not accept the id.
    pub(super) async fn read(
        &self,
        tx: &Tx<'_, Local>,
        given: &TenantId,
    ) -> Result<Result<TenantId, Failure>, DbError> {
        let read = match (self.column, self.id) {
            (Some(column), _) if keeps_any_text(column) => Some(given.as_str().to_owned()),
            (Some(column), _) => match cast(tx, given, column).await? {
                Some(read) => Some(read),
                None => return Ok(Err(refused(given, column))),
            },
            (None, Some(id)) if !keeps_any_text(id) => cast(tx, given, id).await?,
            (None, _) => None,
        };
        let read = read.unwrap_or_else(|| normalize_by_form(given.as_str()));
        Ok(Ok(TenantId::new(read).unwrap_or_else(|| given.clone())))
    }

    /// Returns the canonical spelling of each id. An id that the type of the local tenant column does not accept stays
    /// as it is; the runs of that tenant fail and say why.
    pub(super) async fn read_all<'t>(
        &self,
        tx: &Tx<'_, Local>,
        given: impl Iterator<Item = &'t TenantId> + Clone,
    ) -> Result<Vec<TenantId>, DbError> {
        // Ids of a text type, or of no known type, are read without a statement.
        let asked = self.column.or(self.id);
        if let Some(type_) = asked.filter(|type_| !keeps_any_text(type_))
            && let Some(all) = cast_all(tx, given.clone(), type_).await?
        {
            return Ok(all);
        }
        let mut all = Vec::new();
        for id in given {
            let read = self.read(tx, id).await?;
            all.push(read.unwrap_or_else(|_failure| id.clone()));
        }
        Ok(all)
    }
}

fn keeps_any_text(name: &str) -> bool {
    ["text", "character varying", "bpchar", "name"].contains(&name)
}

/// The name of the savepoint that is set before ids are cast.
const SAVEPOINT: &str = "tenant";

/// Casts the id to the SQL type `type_` and back to text. Returns `None` if the type does not accept it.
async fn cast(
    tx: &Tx<'_, Local>,
    given: &TenantId,
    type_: &str,
) -> Result<Option<String>, DbError> {
    // The statement is sent in one message with its savepoint, which takes no parameters. Three messages would take a
    // sixth of the time of a status.
    let sql = format!(
        "select {}::text::{type_}::text",
        quote::literal(given.as_str())
    );
    let doing = "read the tenant id";
    let read = tx.undo_simple_if(SAVEPOINT, DbError::is_about_a_row, doing, &sql);
    let rows = read.await?.unwrap_or_default();
    Ok(rows.first().and_then(|row| row.get(0)).map(str::to_owned))
}

/// Casts the ids to the SQL type `type_` and back to text, in one statement. Returns `None` if the type does not accept
/// one of them.
async fn cast_all<'t>(
    tx: &Tx<'_, Local>,
    given: impl Iterator<Item = &'t TenantId>,
    type_: &str,
) -> Result<Option<Vec<TenantId>>, DbError> {
    let given: Vec<String> = given.map(|id| id.as_str().to_owned()).collect();
    let sql = format!(
        "-- read the tenant ids\nselect u.id::{type_}::text from unnest($1) with ordinality u (id, n) order by u.n"
    );
    let params = [param::texts(&given)];
    let read = tx.query(&sql, &params);
    let read = tx.undo_if(SAVEPOINT, DbError::is_about_a_row, read).await?;
    Ok(read.ok().and_then(|rows| {
        let ids = rows.iter().map(|row| row.get::<_, String>(0));
        ids.map(TenantId::new).collect()
    }))
}

fn refused(given: &TenantId, type_: &str) -> Failure {
    let message =
        format!("The tenant id {given} is not of type {type_}, as the local tenant column is.");
    let remedy = "Set METER_SYNC_TENANT_ID or METER_SYNC_TENANTS to the organisation's id as the databases hold it.";
    Failure::new(ErrorCode::ConfigInvalid, message).with_remedy(remedy)
}

/// Whether two texts are spellings of one tenant id, judged only by the texts: as numbers or UUIDs if they look like
/// that.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    one == other || normalize_by_form(one) == normalize_by_form(other)
}

/// Normalizes a tenant id by what its text looks like: a UUID to lower case, and a whole number to digits without a
/// plus sign or leading zeros. Any other id is only trimmed.
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
