//! Moves rows out of a partial unique index for a moment, so that they no longer block other rows: the index has no
//! entry for a row that does not meet its predicate.
//!
//! First, all rows get the same value in a column that the predicate or an expression of the index reads. Several
//! values are tried. If no value works and the index reads the active column, the active column is changed. It is not
//! changed if an update trigger or a rewrite rule mentions it, because a trigger that acts on deactivations would act
//! on this change, too.

use crate::db::catalog::Column;
use crate::db::computed_expressions::InputColumn;
use crate::db::constraints_between_rows::UniquenessRule;
use crate::db::table_family_sql::family;
use crate::db::{DbError, RowFault, param, quote};

use super::{narrow_column_values, spare_values_table};
use crate::engine::apply::collision_queries::{as_view, collide, entries};
use crate::engine::apply::keep_references_through_exchange;
use crate::engine::write_by_halving::{self, WriteAttemptOutcome};
use crate::engine::{Relations, RunContext, copy_distributed_rows};

/// Planned updates that block others: in one unique index or exclusion constraint, they hold values that the others
/// need. The functions of this module expect that the view `meter_sync_found` is defined by the query `waiting`.
pub(in crate::engine) struct BlockingUpdates<'r> {
    /// The unique index or exclusion constraint.
    pub(in crate::engine) rule: &'r UniquenessRule,
    /// A query of pairs of a waiting row (`n`) and the row that holds the value it needs (`holder`). `None` if it would
    /// cost too much.
    pub(in crate::engine) waiting: Option<String>,
    /// An SQL condition on the pairs of the query `waiting`, with the alias `w`. Other pairs of the query are ignored.
    pub(in crate::engine) waits: String,
    /// An SQL condition that selects the blocking rows `h` in the temporary table `meter_sync_holder`.
    pub(in crate::engine) holds: String,
}

/// Whether the index has a predicate or an expression. In such an index, a row may still block others although it has a
/// value that no other row holds.
fn is_conditional(rule: &UniquenessRule) -> bool {
    rule.predicate.is_some() || !rule.parts.iter().all(|part| is_plain(rule, &part.shown))
}

/// Whether a part of an index is a plain column and not an expression. `shown` is the SQL of the part.
fn is_plain(rule: &UniquenessRule, shown: &str) -> bool {
    let mut reads = rule.reads.iter();
    reads.any(|read| *shown == read.name || *shown == quote::identifier(&read.name))
}

/// Whether the index reads the active column, which says whether a meter is active.
pub(in crate::engine) fn reads_active(relations: &Relations, rule: &UniquenessRule) -> bool {
    rule.reads.iter().any(|read| read.name == relations.active)
}

/// Whether no planned update waits for the blocking rows any more. If the index has neither a predicate nor an
/// expression, or if the check would cost too much, returns true without a check.
pub(in crate::engine) async fn are_out_of_the_way(
    run: &RunContext<'_>,
    blocking: &BlockingUpdates<'_>,
) -> Result<bool, DbError> {
    if blocking.waiting.is_none() || !is_conditional(blocking.rule) {
        return Ok(true);
    }
    let local = run.local;
    copy_distributed_rows::copy(run).await?;
    let sql = format!(
        "-- look whether they are out of the way
select not exists (
    select 1 from pg_temp.meter_sync_found w join pg_temp.meter_sync_holder h on h.n {} w.holder
    where {} and {})",
        quote::EQUALS,
        blocking.waits,
        blocking.holds
    );
    let found = write_by_halving::if_possible(local, local.query_one(&sql, &[])).await?;
    Ok(found.is_some_and(|row| row.get(0)))
}

/// Moves the blocking rows out of the index: sets one of `columns` to the same value in all of them, or changes their
/// active column. Returns whether this worked.
pub(in crate::engine) async fn leave(
    run: &RunContext<'_>,
    blocking: &BlockingUpdates<'_>,
    columns: &[&Column],
) -> Result<bool, DbError> {
    let own = spare_values_table::holders(run, &blocking.holds);
    let deciding = columns
        .iter()
        .filter(|column| decides(blocking.rule, column));
    for &column in deciding {
        let kind = spare_values_table::kind(run.local, column).await?;
        let mut ways = vec![narrow_column_values::named_in_rule(
            run.relations,
            column,
            &kind,
            blocking.rule,
            &own,
        )];
        ways.extend(narrow_column_values::statements(
            run.relations,
            column,
            &kind,
            false,
            &own,
        ));
        for spare in ways {
            if leave_by(run, blocking, column, &spare).await? {
                return Ok(true);
            }
        }
    }
    leave_by_active(run, blocking).await
}

/// Whether the text of the predicate or of an expression of the index contains the column's name. If so, the column may
/// decide whether a row is in the index.
fn decides(rule: &UniquenessRule, column: &Column) -> bool {
    let mut computed = rule.computed.iter().map(|(_, text)| text);
    let mut texts = rule
        .parts
        .iter()
        .map(|part| &part.shown)
        .chain(&rule.predicate);
    is_conditional(rule)
        && (computed.any(|text| text.contains(&column.name))
            || texts.any(|text| !is_plain(rule, text) && text.contains(&column.name)))
}

/// Tries to move the blocking rows out of the index by setting a column to one value in all of them. `spare` is the
/// statement that makes the values to try. Returns whether this worked.
async fn leave_by(
    run: &RunContext<'_>,
    blocking: &BlockingUpdates<'_>,
    column: &Column,
    spare: &str,
) -> Result<bool, DbError> {
    let local = run.local;
    let Some(waiting) = &blocking.waiting else {
        return Ok(false);
    };
    let filled = write_by_halving::if_possible(local, spare_values_table::fill(run, spare)).await?;
    if filled.is_none() {
        return Ok(false);
    }
    let values = outside(run, blocking, column).await?;
    as_view(run, waiting).await?;
    let set = format!("{} = f.value", quote::identifier(&column.name));
    for k in values {
        let one = format!("f.k {} {k}", quote::EQUALS);
        let sql = moving(run, blocking, &set, ", pg_temp.meter_sync_free f", &one);
        let tried = write_by_halving::attempt(local, is_moved(run, blocking, &sql));
        if let WriteAttemptOutcome::Written = tried.await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn leave_by_active(
    run: &RunContext<'_>,
    blocking: &BlockingUpdates<'_>,
) -> Result<bool, DbError> {
    let relations = run.relations;
    let mut columns = relations.columns.iter();
    let active = columns.find(|column| column.name == relations.active);
    let (true, Some(active)) = (reads_active(relations, blocking.rule), active) else {
        return Ok(false);
    };
    if triggers_mention_active(run).await? {
        return Ok(false);
    }
    let name = quote::identifier(&active.name);
    let other = format!("{name} = (l.{name} is not true)");
    let null = active.is_nullable.then(|| format!("{name} = null"));
    for set in [Some(other), null].into_iter().flatten() {
        let sql = moving(run, blocking, &set, "", "true");
        let tried = write_by_halving::attempt(run.local, async {
            match keep_references_through_exchange::prepare(run, &[active])
                .await?
                .is_empty()
            {
                true => is_moved(run, blocking, &sql).await,
                false => Ok(WriteAttemptOutcome::NotWritten(Box::new(
                    RowFault::collision(),
                ))),
            }
        });
        if let WriteAttemptOutcome::Written = tried.await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Finds up to five values in the temporary table `meter_sync_free` that would move all blocking rows out of the index.
/// Returns the numbers of these values.
async fn outside(
    run: &RunContext<'_>,
    blocking: &BlockingUpdates<'_>,
    column: &Column,
) -> Result<Vec<i64>, DbError> {
    let local = run.local;
    let row = |read: &InputColumn| match read.name == column.name {
        true => "f.value".to_owned(),
        false => run.relations.column("l", &read.name),
    };
    let from = format!(
        "pg_temp.meter_sync_free f cross join ({})",
        spare_values_table::holders(run, &blocking.holds)
    );
    let inside = entries(blocking.rule, &["f.k".to_owned()], row, &from);
    let query = format!(
        "select f.k from pg_temp.meter_sync_free f
where not exists (select 1 from {inside} e where e.v1 = f.k and {})",
        collide(blocking.rule, "e", "e")
    );
    if as_view(run, &query).await?.is_none() {
        return Ok(Vec::new());
    }
    let found = write_by_halving::if_possible(local, local.query(OUTSIDE, &[])).await?;
    Ok(found.iter().flatten().map(|row| row.get(0)).collect())
}

/// Reads the numbers of the values that [`outside`] found. Five at most, because each is then tried by an update.
const OUTSIDE: &str = "\
-- find values outside of the index
select w.k from pg_temp.meter_sync_found w order by w.k limit 5";

fn moving(
    run: &RunContext<'_>,
    blocking: &BlockingUpdates<'_>,
    set: &str,
    from: &str,
    condition: &str,
) -> String {
    let (local, local_filter) = (&run.relations.local, &run.scope.local_filter);
    format!(
        "-- let rows leave an index
update {local} l set {set}
from pg_temp.meter_sync_holder h, pg_temp.meter_sync_plan p{from}
where p.n {} h.n and {} and {local_filter} and {} and {condition}",
        quote::EQUALS,
        run.relations.same_key("l", "p"),
        blocking.holds
    )
}

async fn is_moved(
    run: &RunContext<'_>,
    blocking: &BlockingUpdates<'_>,
    sql: &str,
) -> Result<WriteAttemptOutcome, DbError> {
    run.local.execute(sql, &[]).await?;
    Ok(match are_out_of_the_way(run, blocking).await? {
        true => WriteAttemptOutcome::Written,
        false => WriteAttemptOutcome::NotWritten(Box::new(RowFault::collision())),
    })
}

/// Whether an update trigger or rewrite rule of the local table mentions the active column. Those of partitions of the
/// table and of tables that inherit from it count, too.
async fn triggers_mention_active(run: &RunContext<'_>) -> Result<bool, DbError> {
    let local = run.local;
    let params = [
        param::oid(run.relations.local_oid),
        param::text(run.relations.active.as_str()),
    ];
    local.pin_path().await?;
    let row = local.query_one(TRIGGERS_MENTION_ACTIVE, &params).await?;
    local.use_role_path().await?;
    Ok(row.get(0))
}

const TRIGGERS_MENTION_ACTIVE: &str = concat!(
    "-- look for triggers that look at a column",
    family!(),
    "
select exists (
    select from pg_catalog.pg_trigger g join pg_catalog.pg_proc p on p.oid = g.tgfoid
    where g.tgrelid in (select f.oid from family f) and not g.tgisinternal and g.tgenabled <> 'D'
      and g.tgtype::integer & 16 <> 0
      and (strpos(lower(p.prosrc), lower($2)) > 0 or strpos(lower(encode(g.tgargs, 'escape')), lower($2)) > 0
           or strpos(lower(split_part(pg_get_triggerdef(g.oid), ' WHEN (', 2)), lower($2)) > 0
           or exists (select from pg_catalog.pg_attribute a
                      where a.attrelid = g.tgrelid and a.attname = $2 and a.attnum = any (g.tgattr::smallint[]))))
or exists (
    select from pg_catalog.pg_rewrite r
    where r.ev_class in (select f.oid from family f) and r.ev_type = '2'
      and strpos(lower(pg_get_ruledef(r.oid)), lower($2)) > 0)"
);
