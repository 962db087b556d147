//! Looks up the unique indexes of tables in the system catalogs.

use std::collections::BTreeMap;

use super::{DbError, Side, Tx, param};

/// The unique indexes of a table at the time of the lookup.
#[derive(Clone, Debug, Default)]
pub struct UniqueIndexes {
    /// The columns of the primary key; `None` if there is none.
    pub primary: Option<Vec<String>>,
    /// The columns of each unique index that covers all rows (it has no predicate) and has no expression. Includes the
    /// primary key.
    pub whole: Vec<Vec<String>>,
}

const UNIQUE: &str = "\
-- look up the unique indexes
select i.indisprimary, array_agg(a.attname::text order by k.position),
       i.indpred is null and i.indexprs is null, i.indrelid
from pg_catalog.pg_index i
cross join lateral unnest(i.indkey::smallint[]) with ordinality k(attnum, position)
join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
where i.indrelid = any ($1) and i.indisunique and i.indisvalid and k.position <= i.indnkeyatts
group by i.indrelid, i.indexrelid, i.indisprimary, i.indpred is null, i.indexprs is null
order by i.indexrelid";

/// Looks up the unique indexes of a table.
pub async fn of_table<S: Side>(tx: &Tx<'_, S>, oid: u32) -> Result<UniqueIndexes, DbError> {
    let found = of_tables(tx, &[oid]).await?;
    Ok(found.into_values().next().unwrap_or_default())
}

/// Looks up the unique indexes of these tables. The result maps the object ID of a table to its indexes; a table
/// without a unique index is left out.
pub async fn of_tables<S: Side>(
    tx: &Tx<'_, S>,
    oids: &[u32],
) -> Result<BTreeMap<u32, UniqueIndexes>, DbError> {
    let mut found: BTreeMap<u32, UniqueIndexes> = BTreeMap::new();
    for row in tx.query(UNIQUE, &[param::oids(oids)]).await? {
        let (is_primary, columns, is_whole): (bool, Vec<String>, bool) =
            (row.get(0), row.get(1), row.get(2));
        let of_table = found.entry(row.get(3)).or_default();
        if is_primary {
            of_table.primary = Some(columns.clone());
        }
        if is_whole {
            of_table.whole.push(columns);
        }
    }
    Ok(found)
}
