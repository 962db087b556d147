//! Checks that the local table has the values that the run wrote to it. If a trigger changes them, every later run
//! finds the same difference again.

use crate::db::{DbError, param, quote};
use crate::engine::{RunContext, copy_distributed_rows};

/// Returns the names of the columns in which written rows have another value than the one written. For a row that is
/// missing, these are the key columns. Rows with a number in `out` were rejected and are not checked. If
/// `relations.stores_rows_unchanged` says that nothing can change the values, returns no names without a check.
pub(in crate::engine) async fn columns(
    run: &RunContext<'_>,
    out: &[i64],
) -> Result<Vec<String>, DbError> {
    let relations = run.relations;
    if relations.stores_rows_unchanged {
        return Ok(Vec::new());
    }
    let (rows, local_filter) = (run.relations.local_rows(), &run.scope.local_filter);
    let staged_row = relations.same_key("s", "p");
    let local_row = relations.same_key("l", "p");
    let has_row = relations.has_key("l");
    let values = quote::list(relations.fields(), ", ", |name| {
        let (written, staged) = (relations.column("l", name), relations.column("s", name));
        let name = quote::literal(name);
        format!("({name}, pg_catalog.record_image_ne(row({written}), row({staged})))")
    });
    let key = quote::list(&relations.key, ", ", |name| {
        format!("({})", quote::literal(name))
    });
    let (active, active_name) = (
        relations.column("l", &relations.active),
        quote::literal(&relations.active),
    );
    let sql = format!(
        "-- look at what was written
with planned as materialized (
    select p.* from pg_temp.meter_sync_plan p where p.n operator(pg_catalog.<>) all ($1)
)
select f.name from planned p
join pg_temp.meter_sync_stage s on {staged_row}
join {rows} on {local_row} and {local_filter}
cross join lateral (values {values}) f (name, differs)
where p.step operator(pg_catalog.>) 0 and f.differs
union
select {active_name} from planned p
join {rows} on {local_row} and {local_filter}
where p.step operator(pg_catalog.=) 0 and {active} is not false
union
select k.name from planned p
left join {rows} on {local_row} and {local_filter}
cross join (values {key}) k (name)
where not ({has_row})
order by 1"
    );
    copy_distributed_rows::copy_planned(run).await?;
    let rows = run.local.query(&sql, &[param::bigints(out)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
