//! Looks up the constraints that relate a table's rows to other rows: its unique indexes and exclusion constraints, the
//! foreign keys that refer to it, and its own foreign keys.
//!
//! The result includes the constraints of partitions and of tables that inherit from the table. They apply to the rows
//! that are, or would be, in these tables.

use super::computed_expressions::{ColumnDefinition, InputColumn, reads, table_columns};
use super::incoming_foreign_key_chains::{self, ForeignKeyChain};
use super::incoming_foreign_keys::{IncomingForeignKey, references};
use super::table_family_sql::family;
use super::{DbError, Local, Side, Tx, param};
use tokio_postgres::Row;

/// The constraints of one table that relate its rows to other rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConstraintsBetweenRows {
    /// The unique indexes and exclusion constraints.
    pub exclusive: Vec<UniquenessRule>,
    /// The foreign keys that refer to the table.
    pub references: Vec<IncomingForeignKey>,
    /// The foreign keys of the table that refer to other tables.
    pub outward: Vec<OutgoingForeignKey>,
    /// Chains of foreign keys through which an update of the table makes rows of other tables lose their reference (see
    /// [`incoming_foreign_key_chains::losing`]).
    pub losing: Vec<ForeignKeyChain>,
    /// The names of the check constraints of a table that Citus distributes; empty for any other table.
    pub checks: Vec<String>,
}

impl ConstraintsBetweenRows {
    /// Looks up the constraints of a table. The caller must have pinned the search path (see [`Tx::pin_path`]).
    pub async fn look_up<S: Side>(tx: &Tx<'_, S>, oid: u32) -> Result<Self, DbError> {
        let references = references(tx, oid).await?;
        Ok(Self {
            exclusive: exclusive(tx, oid).await?,
            outward: outward(tx, oid).await?,
            losing: incoming_foreign_key_chains::losing(tx, &references).await?,
            references,
            checks: Vec::new(),
        })
    }

    /// Adapts the constraints to a table that Citus distributes, with this object id:
    ///
    /// - None can be deferred, because `set constraints` does not reach the shards.
    /// - Rows that refer to the table count as unreadable. The statements that look for them crash Citus 13.2.
    /// - The check constraints are looked up, because an error of a shard names them in its message only.
    pub async fn of_distributed_table(
        mut self,
        tx: &Tx<'_, Local>,
        oid: u32,
    ) -> Result<Self, DbError> {
        let checks = tx.query(CHECKS, &[param::oid(oid)]).await?;
        self.checks = checks.iter().map(|row| row.get(0)).collect();
        for rule in &mut self.exclusive {
            rule.deferrable = None;
        }
        for outward in &mut self.outward {
            outward.is_deferrable = false;
        }
        let chains = self.losing.iter_mut().flatten();
        for reference in self.references.iter_mut().chain(chains) {
            reference.is_readable = false;
            reference.is_deferrable = false;
        }
        Ok(self)
    }
}

const CHECKS: &str = "\
-- look up the check constraints
select x.conname::text from pg_catalog.pg_constraint x where x.conrelid = $1 and x.contype = 'c'";

/// A unique index or an exclusion constraint. Its expressions name columns without a prefix. They qualify objects with
/// their schema, except built-in ones. So they are valid where only the columns of one row are in scope, and only while
/// the search path is pinned (set to `pg_catalog, pg_temp`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniquenessRule {
    /// The name of the index, unquoted.
    pub name: String,
    /// Whether this is an exclusion constraint, and not a unique index.
    pub is_exclusion: bool,
    /// The name of the constraint with its schema, as `set constraints` takes it; `None` if the constraint is not
    /// deferrable.
    pub deferrable: Option<String>,
    /// The values that are compared. Two rows cannot both be in the table if all of these values match.
    pub parts: Vec<UniquenessValue>,
    /// The condition that selects the rows to which the index or constraint applies, as SQL; `None` if it applies to
    /// all rows.
    pub predicate: Option<String>,
    /// Whether two nulls match (`nulls not distinct`).
    pub nulls_match: bool,
    /// The stored columns that `parts` and `predicate` are computed from, those of `parts` first. In place of a
    /// generated column, this list has the columns that the generated column is computed from.
    pub reads: Vec<InputColumn>,
    /// The generated columns that `parts` and `predicate` name: pairs of the column's name and its expression.
    pub computed: Vec<(String, String)>,
}

/// One value that a unique index or exclusion constraint compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniquenessValue {
    /// The value as SQL, with its collation.
    pub expression: String,
    /// The value in the form that people see.
    pub shown: String,
    /// The operator, with its schema, that decides whether two values match.
    pub operator: String,
}

/// A foreign key of the table that refers to another table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingForeignKey {
    /// The name of the constraint, unquoted.
    pub constraint: String,
    /// The name of the constraint with its schema, quoted where needed, as `set constraints` takes it.
    pub name: String,
    /// Whether the constraint is deferrable.
    pub is_deferrable: bool,
    /// The referenced table with its schema, quoted where needed.
    pub table: String,
    /// Pairs of a referring column and the referenced column.
    pub columns: Vec<(String, String)>,
}

/// The maximum number of indexes of partitions and inheriting tables that are looked up, because each one is later
/// checked by queries over the whole table.
const MAX_CHILD_INDEXES: usize = 100;

const EXCLUSIVE: &str = concat!(
    "-- look up what makes rows exclude each other",
    family!(),
    "
select c.relname::text, i.indisexclusion,
       coalesce((to_jsonb(i.*)->>'indnullsnotdistinct')::boolean, false),
       pg_get_expr(i.indpred, i.indrelid),
       pg_get_indexdef(i.indexrelid, k.position::integer, false),
       coalesce((select format(' collate %I.%I', s.nspname, o.collname)
                 from pg_catalog.pg_collation o join pg_catalog.pg_namespace s on s.oid = o.collnamespace
                 where o.oid = i.indcollation[(k.position - 1)::integer]), ''),
       format('operator(%I.%s)', n.nspname, e.oprname),
       array(
           select a.attname::text from pg_catalog.pg_attribute a
           where a.attrelid = i.indrelid and a.attnum > 0 and (a.attnum = any (i.indkey::smallint[]) or exists (
               select from pg_catalog.pg_depend d
               where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = i.indexrelid
                 and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = i.indrelid
                 and d.refobjsubid = a.attnum))
           order by a.attnum),
       i.indexrelid, i.indrelid <> $1::oid,
       case when i.indrelid <> $1::oid and t.relispartition then pg_get_partition_constraintdef(i.indrelid)
            when i.indrelid <> $1::oid or t.relkind = 'r' and t.relhassubclass
            then format('coalesce(tableoid, %s::oid) = %s::oid', $1::oid, i.indrelid) end,
       array(select a.attname::text from pg_catalog.pg_partitioned_table p
             join pg_catalog.pg_attribute a on a.attrelid = p.partrelid and a.attnum = any (p.partattrs::smallint[])
             where t.relispartition and i.indrelid <> $1::oid and p.partrelid in (select f.oid from family f)),
       not t.relispartition,
       case when x.condeferrable then format('%I.%I', m.nspname, x.conname) end
from pg_catalog.pg_index i
join pg_catalog.pg_class t on t.oid = i.indrelid
join pg_catalog.pg_class c on c.oid = i.indexrelid
left join pg_catalog.pg_constraint x
    on x.conindid = i.indexrelid and x.conrelid = i.indrelid and x.contype in ('p', 'u', 'x')
left join pg_catalog.pg_namespace m on m.oid = x.connamespace
cross join lateral unnest(i.indkey::smallint[]) with ordinality k(attnum, position)
join pg_catalog.pg_operator e on e.oid = coalesce(x.conexclop[k.position::integer], (
    select o.amopopr from pg_catalog.pg_opclass p
    join pg_catalog.pg_amop o on o.amopfamily = p.opcfamily and o.amopstrategy = 3
        and o.amoplefttype = p.opcintype and o.amoprighttype = p.opcintype
    where p.oid = i.indclass[(k.position - 1)::integer]))
join pg_catalog.pg_namespace n on n.oid = e.oprnamespace
where i.indrelid in (select f.oid from family f) and (i.indisunique or i.indisexclusion) and i.indisvalid
  and k.position <= i.indnkeyatts and (i.indrelid = $1::oid or not exists (
    -- what belongs to an index of the whole table
    select from pg_catalog.pg_inherits h join pg_catalog.pg_index v on v.indexrelid = h.inhparent and v.indisvalid
    where h.inhrelid = i.indexrelid))
order by i.indrelid <> $1::oid, i.indexrelid, k.position"
);

/// Looks up the unique indexes and exclusion constraints of the table, its partitions and the tables that inherit from
/// it.
async fn exclusive<S: Side>(tx: &Tx<'_, S>, oid: u32) -> Result<Vec<UniquenessRule>, DbError> {
    let rows = tx.query(EXCLUSIVE, &[param::oid(oid)]).await?;
    let columns = table_columns(tx, oid).await?;
    let mut found: Vec<UniquenessRule> = Vec::new();
    let (mut last, mut child_indexes) = (None, 0);
    for row in &rows {
        let (shown, collation): (String, String) = (row.get(4), row.get(5));
        let part = UniquenessValue {
            expression: format!("({shown}){collation}"),
            shown,
            operator: row.get(6),
        };
        let index: u32 = row.get(8);
        match found.last_mut().filter(|_| last == Some(index)) {
            Some(rule) => rule.parts.push(part),
            None => {
                child_indexes += usize::from(row.get::<_, bool>(9));
                if child_indexes > MAX_CHILD_INDEXES {
                    break;
                }
                found.push(rule(row, part, &columns));
            }
        }
        last = Some(index);
    }
    for rule in &mut found {
        let (parts, computed) = (&rule.parts, &rule.computed);
        let is_compared = |read: &InputColumn| {
            let name = super::quote::identifier(&read.name);
            let bare = read.name.as_str();
            let names_it = |text: &str| text.contains(bare) || text.contains(&name);
            parts.iter().any(|part| names_it(&part.shown))
                || computed.iter().any(|(_, text)| names_it(text))
        };
        rule.reads.sort_by_key(|read| !is_compared(read));
    }
    Ok(found)
}

/// Converts a row of the catalog query, about an index and the first value that it compares, to a [`UniquenessRule`].
/// If the index belongs to a partition or an inheriting table, the rule's predicate also selects the rows of that
/// table.
fn rule(row: &Row, part: UniquenessValue, columns: &[ColumnDefinition]) -> UniquenessRule {
    let (place, predicate): (Option<String>, Option<String>) = (row.get(10), row.get(3));
    let (mut names, by_place): (Vec<String>, Vec<String>) = (row.get(7), row.get(11));
    names.extend(by_place);
    let (mut reads, computed) = reads(names, columns);
    if place.is_some() && row.get(12) {
        reads.push(InputColumn {
            name: "tableoid".to_owned(),
            type_: "oid".to_owned(),
            default: None,
        });
    }
    UniquenessRule {
        name: row.get(0),
        is_exclusion: row.get(1),
        deferrable: row.get(13),
        nulls_match: row.get(2),
        predicate: match (place, predicate) {
            (Some(place), Some(predicate)) => Some(format!("({place}) and ({predicate})")),
            (place, predicate) => place.or(predicate),
        },
        parts: vec![part],
        reads,
        computed,
    }
}

/// SQL that selects the foreign keys to other tables. If one of the two tables is partitioned, Postgres stores a copy
/// of the foreign key for each partition. The copies are left out.
const OUTWARD: &str = concat!(
    "-- look up what the table refers to",
    family!(),
    "
select format('%I.%I', n.nspname, x.conname), x.condeferrable, format('%I.%I', s.nspname, t.relname),
       array(select a.attname::text from unnest(x.conkey) with ordinality k(attnum, position)
             join pg_catalog.pg_attribute a on a.attrelid = x.conrelid and a.attnum = k.attnum order by k.position),
       array(select a.attname::text from unnest(x.confkey) with ordinality k(attnum, position)
             join pg_catalog.pg_attribute a on a.attrelid = x.confrelid and a.attnum = k.attnum order by k.position),
       x.conname::text
from pg_catalog.pg_constraint x
join pg_catalog.pg_namespace n on n.oid = x.connamespace
join pg_catalog.pg_class t on t.oid = x.confrelid
join pg_catalog.pg_namespace s on s.oid = t.relnamespace
where x.conrelid in (select f.oid from family f) and x.contype = 'f' and x.confrelid not in (select f.oid from family f)
  and not exists (
    select from pg_catalog.pg_constraint p where p.oid = x.conparentid and p.conrelid in (select f.oid from family f))
order by x.oid"
);

/// Looks up the foreign keys to other tables that the table, its partitions and the tables that inherit from it have.
async fn outward<S: Side>(tx: &Tx<'_, S>, oid: u32) -> Result<Vec<OutgoingForeignKey>, DbError> {
    let rows = tx.query(OUTWARD, &[param::oid(oid)]).await?;
    let outward = |row: &Row| {
        let (from, to): (Vec<String>, Vec<String>) = (row.get(3), row.get(4));
        OutgoingForeignKey {
            constraint: row.get(5),
            name: row.get(0),
            is_deferrable: row.get(1),
            table: row.get(2),
            columns: from.into_iter().zip(to).collect(),
        }
    };
    Ok(rows.iter().map(outward).collect())
}
