//! Reads rows of the local table `tenant`, which holds the ids and names of tenants.

use crate::db::{DbError, Local, Tx, param};
use crate::model::TenantId;

use super::look_up_local_table::TenantNamesTable;

/// The id and the name in a row, each as text; `None` for NULL.
pub(super) type TenantRow = (Option<String>, Option<String>);

/// Returns the rows of the table `tenant`, at most `limit` (`None`: all). `of` selects the rows with one of two
/// spellings of a tenant's id; `None` selects all rows. Returns no rows if there is no such table.
pub(super) async fn rows(
    tx: &Tx<'_, Local>,
    tenants: &TenantNamesTable,
    of: Option<(&TenantId, &TenantId)>,
    limit: Option<i64>,
) -> Result<Vec<TenantRow>, DbError> {
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

pub(super) fn texts_of(rows: &[tokio_postgres::Row]) -> Vec<TenantRow> {
    let text = |row: &tokio_postgres::Row, place| row.get::<_, Option<String>>(place).map(text_of);
    rows.iter()
        .map(|row| (text(row, 0), text(row, 1)))
        .collect()
}

/// Builds the SQL statement that reads the columns `id` and `name` of the table `tenant`. Their values are read as
/// jsonb, because the id may have any type. Other columns are not read: they may have no jsonb form, and our role may
/// lack the privilege to read them.
fn rows_of(tenants: &TenantNamesTable, table: &str, text: fn(&str) -> String) -> String {
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

/// Converts a JSON value to text: a JSON string to its contents; any other value stays as it is.
fn text_of(json: String) -> String {
    match json.starts_with('"') {
        true => serde_json::from_str(&json).unwrap_or(json),
        false => json,
    }
}
