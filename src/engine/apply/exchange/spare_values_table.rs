//! Fills the temporary table `meter_sync_free` with spare values (values that rows hold for a moment while they
//! exchange unique values), and builds the SQL that selects the rows for them.

use crate::db::catalog::Column;
use crate::db::{DbError, Local, Tx, param};

use super::spare_values::TypeKind;
use crate::engine::{RunContext, copy_distributed_rows};

/// Selects the rows `h` of the temporary table `meter_sync_holder` that meet a condition, each joined with its row `p`
/// of the plan and its local row `l`. Returns SQL to follow the keyword `from`.
pub(in crate::engine) fn holders(run: &RunContext<'_>, condition: &str) -> String {
    format!(
        "pg_temp.meter_sync_holder h join pg_temp.meter_sync_plan p on p.n = h.n and {condition}
join {} on {} and {}",
        run.relations.local_rows(),
        run.relations.same_key("l", "p"),
        run.scope.local_filter
    )
}

pub(in crate::engine) async fn fill(run: &RunContext<'_>, spare: &str) -> Result<(), DbError> {
    let local = run.local;
    copy_distributed_rows::copy(run).await?;
    local.pin_path().await?;
    local
        .batch("-- drop the last free values\ndrop table if exists pg_temp.meter_sync_free")
        .await?;
    local.batch(spare).await?;
    local
        .batch("-- analyze the free values\nanalyze pg_temp.meter_sync_free")
        .await?;
    local.use_role_path().await
}

pub(in crate::engine) async fn kind(
    local: &Tx<'_, Local>,
    column: &Column,
) -> Result<TypeKind, DbError> {
    let params = [param::text(column.base_type.as_str())];
    let found = local.query_opt(KIND, &params).await?;
    Ok(found.map_or_else(
        || TypeKind {
            kind: "b".to_owned(),
            category: "U".to_owned(),
        },
        |row| TypeKind {
            kind: row.get(0),
            category: row.get(1),
        },
    ))
}

const KIND: &str = "\
-- look up what kind of type it is
select t.typtype::text, t.typcategory::text from pg_catalog.pg_type t where t.oid = pg_catalog.to_regtype($1)::oid";
