//! Says which value of a row is too long for an index of the local table. The server names neither, or only the index.

use crate::db::{DbError, Local, RowFault, Tx, param, quote};

use super::{Shape, row_values};

/// An index with the columns that it reads.
struct Index {
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

/// The reason of row `n`: the longest value of the index that the server names, else of the one whose values are longest.
pub(super) async fn reason(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (n, fault): (i64, &RowFault),
) -> Result<Option<String>, DbError> {
    let rows = local.query(INDEXES, &[param::oid(shape.local_oid)]).await?;
    let sizes = sizes(local, shape, n).await?;
    let size = |name: &String| {
        let place = shape.names.iter().position(|known| known == name);
        place
            .and_then(|place| sizes.get(place))
            .copied()
            .flatten()
            .unwrap_or(0)
    };
    let indexes: Vec<Index> = rows
        .iter()
        .map(|row| Index {
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
    let value = row_values::of_one(local, shape, n, std::slice::from_ref(column)).await?;
    Ok(Some(format!(
        "{value}: too long for index {}: {}",
        index.name, fault.message
    )))
}

/// How many bytes each value of the row takes as text, in the order of the shape's columns.
async fn sizes(local: &Tx<'_, Local>, shape: &Shape, n: i64) -> Result<Vec<Option<i64>>, DbError> {
    let sizes = quote::list(&shape.names, ", ", |name| {
        let value = shape.column("s", name);
        format!("pg_catalog.octet_length({value}::text)::bigint")
    });
    let staged_row = shape.same_key("s", "p");
    let sql = format!(
        "-- measure the values of a rejected row
select array[{sizes}] from pg_temp.meter_sync_plan p
join pg_temp.meter_sync_stage s on {staged_row} where p.n = $1"
    );
    let found = local.query_opt(&sql, &[param::bigint(n)]).await?;
    Ok(found.map(|row| row.get(0)).unwrap_or_default())
}
