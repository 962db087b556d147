//! Looks up tables and views, and their columns, in the system catalogs. Each lookup queries the database; nothing is
//! cached.

use tokio_postgres::Row;

use super::citus_distribution::{self, CitusDistribution, has_citus};
use super::index_from_ordinality::index;
use super::look_up_table_names::oids_of_names;
use super::{DbError, Side, Tx, param, quote};

/// A table or view, as the catalogs describe it at the time of the lookup.
#[derive(Clone, Debug)]
pub struct Relation {
    /// The object ID of the relation.
    pub oid: u32,
    /// The schema of the relation, unquoted.
    pub schema: String,
    /// The name of the relation, unquoted.
    pub name: String,
    /// Whether the relation is an ordinary or a partitioned table, and not a view or a foreign table.
    pub is_table: bool,
    /// Whether it has rows to read: it is a table or a view, and not an index, a sequence or a type.
    pub has_rows: bool,
    /// Whether no rule, trigger or row security policy can change or drop a row that is written to the relation. It is
    /// an ordinary table without rules or row security, and neither it nor a table that inherits from it has
    /// user-defined triggers.
    pub is_plain: bool,
    /// Whether an update of a value that other rows refer to may do more than copy the new value to these rows. This is
    /// so if a foreign key to this table
    ///
    /// - sets null or a default,
    /// - has its referring rows in this table, or
    /// - belongs to a table whose triggers, rules or foreign keys may change this table in turn.
    pub has_foreign_keys_acting_on_update: bool,
    /// Whether reading the relation may read a foreign table. `true` if the database has a foreign table, unless the
    /// relation is an ordinary table from which no table inherits.
    pub may_be_foreign: bool,
    /// Identifies the file that holds the rows, and the running server. If two lookups return the same text, neither
    /// has changed in between: the table was not rewritten, and the server was not restarted and did not recover from a
    /// crash. `None` if the rows are not in one plain file, if the role may not read all of them, or if the server is
    /// older than version 14.
    pub file: Option<String>,
    /// How Citus distributes the rows; `None` if it does not.
    pub distribution: Option<CitusDistribution>,
    /// The number of rows, as the last vacuum or analyze estimated it. Negative if there was none yet (0 before
    /// Postgres 14).
    pub estimated_rows: i64,
    /// The columns of the relation, in order.
    pub columns: Vec<Column>,
}

/// A column of a table, view or query at the time of the lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name of the column, unquoted.
    pub name: String,
    /// Its number (`attnum`), which Postgres never gives to another column of the relation; 0 for a column of a query.
    pub number: i16,
    /// The type without length or precision, so that a cast to it does not shorten a value. A domain is replaced by its
    /// base type.
    pub base_type: String,
    /// The type with length or precision, as far as Postgres tells them; for a column of a query it usually does not. A
    /// domain is replaced by its base type.
    pub exact_type: String,
    /// The equality operator of the type, with its schema, such as `operator(pg_catalog.=)`.
    pub equals: String,
    /// Whether the type is built in, so that every server has it.
    pub is_builtin: bool,
    /// Whether its collation is deterministic: two texts are equal only if their bytes are. Always `true` for a type
    /// without collation and for a column of a query.
    pub is_deterministic: bool,
    /// Whether it is a generated column.
    pub is_generated: bool,
    /// Whether it is `generated always as identity`. Such a column cannot be updated to a given value; an insert can
    /// set it.
    pub is_always_identity: bool,
    /// Whether the column accepts nulls. Always `true` for a column of a query.
    pub is_nullable: bool,
}

impl Column {
    /// Whether the values of this column contain object IDs of catalog rows, which Postgres writes as names. The types
    /// are `regclass` and the other `reg` types, `aclitem`, and arrays of these.
    pub fn names_catalog_rows(&self) -> bool {
        self.is_builtin
            && (self.base_type.starts_with("reg") || self.base_type.starts_with("aclitem"))
    }
}

impl Relation {
    /// The relation's name for use in SQL: schema and name, both quoted.
    pub fn quoted(&self) -> String {
        format!(
            "{}.{}",
            quote::identifier(&self.schema),
            quote::identifier(&self.name)
        )
    }

    /// The relation's name for people, and for statements that people run: schema and name, quoted only where needed.
    pub fn shown(&self) -> String {
        format!(
            "{}.{}",
            quote::where_needed(&self.schema),
            quote::where_needed(&self.name)
        )
    }

    /// The column of that name, if there is one.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// SQL expression for the equality operator of a type, with its schema, such as `operator(pg_catalog.=)`. `$type` is
/// SQL for the object ID of the type. The operator is that of the type's default B-tree operator class.
macro_rules! equals {
    ($type:literal) => {
        concat!(
            "coalesce((
               select pg_catalog.format('operator(%I.%s)', s.nspname, e.oprname)
               from pg_catalog.pg_opclass c
               join pg_catalog.pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
               join pg_catalog.pg_amop o on o.amopfamily = c.opcfamily and o.amopstrategy = 3
                   and o.amoplefttype = c.opcintype and o.amoprighttype = c.opcintype
               join pg_catalog.pg_operator e on e.oid = o.amopopr
               join pg_catalog.pg_namespace s on s.oid = e.oprnamespace
               where c.opcdefault and c.opcintype = ",
            $type,
            "), 'operator(pg_catalog.=)')"
        )
    };
}

/// SQL: a lateral join `t` that looks up a type: its names without and with length or precision, and its equality
/// operator. `v.type_oid` is the object ID of the type and `v.modifier` its type modifier. A domain is replaced by its
/// base type, also if it is a domain over a domain.
macro_rules! behind_domains {
    () => {
        concat!(
            "
join lateral (
    with recursive behind (oid, modifier) as (
        select v.type_oid, v.modifier
        union all
        select d.typbasetype, case when b.modifier >= 0 then b.modifier else d.typtypmod end
        from behind b join pg_catalog.pg_type d on d.oid = b.oid and d.typtype = 'd'
    )
    select pg_catalog.format_type(t.oid, -1) as base_type, pg_catalog.format_type(t.oid, b.modifier) as exact_type,
           t.typnamespace operator(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid as is_builtin,
           ",
            equals!("t.oid"),
            " as equals
    from behind b
    join pg_catalog.pg_type t on t.oid = b.oid and t.typtype <> 'd'
) t on true"
        )
    };
}

/// SQL expression that converts a name to `bytea`. The bytes are UTF-8, except in an `SQL_ASCII` database: the server
/// does not know its encoding and returns the bytes as they are stored.
macro_rules! name {
    ($name:literal) => {
        concat!(
            "pg_catalog.convert_to(",
            $name,
            ", case when pg_catalog.getdatabaseencoding() operator(pg_catalog.=) 'SQL_ASCII'
               then 'SQL_ASCII' else 'UTF8' end)"
        )
    };
}

/// SQL condition: whether [`Relation::has_foreign_keys_acting_on_update`] is true for the row `c` of `pg_class`. Each
/// such foreign key has an internal trigger on the referenced table
/// (<https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/ri_triggers.c>). The condition looks for
/// these triggers, because the catalog has an index to find triggers by their table.
macro_rules! has_foreign_keys_acting_on_update {
    () => {
        "exists (
           select from pg_catalog.pg_trigger g
           join pg_catalog.pg_proc f on f.oid = g.tgfoid
               and f.proname in ('RI_FKey_cascade_upd', 'RI_FKey_setnull_upd', 'RI_FKey_setdefault_upd')
           join pg_catalog.pg_class r on r.oid = g.tgconstrrelid
           where g.tgrelid = c.oid and g.tgisinternal and (
               f.proname <> 'RI_FKey_cascade_upd' or r.oid = c.oid or r.relkind <> 'r' or r.relhassubclass or r.relhasrules
               or exists (
                   select from pg_catalog.pg_trigger h join pg_catalog.pg_proc a on a.oid = h.tgfoid
                   where h.tgrelid = r.oid and (not h.tgisinternal
                       or a.proname in ('RI_FKey_cascade_upd', 'RI_FKey_setnull_upd', 'RI_FKey_setdefault_upd')))))"
    };
}

/// SQL condition: whether [`Relation::is_plain`] is true for the row `c` of `pg_class`. The two conditions on triggers
/// are separate, because in one condition they make the server read all triggers of the database for each table.
macro_rules! is_plain {
    () => {
        "(c.relkind = 'r' and not c.relhasrules and not c.relrowsecurity
           and not exists (select from pg_catalog.pg_trigger g where g.tgrelid = c.oid and not g.tgisinternal)
           and not (c.relhassubclass and exists (
               select from pg_catalog.pg_trigger g
               where not g.tgisinternal and g.tgrelid in (select i.inhrelid from pg_catalog.pg_inherits i))))"
    };
}

/// Looks up relations with their columns. What is true of a relation is computed once, and not for each column.
const FIND: &str = concat!(
    "\
-- look up the tables
",
    oids_of_names!("to_regclass(u.name)::oid"),
    ", relations as materialized (
select f.n, c.oid, n.nspname::text as schema, c.relname::text as name, c.relkind in ('r', 'p') as is_table,
       c.reltuples::bigint as estimated_rows, ",
    is_plain!(),
    " as is_plain,
       case when c.relkind = 'r' and not c.relhassubclass and not row_security_active(c.oid)
                 and has_table_privilege(c.oid, 'select')
                 and exists (select from pg_catalog.pg_proc p
                             where p.proname = 'hashtidextended' and p.pronamespace = 'pg_catalog'::regnamespace)
                 and (select m.amname = 'heap' from pg_catalog.pg_am m where m.oid = c.relam)
            then concat_ws(' ', extract(epoch from pg_postmaster_start_time()),
                 (select d.oid from pg_catalog.pg_database d where d.datname = current_database()),
                 c.oid, pg_relation_filenode(c.oid),
                 (select string_agg(b.pid::text, ' ' order by b.pid) from pg_catalog.pg_stat_activity b
                  where b.datid is null and b.usesysid is null)) end as file,
       (c.relkind <> 'r' or c.relhassubclass) and exists (select from pg_catalog.pg_foreign_table) as may_be_foreign,
       c.relkind in ('r', 'p', 'v', 'm', 'f') as has_rows,
       ",
    has_foreign_keys_acting_on_update!(),
    " as has_foreign_keys_acting_on_update
from pinned
cross join lateral unnest(pinned.oids) with ordinality f (oid, n)
join pg_catalog.pg_class c on c.oid = f.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
)
select t.base_type, t.exact_type, t.is_builtin, ",
    name!("a.attname::text"),
    ", a.attgenerated <> '',
       a.attidentity = 'a', not a.attnotnull, a.attnum,
       coalesce((select o.collisdeterministic from pg_catalog.pg_collation o where o.oid = a.attcollation), true),
       r.oid, r.schema, r.name, r.is_table, r.estimated_rows, r.is_plain, r.file, t.equals, r.may_be_foreign, r.has_rows,
       r.has_foreign_keys_acting_on_update, r.n, ",
    has_citus!(),
    "
from relations r
join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
cross join lateral (select a.atttypid as type_oid, a.atttypmod as modifier) v",
    behind_domains!(),
    "
order by r.n, a.attnum"
);

const EQUALS: &str = concat!(
    "-- look up the equality of a type\nselect ",
    equals!("v.oid"),
    " from (select $1::oid) v (oid)"
);

/// Looks up the equality operator of a type, with its schema, such as `operator(pg_catalog.=)`.
pub async fn equals_of<S: Side>(tx: &Tx<'_, S>, type_oid: u32) -> Result<String, DbError> {
    Ok(tx.query_one(EQUALS, &[param::oid(type_oid)]).await?.get(0))
}

/// Looks up a relation by `name` or `schema.name`. A name without a schema is looked up on the role's own search path.
/// Returns `None` if the role can see no such relation.
pub async fn find<S: Side>(tx: &Tx<'_, S>, name: &str) -> Result<Option<Relation>, DbError> {
    let found = find_all(tx, &[name.to_owned()]).await?;
    Ok(found.into_iter().flatten().next())
}

/// Looks up each of the relations as [`find`] does. Returns them in the order of `names`.
pub async fn find_all<S: Side>(
    tx: &Tx<'_, S>,
    names: &[String],
) -> Result<Vec<Option<Relation>>, DbError> {
    let path = tx.role_path();
    let params = [param::texts(names), param::text(path.as_str())];
    let rows = tx.query(FIND, &params).await?;
    let mut found = vec![None; names.len()];
    let number = |row: &Row| row.get::<_, i64>(20);
    for of_one in rows.chunk_by(|a, b| number(a) == number(b)) {
        let Some(first) = of_one.first() else {
            continue;
        };
        if let Some(wanted) = found.get_mut(index(number(first))) {
            *wanted = Some(relation(first, of_one));
        }
    }
    if rows.first().is_some_and(|row| row.get(21)) {
        add_distribution(tx, &mut found).await?;
    }
    Ok(found)
}

/// Adds to the relations how Citus distributes them.
async fn add_distribution<S: Side>(
    tx: &Tx<'_, S>,
    relations: &mut [Option<Relation>],
) -> Result<(), DbError> {
    let oids = relations.iter().flatten().map(|relation| relation.oid);
    let oids: Vec<u32> = oids.collect();
    for (oid, distribution) in citus_distribution::of_tables(tx, &oids).await? {
        // Several names may be those of one table.
        let known = relations.iter_mut().flatten();
        for relation in known.filter(|relation| relation.oid == oid) {
            relation.file = None;
            relation.distribution = Some(distribution.clone());
        }
    }
    Ok(())
}

fn relation(first: &Row, rows: &[Row]) -> Relation {
    Relation {
        oid: first.get(9),
        schema: first.get(10),
        name: first.get(11),
        is_table: first.get(12),
        has_rows: first.get(18),
        estimated_rows: first.get(13),
        is_plain: first.get(14),
        file: first.get(15),
        distribution: None,
        has_foreign_keys_acting_on_update: first.get(19),
        may_be_foreign: first.get(17),
        columns: rows.iter().filter_map(column).collect(),
    }
}

const KEEPS: &str = concat!(
    "-- look whether the table keeps what is written\nselect ",
    is_plain!(),
    " and not ",
    has_foreign_keys_acting_on_update!(),
    " from pg_catalog.pg_class c where c.oid = $1"
);

/// Whether nothing in the database can change a row that is written to the table: [`Relation::is_plain`] is true and
/// [`Relation::has_foreign_keys_acting_on_update`] is false. `false` if the table does not exist.
pub async fn stores_rows_unchanged<S: Side>(tx: &Tx<'_, S>, oid: u32) -> Result<bool, DbError> {
    let found = tx.query_opt(KEEPS, &[param::oid(oid)]).await?;
    Ok(found.is_some_and(|row| row.get(0)))
}

/// Reads a column from a row of a catalog query. Returns `None` if the column's name is not valid UTF-8, because no
/// setting can name such a column.
fn column(row: &Row) -> Option<Column> {
    let name = String::from_utf8(row.get(3)).ok()?;
    Some(Column {
        base_type: row.get(0),
        exact_type: row.get(1),
        is_builtin: row.get(2),
        name,
        is_generated: row.get(4),
        is_always_identity: row.get(5),
        is_nullable: row.get(6),
        number: row.get(7),
        is_deterministic: row.get(8),
        equals: row.get("equals"),
    })
}

/// Looks up the columns of a query without reading any of its rows.
pub async fn of_query<S: Side>(tx: &Tx<'_, S>, query: &str) -> Result<Vec<Column>, DbError> {
    let names = tx.columns_of(query).await?;
    let types = quote::list(&names, ", ", |name| {
        format!("pg_catalog.pg_typeof(q.{})::oid", quote::identifier(name))
    });
    let find = concat!(
        "
select t.base_type, t.exact_type, t.is_builtin, ",
        name!("v.name"),
        ", false, false, true, 0::smallint, true, t.equals
from types
cross join lateral (
    select u.type_oid, -1 as modifier, u.name, u.n
    from unnest(types.oids, $1) with ordinality u(type_oid, name, n)
) v",
        behind_domains!(),
        "
order by v.n"
    );
    // The left join returns one row even though the query is limited to no rows. Its values are null but have the types
    // of the query.
    let sql = format!(
        "-- look up the query's types
with types as (
    select array[{types}]::oid[] as oids
    from (select) one left join (select q.* from ({query}\n) q limit 0) q on true
) {find}"
    );
    let rows = tx.query(&sql, &[param::texts(&names)]).await?;
    Ok(rows.iter().filter_map(column).collect())
}
