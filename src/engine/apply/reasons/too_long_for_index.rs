//! Finds the value of a rejected row that is too long for an index of the local table. The server's error may name the
//! index, but never the column.

use crate::db::{DbError, RowFault, param, quote};

use super::row_values;
use crate::engine::RunContext;

/// An index of the local table, with the columns that it reads.
struct LocalIndex {
    name: String,
    columns: Vec<String>,
}

const INDEXES: &str = "\
-- look up what the indexes read
select c.relname::text, array(
    select a.attname::text from pg_catalog.pg_attribute a
    where a.attrelid = i.indrelid and a.attnum > 0 and (a.attnum = any (i.indkey::smallint[]) or exists (
        select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid and d.objid = i.indexrelid
          and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid and d.refobjid = i.indrelid
          and d.refobjsubid = a.attnum)))
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
where i.indrelid = $1 and i.indisready
order by i.indexrelid";

/// Returns the reason to show for row `n`, which has a value too long for an index: the longest value among the columns
/// of the index that `fault` names. If `fault` names no known index, the index whose values are longest in total is
/// taken. `None` if the table has no index, or if that index reads no column.
pub(in crate::engine) async fn reason(
    run: &RunContext<'_>,
    n: i64,
    fault: &RowFault,
) -> Result<Option<String>, DbError> {
    let rows = run
        .local
        .query(INDEXES, &[param::oid(run.relations.local_oid)])
        .await?;
    let sizes = sizes(run, n).await?;
    let size = |name: &String| {
        let place = run.relations.names.iter().position(|known| known == name);
        place
            .and_then(|place| sizes.get(place))
            .copied()
            .flatten()
            .unwrap_or(0)
    };
    let indexes: Vec<LocalIndex> = rows
        .iter()
        .map(|row| LocalIndex {
            name: row.get(0),
            columns: row.get(1),
        })
        .collect();
    let named = indexes
        .iter()
        .find(|index| Some(&index.name) == fault.rule.as_ref());
    let longest = || {
        indexes
            .iter()
            .max_by_key(|index| index.columns.iter().map(size).sum::<i64>())
    };
    let Some(index) = named.or_else(longest) else {
        return Ok(None);
    };
    let Some(column) = index.columns.iter().max_by_key(|name| size(name)) else {
        return Ok(None);
    };
    let value = row_values::of_one(run, n, std::slice::from_ref(column)).await?;
    Ok(Some(format!(
        "{value}: too long for index {}: {}",
        index.name, fault.message
    )))
}

/// Returns how many bytes each value of row `n` has as text, in the order of `relations.names`. `None` stands for NULL.
async fn sizes(run: &RunContext<'_>, n: i64) -> Result<Vec<Option<i64>>, DbError> {
    let relations = run.relations;
    let sizes = quote::list(&relations.names, ", ", |name| {
        let value = relations.column("s", name);
        format!("pg_catalog.octet_length({value}::text)::bigint")
    });
    let staged_row = relations.same_key("s", "p");
    let sql = format!(
        "-- measure the values of a rejected row
select array[{sizes}] from pg_temp.meter_sync_plan p
join pg_temp.meter_sync_stage s on {staged_row} where p.n = $1"
    );
    let found = run.local.query_opt(&sql, &[param::bigint(n)]).await?;
    Ok(found.map(|row| row.get(0)).unwrap_or_default())
}
