//! Looks up the foreign keys that refer to a table.

use super::table_family_sql::family;
use super::{DbError, Side, Tx, param};
use tokio_postgres::Row;

/// A foreign key that refers to the table that was looked up. It may belong to the same table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingForeignKey {
    /// The name of the constraint, unquoted.
    pub constraint: String,
    /// The name of the constraint with its schema, quoted where needed, as `set constraints` takes it.
    pub name: String,
    /// Whether the constraint is deferrable.
    pub is_deferrable: bool,
    /// The referring table with its schema, quoted where needed.
    pub table: String,
    /// The object ID of the referring table.
    pub table_oid: u32,
    /// Whether the referring table is the referenced table itself, one of its partitions or a table that inherits from
    /// it.
    pub is_own: bool,
    /// Pairs of a referring column and the referenced column.
    pub columns: Vec<(String, String)>,
    /// For each pair in `columns`, two pieces of SQL. The first is the operator that compares the referenced value with
    /// the referring one. The second is the `collate` clause of the referenced column, empty if its type has no
    /// collation.
    pub compared: Vec<(String, String)>,
    /// What an update of the referenced value does (`confupdtype`): `a` and `r` refuse it, `c` cascades, `n` sets null,
    /// `d` sets the default.
    pub on_update: String,
    /// The columns of the primary key of the referring table; empty if it has none.
    pub key: Vec<String>,
    /// Whether the role may read all referring rows.
    pub is_readable: bool,
    /// Whether the role may update all referring rows.
    pub is_writable: bool,
}

impl IncomingForeignKey {
    /// Whether an update of the referenced value makes the referring rows lose their reference, because the foreign key
    /// sets null or a default.
    pub fn clears_reference(&self) -> bool {
        ["n", "d"].contains(&self.on_update.as_str())
    }
}

const REFERENCES: &str = concat!(
    "-- look up who refers to the table",
    family!(),
    "
select format('%I.%I', n.nspname, x.conname), x.condeferrable, format('%I.%I', n.nspname, t.relname),
       array(select a.attname::text from unnest(x.conkey) with ordinality k(attnum, position)
             join pg_catalog.pg_attribute a on a.attrelid = x.conrelid and a.attnum = k.attnum order by k.position),
       array(select a.attname::text from unnest(x.confkey) with ordinality k(attnum, position)
             join pg_catalog.pg_attribute a on a.attrelid = x.confrelid and a.attnum = k.attnum order by k.position),
       x.confupdtype::text,
       array(select a.attname::text from pg_catalog.pg_index i
             join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey::smallint[])
             where i.indrelid = x.conrelid and i.indisprimary),
       r.is_reached and has_table_privilege(x.conrelid, 'select'),
       r.is_reached and has_table_privilege(x.conrelid, 'update'),
       x.conname::text,
       array(select format('operator(%I.%s)', s.nspname, o.oprname)
             from unnest(x.conpfeqop) with ordinality k(oid, position)
             join pg_catalog.pg_operator o on o.oid = k.oid
             join pg_catalog.pg_namespace s on s.oid = o.oprnamespace order by k.position),
       array(select case when o.oid is null then '' else format(' collate %I.%I', s.nspname, o.collname) end
             from unnest(x.confkey) with ordinality k(attnum, position)
             join pg_catalog.pg_attribute a on a.attrelid = x.confrelid and a.attnum = k.attnum
             left join pg_catalog.pg_collation o on o.oid = a.attcollation
             left join pg_catalog.pg_namespace s on s.oid = o.collnamespace order by k.position),
       x.conrelid in (select f.oid from family f), x.conrelid
from pg_catalog.pg_constraint x
join pg_catalog.pg_class t on t.oid = x.conrelid
join pg_catalog.pg_namespace n on n.oid = t.relnamespace
cross join lateral (
    select has_schema_privilege(n.oid, 'usage') and not row_security_active(t.oid) as is_reached
) r
where x.confrelid in (select f.oid from family f) and x.contype = 'f'
  and not exists (
    select from pg_catalog.pg_constraint p where p.oid = x.conparentid and p.confrelid in (select f.oid from family f))
order by x.oid"
);

/// Looks up the foreign keys that refer to the table, to one of its partitions, to a table that inherits from it, or to
/// a partitioned table of which it is a partition.
pub(super) async fn references<S: Side>(
    tx: &Tx<'_, S>,
    oid: u32,
) -> Result<Vec<IncomingForeignKey>, DbError> {
    let rows = tx.query(REFERENCES, &[param::oid(oid)]).await?;
    let reference = |row: &Row| {
        let (from, to): (Vec<String>, Vec<String>) = (row.get(3), row.get(4));
        let (operators, collations): (Vec<String>, Vec<String>) = (row.get(10), row.get(11));
        IncomingForeignKey {
            name: row.get(0),
            is_deferrable: row.get(1),
            table: row.get(2),
            table_oid: row.get(13),
            is_own: row.get(12),
            columns: from.into_iter().zip(to).collect(),
            compared: operators.into_iter().zip(collations).collect(),
            on_update: row.get(5),
            key: row.get(6),
            is_readable: row.get(7),
            is_writable: row.get(8),
            constraint: row.get(9),
        }
    };
    Ok(rows.iter().map(reference).collect())
}
