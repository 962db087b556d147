//! What the catalogs say of a relation, read anew at each run.

use super::{DbError, Side, Tx, param, quote};

/// A table or view as it is now.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its object id within its database.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whether it is a table, plain or partitioned, and not a view.
    pub is_table: bool,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The columns of each unique index that holds for every row, the primary key's first.
    pub unique: Vec<Vec<String>>,
    /// Whether the first entry of `unique` is the primary key.
    pub has_primary_key: bool,
}

/// A column as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type without length or precision, as a cast takes it.
    pub base_type: String,
    /// Whether the database computes it.
    pub is_generated: bool,
    /// Whether it is an identity that takes a value of ours only when the row is new.
    pub is_always_identity: bool,
    /// Whether it may be null.
    pub is_nullable: bool,
}

impl Relation {
    /// The relation's name for use in SQL.
    pub fn quoted(&self) -> String {
        format!(
            "{}.{}",
            quote::identifier(&self.schema),
            quote::identifier(&self.name)
        )
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

const FIND: &str = "\
-- look up the table
select c.oid, n.nspname::text, c.relname::text, c.relkind in ('r', 'p'),
       a.attname::text, format_type(a.atttypid, -1), a.attgenerated <> '', not a.attnotnull,
       a.attidentity = 'a'
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.oid = to_regclass($1)::oid
order by a.attnum";

const UNIQUE: &str = "\
-- look up the unique indexes
select i.indisprimary, array_agg(a.attname::text order by k.position)
from pg_catalog.pg_index i
cross join lateral unnest(i.indkey::smallint[]) with ordinality k(attnum, position)
join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
where i.indrelid = $1 and i.indisunique and i.indisvalid
  and i.indpred is null and i.indexprs is null and k.position <= i.indnkeyatts
group by i.indexrelid, i.indisprimary
order by i.indisprimary desc, i.indexrelid";

/// Looks a relation up by `name` or `schema.name`; `None` when there is none that we may see.
pub async fn find<S: Side>(tx: &Tx<'_, S>, name: &str) -> Result<Option<Relation>, DbError> {
    let rows = tx.query(FIND, &[param::text(name)]).await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let oid: u32 = first.get(0);
    let indexes = tx.query(UNIQUE, &[param::oid(oid)]).await?;
    Ok(Some(Relation {
        oid,
        schema: first.get(1),
        name: first.get(2),
        is_table: first.get(3),
        columns: rows
            .iter()
            .map(|row| Column {
                name: row.get(4),
                base_type: row.get(5),
                is_generated: row.get(6),
                is_always_identity: row.get(8),
                is_nullable: row.get(7),
            })
            .collect(),
        has_primary_key: indexes.first().is_some_and(|index| index.get(0)),
        unique: indexes.iter().map(|index| index.get(1)).collect(),
    }))
}
