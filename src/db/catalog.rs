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
    /// The columns that stand in any unique index, one that holds for some rows only included.
    pub unique_columns: Vec<String>,
}

/// A column as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type without length or precision and behind every domain, as a cast takes it without
    /// cutting anything off.
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
       a.attname::text, format_type(coalesce(root.oid, a.atttypid), -1), a.attgenerated <> '', not a.attnotnull,
       a.attidentity = 'a'
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join lateral (
    with recursive behind (oid, typtype, typbasetype) as (
        select t.oid, t.typtype, t.typbasetype from pg_catalog.pg_type t where t.oid = a.atttypid
        union all
        select t.oid, t.typtype, t.typbasetype
        from behind b join pg_catalog.pg_type t on t.oid = b.typbasetype
        where b.typtype = 'd'
    )
    select b.oid from behind b where b.typtype <> 'd'
) root on true
where c.oid = to_regclass($1)::oid
order by a.attnum";

const UNIQUE: &str = "\
-- look up the unique indexes
select i.indisprimary, array_agg(a.attname::text order by k.position),
       i.indpred is null and i.indexprs is null
from pg_catalog.pg_index i
cross join lateral unnest(i.indkey::smallint[]) with ordinality k(attnum, position)
join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
where i.indrelid = $1 and i.indisunique and i.indisvalid and k.position <= i.indnkeyatts
group by i.indexrelid, i.indisprimary, i.indpred is null, i.indexprs is null
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
        unique: indexes
            .iter()
            .filter(|index| index.get(2))
            .map(|index| index.get(1))
            .collect(),
        unique_columns: indexes
            .iter()
            .flat_map(|index| index.get::<_, Vec<String>>(1))
            .collect(),
    }))
}
