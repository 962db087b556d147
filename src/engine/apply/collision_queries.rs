//! Builds queries that find rows which conflict in a unique index or an exclusion constraint of the local table.
//!
//! An *index entry* is the list of values that an index stores for a row. Postgres's catalogs give the expressions, the
//! predicate and the operators of an index as SQL. So one way fits all indexes, those on expressions, partial ones and
//! those of exclusion constraints included: a query computes the entry of each row and compares the entries with the
//! operators of the index.

use crate::db::catalog::Column;
use crate::db::computed_expressions::InputColumn;
use crate::db::constraints_between_rows::UniquenessRule;
use crate::db::{DbError, Local, Tx, quote};

use crate::engine::plan::PlanStep;
use crate::engine::write_by_halving;
use crate::engine::{Relations, RunContext, copy_distributed_rows};

/// Creates or replaces the temporary view `meter_sync_found`, defined by `query`. Returns `None` if the server cannot
/// create it. Names in `query` are resolved by the search path that `Tx::pin_path` sets. Afterwards the role's own
/// search path is set, because functions of an index may rely on it when the view is read.
pub(in crate::engine) async fn as_view(
    run: &RunContext<'_>,
    query: &str,
) -> Result<Option<()>, DbError> {
    let local = run.local;
    copy_distributed_rows::copy(run).await?;
    let sql = format!(
        "-- define who stands in whose way
drop view if exists pg_temp.meter_sync_found;
create temp view meter_sync_found as {query}"
    );
    local.pin_path().await?;
    let made = write_by_halving::if_possible(local, local.batch(&sql)).await?;
    local.use_role_path().await?;
    Ok(made)
}

/// Returns a subquery that computes the index entries of rows, without rows that a partial index leaves out. Its
/// columns `x1`, `x2`, ... are the values that the index compares, and `v1`, `v2`, ... are the expressions in `values`.
/// `from` is the SQL that follows the keyword `from`, and `column` returns the SQL for a column. The subquery must be
/// parsed with the search path that `Tx::pin_path` sets.
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

/// Returns an SQL condition that holds if the index entries with the aliases `a` and `b` conflict.
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

/// Returns a subquery of the index entries that the planned rows of a step will have after they are written. Its column
/// `v1` is the row's number in the plan. Of the updates, only those are included that change a column which the index
/// reads.
pub(in crate::engine) fn wanted(
    run: &RunContext<'_>,
    rule: &UniquenessRule,
    step: PlanStep,
) -> String {
    let relations = run.relations;
    let staged_row = relations.same_key("s", "p");
    let number = ["p.n".to_owned()];
    let plan = format!("pg_temp.meter_sync_plan p join pg_temp.meter_sync_stage s on {staged_row}");
    match step {
        PlanStep::Deactivate => {
            let column = |read: &InputColumn| match read.name == relations.active {
                true => "false".to_owned(),
                false => relations.column("l", &read.name),
            };
            let from = format!(
                "pg_temp.meter_sync_plan p join {} on {} and {} where p.step = 0",
                run.relations.local_rows(),
                relations.same_key("l", "p"),
                run.scope.local_filter
            );
            entries(rule, &number, column, &from)
        }
        PlanStep::Insert => {
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
        PlanStep::Change => {
            let column = |read: &InputColumn| after(relations, read);
            entries(rule, &number, column, &changed(run, rule))
        }
    }
}

/// Returns a subquery of the index entries that local rows have before the plan updates them. Its column `v1` is the
/// row's number in the plan. Only updates are included that change a column which the index reads.
fn held_by_plan(run: &RunContext<'_>, rule: &UniquenessRule) -> String {
    let column = |read: &InputColumn| run.relations.column("l", &read.name);
    let number = ["p.n".to_owned()];
    entries(rule, &number, column, &changed(run, rule))
}

/// Returns a query of pairs of planned updates: row `n` needs a unique value that row `holder` has before its own
/// update. Both columns are row numbers in the plan.
pub(in crate::engine) fn waiting(run: &RunContext<'_>, rule: &UniquenessRule) -> String {
    format!(
        "select a.v1 as n, b.v1 as holder from {} a join {} b on {} where a.v1 <> b.v1",
        wanted(run, rule, PlanStep::Change),
        held_by_plan(run, rule),
        collide(rule, "a", "b")
    )
}

/// Returns SQL for the value that a column of the local row `l` will have after its update. The row `s`, read from the
/// remote, has the new values.
fn after(relations: &Relations, read: &InputColumn) -> String {
    let row = match relations.fields().any(|name| *name == read.name) {
        true => "s",
        false => "l",
    };
    relations.column(row, &read.name)
}

/// Returns the planned updates that change a column which the index reads, as SQL to follow the keyword `from`. Each
/// update consists of the row `p` of the plan, the local row `l` and the row `s` with the new values. The SQL ends in a
/// `where` clause, so the caller can add conditions with `and`.
pub(in crate::engine) fn changed(run: &RunContext<'_>, rule: &UniquenessRule) -> String {
    let relations = run.relations;
    let (rows, local_filter) = (run.relations.local_rows(), &run.scope.local_filter);
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
join {rows} on {local_row} and {local_filter}
where p.step = 1 and pg_catalog.record_image_ne(row({before}), row({after}))"
    )
}

/// Returns the columns in which a row may get another value, to give up its entry in the index. These are the synced
/// columns that the index reads, without the key, the active and the tenant column.
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

/// The most planned updates for which every pair of rows may be compared, see [`is_costly`].
const COMPARED: i64 = 2000;

/// Whether comparing the planned updates by this unique index or exclusion constraint would cost too much. This is so
/// if the plan has more than [`COMPARED`] updates, and every pair of rows must be compared because an operator is not
/// equality.
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
