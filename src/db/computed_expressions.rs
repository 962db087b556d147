//! Looks up the expressions that Postgres evaluates for each row that is written to a table, and the columns that these
//! expressions read. They are the expressions of generated columns, check constraints and indexes.

use tokio_postgres::Row;

use super::{DbError, Side, Tx, param};

/// A column whose value an expression reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputColumn {
    /// The name of the column.
    pub name: String,
    /// The type of the column, with length or precision.
    pub type_: String,
    /// The default for a new row, as SQL. `None` if the column has no default (a new row gets null), or a volatile one,
    /// which differs from row to row.
    pub default: Option<String>,
}

/// An expression that Postgres evaluates for each row that is written. Its SQL names columns without a prefix. It
/// qualifies objects with their schema, except built-in ones. So it is valid where only the columns of one row are in
/// scope, and only while the search path is pinned (set to `pg_catalog, pg_temp`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputedExpression {
    /// The object that the expression belongs to: `constraint c`, `generated column g` or `index i`.
    pub owner: String,
    /// The expression, as SQL.
    pub expression: String,
    /// The expression as messages show it. For a check constraint, this is the whole definition of the constraint.
    pub shown: String,
    /// The columns that the expression names, generated ones included.
    pub columns: Vec<String>,
    /// The stored columns that the expression is computed from. In place of a generated column, this list has the
    /// columns that the generated column is computed from.
    pub reads: Vec<InputColumn>,
    /// The generated columns that the expression names, directly or through another generated column: pairs of the
    /// column's name and its own expression.
    pub computed: Vec<(String, String)>,
}

const EVALUATED: &str = "\
-- look up what is evaluated for each row
select e.owner, e.expression, e.shown, array(
    select a.attname::text from pg_catalog.pg_attribute a
    where a.attrelid = $1 and a.attnum > 0 and exists (
        select from regexp_matches(e.tree, ':varattno ([0-9]+)', 'g') m (found) where m.found[1]::integer = a.attnum)
    order by a.attnum)
from (
    select 1 as step, 'constraint ' || x.conname::text as owner, pg_get_expr(x.conbin, x.conrelid) as expression,
           pg_get_constraintdef(x.oid) as shown, x.conbin::text as tree
    from pg_catalog.pg_constraint x where x.conrelid = $1 and x.contype = 'c'
    union all
    select 2, 'index ' || c.relname::text,
           case when i.indpred is null or p.shown = p.predicate then p.shown
                else format('case when %s then %s end', p.predicate, p.shown) end,
           p.shown, p.tree
    from pg_catalog.pg_index i
    join pg_catalog.pg_class c on c.oid = i.indexrelid
    cross join lateral (
        select pg_get_expr(i.indpred, i.indrelid) as predicate, pg_get_expr(i.indpred, i.indrelid) as shown,
               i.indpred::text as tree
        union all
        select pg_get_expr(i.indpred, i.indrelid), pg_get_indexdef(i.indexrelid, k.position::integer, false),
               concat(i.indexprs::text, i.indpred::text)
        from unnest(i.indkey::smallint[]) with ordinality k(attnum, position) where k.attnum = 0
    ) p
    where i.indrelid = $1 and i.indisready and p.shown is not null
) e
order by e.step, e.owner, e.expression";

/// Looks up the expressions that Postgres evaluates for each row of a table, in the order of evaluation. The caller
/// must have pinned the search path (see [`Tx::pin_path`]).
pub async fn evaluated<S: Side>(
    tx: &Tx<'_, S>,
    oid: u32,
) -> Result<Vec<ComputedExpression>, DbError> {
    let columns = table_columns(tx, oid).await?;
    let of = |owner: String, expression: String, shown: String, names: Vec<String>| {
        let (reads, computed) = reads(names.clone(), &columns);
        ComputedExpression {
            owner,
            expression,
            shown,
            columns: names,
            reads,
            computed,
        }
    };
    let generated = columns.iter().filter_map(|column| {
        let expression = column.expression.clone()?;
        let owner = format!("generated column {}", column.name);
        Some(of(
            owner,
            expression.clone(),
            expression,
            column.from.clone(),
        ))
    });
    let mut found: Vec<ComputedExpression> = generated.collect();
    let rows = tx.query(EVALUATED, &[param::oid(oid)]).await?;
    found.extend(
        rows.iter()
            .map(|row| of(row.get(0), row.get(1), row.get(2), row.get(3))),
    );
    Ok(found)
}

const COLUMNS: &str = "\
-- look up what columns are computed from
select a.attname::text, format_type(a.atttypid, a.atttypmod),
       case when a.attgenerated <> '' then pg_get_expr(f.adbin, f.adrelid) end,
       array(
           select b.attname::text from pg_catalog.pg_attribute b
           where b.attrelid = a.attrelid and b.attnum > 0 and b.attnum <> a.attnum and exists (
               select from pg_catalog.pg_depend d
               where d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = a.attrelid
                 and d.refobjsubid = b.attnum
                 and (d.classid = 'pg_catalog.pg_attrdef'::regclass and d.objid = f.oid
                      or d.classid = 'pg_catalog.pg_class'::regclass and d.objid = a.attrelid
                         and d.objsubid = a.attnum))
           order by b.attnum),
       case when a.attgenerated = '' and not exists (
           select from regexp_matches(f.adbin::text, ':(op)?funcid ([0-9]+)', 'g') m (found)
           join pg_catalog.pg_proc p on p.oid = m.found[2]::oid
           where p.provolatile = 'v') then pg_get_expr(f.adbin, f.adrelid) end
from pg_catalog.pg_attribute a
left join pg_catalog.pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
order by a.attnum";

/// A column of a table. For a generated column, `expression` is set, and `from` names the columns that it is computed
/// from. For any other column, `default` is its default; `None` if it has none, or a volatile one.
pub(super) struct ColumnDefinition {
    name: String,
    type_: String,
    expression: Option<String>,
    from: Vec<String>,
    default: Option<String>,
}

/// Looks up all columns of a table, and what its generated columns are computed from.
pub(super) async fn table_columns<S: Side>(
    tx: &Tx<'_, S>,
    oid: u32,
) -> Result<Vec<ColumnDefinition>, DbError> {
    let rows = tx.query(COLUMNS, &[param::oid(oid)]).await?;
    let column = |row: &Row| ColumnDefinition {
        name: row.get(0),
        type_: row.get(1),
        expression: row.get(2),
        from: row.get(3),
        default: row.get(4),
    };
    Ok(rows.iter().map(column).collect())
}

/// Replaces each generated column in `names` by the stored columns that it is computed from. Returns these and the
/// other stored columns, and the replaced columns as pairs of name and expression.
pub(super) fn reads(
    names: Vec<String>,
    columns: &[ColumnDefinition],
) -> (Vec<InputColumn>, Vec<(String, String)>) {
    let (mut reads, mut computed) = (Vec::<InputColumn>::new(), Vec::new());
    let mut names = names;
    while let Some(name) = names.pop() {
        let Some(column) = columns.iter().find(|column| column.name == name) else {
            continue;
        };
        match &column.expression {
            Some(expression) => {
                computed.push((name, expression.clone()));
                names.extend(column.from.iter().cloned());
            }
            None if reads.iter().all(|read| read.name != name) => reads.push(InputColumn {
                name,
                type_: column.type_.clone(),
                default: column.default.clone(),
            }),
            None => {}
        }
    }
    (reads, computed)
}
