//! Which rows stand in each other's way, by the unique indexes and exclusion constraints of the local table.
//!
//! The indexes say in SQL what they compare, so indexes on expressions, partial ones and exclusion constraints are all
//! asked in one way: each row becomes what the index would hold of it, and these are compared by the index's operators.

use crate::db::catalog::Column;
use crate::db::computed::Read;
use crate::db::exclusive::Exclusive;
use crate::db::{DbError, Local, Tx, quote};

use super::plan::Step;
use super::{Job, Shape, rejected};

/// Makes the view `meter_sync_found` of a query, or gives `None` where the server cannot. The names in the query are resolved by
/// the pinned path. Who reads the view does so by the role's path, so that the function of an index finds what it calls, as
/// it does when a row is written.
pub(super) async fn as_view(local: &Tx<'_, Local>, query: &str) -> Result<Option<()>, DbError> {
    let sql = format!(
        "-- define who stands in whose way
drop view if exists pg_temp.meter_sync_found;
create temp view meter_sync_found as {query}"
    );
    local.pin_path().await?;
    let made = rejected::if_possible(local, local.batch(&sql)).await?;
    local.use_role_path().await?;
    Ok(made)
}

/// What the index holds of rows: a subquery with the columns `v1`, `v2`, ... for `values` and `x1`, `x2`, ... for what is
/// compared; `from` is all from the rows' relations on, and `column` gives a column of a row. The path must be pinned.
pub(super) fn entries(
    rule: &Exclusive,
    values: &[String],
    column: impl Fn(&Read) -> String,
    from: &str,
) -> String {
    // Any name may be that of a column.
    let mut v = "v".to_owned();
    let is_taken = |v: &str| {
        let mut names = rule.reads.iter().map(|read| &read.name);
        names.any(|name| name.starts_with(v))
            || rule.computed.iter().any(|(name, _)| name.starts_with(v))
    };
    while is_taken(&v) {
        v.push('v');
    }
    let numbered = || (1..).zip(values);
    let inside = numbered().map(|(place, value)| format!("{value} as {v}{place}"));
    let columns = rule
        .reads
        .iter()
        .map(|read| format!("{} as {}", column(read), quote::identifier(&read.name)));
    let all: Vec<String> = inside.chain(columns).collect();
    let mut rows = format!("select {} from {from}", all.join(", "));
    if !rule.computed.is_empty() {
        let computed: String = rule
            .computed
            .iter()
            .map(|(name, expression)| format!(", ({expression}) as {}", quote::identifier(name)))
            .collect();
        rows = format!("select q.*{computed} from ({rows}) q");
    }
    let outside = numbered().map(|(place, _)| format!("q.{v}{place} as v{place}"));
    let parts = (1..)
        .zip(&rule.parts)
        .map(|(place, part)| format!("{} as x{place}", part.expression));
    let all: Vec<String> = outside.chain(parts).collect();
    let predicate = rule.predicate.as_ref();
    let predicate = predicate.map_or_else(String::new, |text| format!(" where ({text})"));
    format!("(select {} from ({rows}) q{predicate})", all.join(", "))
}

/// Whether what the index holds of two rows, `a` and `b`, excludes one of them.
pub(super) fn collide(rule: &Exclusive, a: &str, b: &str) -> String {
    let parts = (1..).zip(&rule.parts).map(|(place, part)| {
        let (a, b) = (format!("{a}.x{place}"), format!("{b}.x{place}"));
        let matches = format!("{a} {} {b}", part.operator);
        match rule.nulls_match {
            true => format!("({matches} or {a} is null and {b} is null)"),
            false => matches,
        }
    });
    parts.collect::<Vec<_>>().join(" and ")
}

/// What the index is to hold of the plan's rows of a step, `v1` being their number; of updates, only those that change something
/// the index reads.
pub(super) fn wanted(shape: &Shape, rule: &Exclusive, step: Step) -> String {
    let staged_row = shape.same_key("s", "p");
    let number = ["p.n".to_owned()];
    let plan = format!("pg_temp.meter_sync_plan p join pg_temp.meter_sync_stage s on {staged_row}");
    match step {
        Step::Deactivate => {
            let column = |read: &Read| match read.name == shape.active {
                true => "false".to_owned(),
                false => shape.column("l", &read.name),
            };
            let from = format!(
                "pg_temp.meter_sync_plan p join {} l on {} and {} where p.step = 0",
                shape.local,
                shape.same_key("l", "p"),
                shape.local_filter
            );
            entries(rule, &number, column, &from)
        }
        Step::Insert => {
            let column = |read: &Read| match shape.names.contains(&read.name) {
                true => shape.column("s", &read.name),
                false => format!(
                    "({})::{}",
                    read.default.as_deref().unwrap_or("null"),
                    read.type_
                ),
            };
            let from = format!("{plan} where p.step = 2");
            entries(rule, &number, column, &from)
        }
        Step::Change => {
            let column = |read: &Read| after(shape, read);
            entries(rule, &number, column, &changed(shape, rule))
        }
    }
}

/// What the index holds of the rows that the plan updates, as they are now.
fn held_by_plan(shape: &Shape, rule: &Exclusive) -> String {
    let column = |read: &Read| shape.column("l", &read.name);
    let number = ["p.n".to_owned()];
    entries(rule, &number, column, &changed(shape, rule))
}

/// A query of the updates that wait for a value that another row of the plan holds: `n`, and that row as `holder`.
pub(super) fn waiting(shape: &Shape, rule: &Exclusive) -> String {
    format!(
        "select a.v1 as n, b.v1 as holder from {} a join {} b on {} where a.v1 <> b.v1",
        wanted(shape, rule, Step::Change),
        held_by_plan(shape, rule),
        collide(rule, "a", "b")
    )
}

/// A column of a row `l` after its update from `s`.
fn after(shape: &Shape, read: &Read) -> String {
    let row = match shape.fields().any(|name| *name == read.name) {
        true => "s",
        false => "l",
    };
    shape.column(row, &read.name)
}

/// The rows `p` of the plan, `l` here and staged as `s`, whose update changes something that the index reads; a condition can follow.
pub(super) fn changed(shape: &Shape, rule: &Exclusive) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let (staged_row, local_row) = (shape.same_key("s", "p"), shape.same_key("l", "p"));
    let each = |row: fn(&Shape, &Read) -> String| {
        let columns: Vec<String> = rule.reads.iter().map(|read| row(shape, read)).collect();
        columns.join(", ")
    };
    let (before, after) = (
        each(|shape, read| shape.column("l", &read.name)),
        each(after),
    );
    format!(
        "pg_temp.meter_sync_plan p join pg_temp.meter_sync_stage s on {staged_row}
join {local} l on {local_row} and {local_filter}
where p.step = 1 and pg_catalog.record_image_ne(row({before}), row({after}))"
    )
}

/// The columns that a sync may write another value to so that a row gets out of the others' way.
pub(super) fn movable<'s>(shape: &'s Shape, job: &Job<'_>, rule: &Exclusive) -> Vec<&'s Column> {
    let may_move = |name: &String| {
        !shape.key.contains(name) && *name != shape.active && *name != job.mapping.tenant_column
    };
    let reads = rule.reads.iter().filter(|read| may_move(&read.name));
    reads
        .filter_map(|read| shape.columns.iter().find(|column| column.name == read.name))
        .collect()
}
