//! Looks whether the local table holds what was written to it: a trigger may have a will of its own, and the next run would
//! find the same difference again.

use crate::db::{DbError, Local, Tx, param, quote};

use super::Shape;

/// The columns that do not hold what was written to them; the key for rows that are not there. `out` are the rows of the
/// plan that were rejected.
pub(super) async fn columns(
    local: &Tx<'_, Local>,
    shape: &Shape,
    out: &[i64],
) -> Result<Vec<String>, DbError> {
    if shape.keeps_what_is_written {
        return Ok(Vec::new());
    }
    let Shape {
        local: table,
        local_filter,
        ..
    } = shape;
    let staged_row = shape.same_key("s", "p");
    let local_row = shape.same_key("l", "p");
    let has_row = shape.has_key("l");
    let values = quote::list(shape.fields(), ", ", |name| {
        let (written, staged) = (shape.column("l", name), shape.column("s", name));
        let name = quote::literal(name);
        format!("({name}, pg_catalog.record_image_ne(row({written}), row({staged})))")
    });
    let key = quote::list(&shape.key, ", ", |name| {
        format!("({})", quote::literal(name))
    });
    let (active, active_name) = (
        shape.column("l", &shape.active),
        quote::literal(&shape.active),
    );
    let sql = format!(
        "-- look at what was written
with planned as materialized (
    select p.* from pg_temp.meter_sync_plan p where p.n operator(pg_catalog.<>) all ($1)
)
select f.name from planned p
join pg_temp.meter_sync_stage s on {staged_row}
join {table} l on {local_row} and {local_filter}
cross join lateral (values {values}) f (name, differs)
where p.step operator(pg_catalog.>) 0 and f.differs
union
select {active_name} from planned p
join {table} l on {local_row} and {local_filter}
where p.step operator(pg_catalog.=) 0 and {active} is not false
union
select k.name from planned p
left join {table} l on {local_row} and {local_filter}
cross join (values {key}) k (name)
where not ({has_row})
order by 1"
    );
    let rows = local.query(&sql, &[param::bigints(out)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
