//! Builds the queries that find rows which collide in a unique index or exclusion constraint of the local table.
//!
//! The catalog has the expressions, the predicate and the operators of each index as SQL, so indexes on expressions,
//! partial indexes and exclusion constraints are all handled in one way: a query computes the index entry of each row
//! and compares the entries with the operators of the index.

use crate::db::catalog::Column;
use crate::db::computed_expressions::InputColumn;
use crate::db::row_constraints::UniquenessRule;
use crate::db::{DbError, Local, Tx, quote};

use crate::engine::plan::Step;
use crate::engine::try_rows;
use crate::engine::{Relations, RunContext};

/// Creates or replaces the temporary view `meter_sync_found` from a query. Returns `None` if the server cannot create
/// it. Names in the query are resolved by the pinned search path. The view is read with the role's search path, so that
/// a function of an index finds the objects that it uses, as it does when a row is written.
pub(in crate::engine) async fn as_view(
    local: &Tx<'_, Local>,
    query: &str,
) -> Result<Option<()>, DbError> {
    let sql = format!(
        "-- define who stands in whose way
drop view if exists pg_temp.meter_sync_found;
create temp view meter_sync_found as {query}"
    );
    local.pin_path().await?;
    let made = try_rows::if_possible(local, local.batch(&sql)).await?;
    local.use_role_path().await?;
    Ok(made)
}

/// Builds a subquery of the index entries of rows. Its columns `x1`, `x2`, ... are the values that the index compares,
/// and `v1`, `v2`, ... are the expressions in `values`. `from` is the SQL after `from`, and `column` gives the SQL of a
/// column of a row. The search path must be pinned when the subquery is parsed.
pub(in crate::engine) fn entries(
    rule: &UniquenessRule,
    values: &[String],
    column: impl Fn(&InputColumn) -> String,
    from: &str,
) -> String {
    // Columns of the table may be named `v1` and so on, too.
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

/// A condition that holds if the index entries `a` and `b` exclude each other.
pub(in crate::engine) fn collide(rule: &UniquenessRule, a: &str, b: &str) -> String {
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

/// A subquery of the index entries that the rows of a step will have, with the row's number in the plan as `v1`. An
/// update is included only if it changes a column that the index reads.
pub(in crate::engine) fn wanted(run: &RunContext<'_>, rule: &UniquenessRule, step: Step) -> String {
    let relations = run.relations;
    let staged_row = relations.same_key("s", "p");
    let number = ["p.n".to_owned()];
    let plan = format!("pg_temp.meter_sync_plan p join pg_temp.meter_sync_stage s on {staged_row}");
    match step {
        Step::Deactivate => {
            let column = |read: &InputColumn| match read.name == relations.active {
                true => "false".to_owned(),
                false => relations.column("l", &read.name),
            };
            let from = format!(
                "pg_temp.meter_sync_plan p join {} l on {} and {} where p.step = 0",
                relations.local,
                relations.same_key("l", "p"),
                run.scope.local_filter
            );
            entries(rule, &number, column, &from)
        }
        Step::Insert => {
            let column = |read: &InputColumn| match relations.names.contains(&read.name) {
                true => relations.column("s", &read.name),
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
            let column = |read: &InputColumn| after(relations, read);
            entries(rule, &number, column, &changed(run, rule))
        }
    }
}

/// A subquery of the index entries that updated rows hold before their update, with the row's number in the plan as
/// `v1`. An update is included only if it changes a column that the index reads.
fn held_by_plan(run: &RunContext<'_>, rule: &UniquenessRule) -> String {
    let column = |read: &InputColumn| run.relations.column("l", &read.name);
    let number = ["p.n".to_owned()];
    entries(rule, &number, column, &changed(run, rule))
}

/// A query of the updates that need a value which another updated row still holds. `n` is the number of the waiting
/// row, and `holder` is the number of the row that holds the value.
pub(in crate::engine) fn waiting(run: &RunContext<'_>, rule: &UniquenessRule) -> String {
    format!(
        "select a.v1 as n, b.v1 as holder from {} a join {} b on {} where a.v1 <> b.v1",
        wanted(run, rule, Step::Change),
        held_by_plan(run, rule),
        collide(rule, "a", "b")
    )
}

/// SQL of a column's value after the local row `l` is updated from the staged row `s`.
fn after(relations: &Relations, read: &InputColumn) -> String {
    let row = match relations.fields().any(|name| *name == read.name) {
        true => "s",
        false => "l",
    };
    relations.column(row, &read.name)
}

/// The SQL after `from` for the updates that change a column that the index reads: the row `p` of the plan, the local
/// row `l` and the staged row `s`. It ends in a `where` clause, to which conditions can be added with `and`.
pub(in crate::engine) fn changed(run: &RunContext<'_>, rule: &UniquenessRule) -> String {
    let relations = run.relations;
    let (local, local_filter) = (&relations.local, &run.scope.local_filter);
    let (staged_row, local_row) = (relations.same_key("s", "p"), relations.same_key("l", "p"));
    let each = |row: fn(&Relations, &InputColumn) -> String| {
        let columns: Vec<String> = rule.reads.iter().map(|read| row(relations, read)).collect();
        columns.join(", ")
    };
    let (before, after) = (
        each(|relations, read| relations.column("l", &read.name)),
        each(after),
    );
    format!(
        "pg_temp.meter_sync_plan p join pg_temp.meter_sync_stage s on {staged_row}
join {local} l on {local_row} and {local_filter}
where p.step = 1 and pg_catalog.record_image_ne(row({before}), row({after}))"
    )
}

/// The columns of the index that can be set to another value so that a row no longer blocks others: synced columns that
/// are not part of the key and neither the active nor the tenant column.
pub(in crate::engine) fn movable<'s>(
    run: &RunContext<'s>,
    rule: &UniquenessRule,
) -> Vec<&'s Column> {
    let relations = run.relations;
    let may_move = |name: &String| {
        !relations.key.contains(name)
            && *name != relations.active
            && *name != run.job.mapping.tenant_column
    };
    let reads = rule.reads.iter().filter(|read| may_move(&read.name));
    reads
        .filter_map(|read| {
            relations
                .columns
                .iter()
                .find(|column| column.name == read.name)
        })
        .collect()
}

/// The most updates that are compared pairwise. This comparison is needed for operators other than equality.
const COMPARED: i64 = 2000;

/// Whether comparing the updates would cost too much: the rule has an operator other than equality, so that each row
/// has to be compared with every other row, and the plan has more than [`COMPARED`] updates.
pub(in crate::engine) async fn is_costly(
    local: &Tx<'_, Local>,
    rule: &UniquenessRule,
) -> Result<bool, DbError> {
    if rule.parts.iter().all(|part| part.operator.ends_with(".=)")) {
        return Ok(false);
    }
    let rows: i64 = local.query_one(UPDATES, &[]).await?.get(0);
    Ok(rows > COMPARED)
}

const UPDATES: &str = "\
-- count the updates
select pg_catalog.count(*) from pg_temp.meter_sync_plan p where p.step = 1";
