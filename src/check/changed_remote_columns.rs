//! Reports columns of the remote table that were dropped, renamed or given another type since earlier runs synced them.

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict};
use crate::config::{Mapping, OnDrift};
use crate::db::{DbError, Local, param};
use crate::engine::Relations;
use crate::engine::column_drift::{
    self, ColumnDrift, ColumnRetypeMethod, KnownColumns, RecordedColumn,
};
use crate::error::{ErrorCode, Failure};
use crate::store::{migrations, recorded_columns};
use crate::tenants::{self, run_scope::RunScope};

/// Returns findings for each column with drift (a change on the remote since the column was last synced), with the
/// statements and settings that settle the drift. Returns one `Ok` finding if no column has drifted, and nothing if no
/// run has recorded columns yet.
pub(super) async fn findings(
    local: &mut ConnectionWithReport<Local>,
    mapping: &Mapping,
    relations: &Relations,
) -> Vec<Finding> {
    match look(local, mapping).await {
        Ok(Some((known, scope))) => {
            let compared = compared(local, &known, &scope, mapping, relations).await;
            compared.unwrap_or_else(|error| vec![Finding::of("drift", Err(error))])
        }
        Ok(None) => Vec::new(),
        Err(failure) => vec![Finding::of("drift", Err(failure))],
    }
}

/// Reads the columns that the last run recorded; `None` if no run has recorded any.
async fn look(
    local: &mut ConnectionWithReport<Local>,
    mapping: &Mapping,
) -> Result<Option<(KnownColumns, RunScope)>, Failure> {
    let tx = local.begin_read_only().await?;
    if !migrations::tables(&tx).await?.columns {
        return Ok(None);
    }
    let scope = tenants::scope(&tx, mapping).await?;
    let known = recorded_columns::known(&tx, &scope.tenant.id, &scope.table.name).await?;
    Ok((!known.columns.is_empty()).then_some((known, scope)))
}

async fn compared(
    local: &mut ConnectionWithReport<Local>,
    known: &KnownColumns,
    scope: &RunScope,
    mapping: &Mapping,
    relations: &Relations,
) -> Result<Vec<Finding>, DbError> {
    let report = column_drift::compare(known, relations, mapping);
    let drifted = report.drifted();
    if drifted.is_empty() {
        let text = "the remote has each synced column as the last run found it";
        return Ok(vec![Finding::new("drift", Verdict::Ok(text.to_owned()))]);
    }
    let mut texts = Vec::new();
    for column in drifted {
        let conversion = conversion_to_new_type(local, column, relations).await?;
        let (tenant, table) = (&scope.tenant.id, scope.table.name.as_str());
        texts.extend(column_drift::finding(
            column, relations, tenant, table, conversion,
        ));
    }
    let verdict = |text: String| match mapping.on_drift {
        OnDrift::Warn => Verdict::Warning(text),
        OnDrift::Fail => Verdict::Failed(failure(&text)),
    };
    let findings = texts.into_iter();
    Ok(findings
        .map(|text| Finding::new("drift", verdict(text)))
        .collect())
}

const CAST: &str = "\
-- look for the type and a cast to it
with pair as (
    select case when h.typcategory = 'A' and t.typcategory = 'A' then h.typelem else h.oid end as here,
           case when h.typcategory = 'A' and t.typcategory = 'A' then t.typelem else t.oid end as there
    from pg_catalog.pg_type h, pg_catalog.pg_type t
    where h.oid = to_regtype($1)::oid and t.oid = to_regtype($2)::oid
)
select p.here = p.there or 'S' in (h.typcategory, t.typcategory)
       or exists (select from pg_catalog.pg_cast k where k.castsource = p.here and k.casttarget = p.there)
from pair p join pg_catalog.pg_type h on h.oid = p.here join pg_catalog.pg_type t on t.oid = p.there";

/// Returns how the values of the local column can be converted to the new type of the remote column. For a column whose
/// type has not changed nothing is looked up, and the result, `Cast`, means nothing.
async fn conversion_to_new_type(
    local: &mut ConnectionWithReport<Local>,
    column: &RecordedColumn,
    relations: &Relations,
) -> Result<ColumnRetypeMethod, DbError> {
    let mut columns = relations.columns.iter();
    let here = columns.find(|here| here.name == column.name);
    let (Some(here), Some(ColumnDrift::Retyped(to))) = (here, &column.drift) else {
        return Ok(ColumnRetypeMethod::Cast);
    };
    let tx = local.begin_read_only().await?;
    let params = [
        param::text(here.base_type.as_str()),
        param::text(to.as_str()),
    ];
    match tx.query_opt(CAST, &params).await {
        Ok(Some(row)) if row.get(0) => Ok(ColumnRetypeMethod::Cast),
        Ok(Some(_)) => Ok(ColumnRetypeMethod::Text),
        Ok(None) => Ok(ColumnRetypeMethod::NoType),
        // The name of the type contains characters that the encoding of the local database lacks. They were escaped,
        // so this is not a valid type name.
        Err(error) if error.server_error().is_some() => Ok(ColumnRetypeMethod::NoType),
        Err(error) => Err(error),
    }
}

fn failure(text: &str) -> Failure {
    let remedy = "Do one of these; with METER_SYNC_ON_DRIFT=warn the other columns go on being synced meanwhile.";
    Failure::new(ErrorCode::SchemaDrift, format!("{text}.")).with_remedy(remedy)
}
