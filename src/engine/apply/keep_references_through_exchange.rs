//! Makes rows refer to the same meter as before, after meters have exchanged the unique value that a foreign key refers
//! to. What is done depends on the foreign key:
//!
//! - If it cascades, nothing: it updates the referring rows by itself.
//! - If it sets NULL or the default, the referring rows would lose their meter, although the value only moves to
//!   another row. So these rows are noted before the exchange, and get the meter's new value afterwards.
//! - If it refuses the update and is deferrable, it is checked only after all values have moved.
//! - If it is a foreign key of the local table to itself, it may change meters that are not in the plan. The values of
//!   these meters are noted before the exchange and restored afterwards.

use crate::db::catalog::Column;
use crate::db::incoming_foreign_keys::IncomingForeignKey;
use crate::db::{DbError, Local, RowFault, Tx, quote};

use crate::engine::apply::name_shard_constraints::breaks;
use crate::engine::write_by_halving::{self, RowFaults, WriteAttemptOutcome};
use crate::engine::{Relations, RunContext};

/// Prepares an exchange of unique values that changes some of `columns` in the rows of the temporary table
/// `meter_sync_holder`: notes in temporary tables which rows refer to them, and defers foreign keys. Returns the rows
/// that cannot be changed, because rows that refer to them would lose their meter.
pub(in crate::engine) async fn prepare(
    run: &RunContext<'_>,
    columns: &[&Column],
) -> Result<RowFaults, DbError> {
    let local = run.local;
    let refers = |reference: &IncomingForeignKey| {
        let mut pairs = reference.columns.iter();
        pairs.any(|(_, to)| columns.iter().any(|column| column.name == *to))
    };
    let mut refused = Vec::new();
    let references = &run.relations.constraints.references;
    let mut all = references.iter();
    if all.any(|one| refers(one) && one.clears_reference()) {
        lock_referenced_rows(run).await?;
    }
    for (position, reference) in references.iter().enumerate() {
        if !refers(reference) {
            continue;
        }
        if can_wait(reference) {
            let name = &reference.name;
            let defer = format!("-- check a reference later\nset constraints {name} deferred");
            local.batch(&defer).await?;
        }
        if changes_others(reference) {
            local.batch(&note_own(run, position, reference)).await?;
            continue;
        }
        refused.extend(lost_behind(run, reference).await?);
        if !reference.clears_reference() {
            continue;
        }
        if can_be_carried(reference) {
            local.batch(&note(run, position, reference)).await?;
        } else {
            refused.extend(referred_to(run, reference).await?);
        }
    }
    // Several foreign keys may refer to one row.
    refused.sort_by_key(|(n, _)| *n);
    refused.dedup_by_key(|(n, _)| *n);
    Ok(refused)
}

/// Locks the local rows listed in `meter_sync_holder`. Until this transaction ends, no other transaction can insert
/// rows that refer to them. Referring rows that were committed before are visible to the next statement.
async fn lock_referenced_rows(run: &RunContext<'_>) -> Result<(), DbError> {
    let (table, local_filter) = (&run.relations.local, &run.scope.local_filter);
    let hold = format!(
        "-- hold who may be referred to
drop table if exists pg_temp.meter_sync_locked_holder;
create temp table meter_sync_locked_holder on commit drop as
select h.n from pg_temp.meter_sync_holder h
join pg_temp.meter_sync_plan p on p.n = h.n
join {table} l on {} and {local_filter} order by p.n for update of l",
        run.relations.same_key("l", "p")
    );
    run.local.batch(&hold).await
}

/// Defers the check of the foreign keys that these columns have to other tables, until [`finish`] runs. Returns whether
/// any foreign key was deferred.
pub(in crate::engine) async fn put_off(
    run: &RunContext<'_>,
    columns: &[&Column],
) -> Result<bool, DbError> {
    let mut are_some = false;
    for outward in run
        .relations
        .constraints
        .outward
        .iter()
        .filter(|to| to.is_deferrable)
    {
        let mut pairs = outward.columns.iter();
        if pairs.any(|(from, _)| columns.iter().any(|column| column.name == *from)) {
            let defer = format!(
                "-- check a reference later\nset constraints {} deferred",
                outward.name
            );
            // A constraint of the same name in another schema may not be deferrable.
            let deferred =
                write_by_halving::if_possible(run.local, run.local.batch(&defer)).await?;
            are_some |= deferred.is_some();
        }
    }
    Ok(are_some)
}

/// Ends an exchange of unique values:
///
/// - The rows that were noted before it, because they refer to an exchanged value, get the new value of their meter.
/// - Other meters that foreign keys have changed get their old values back.
/// - The deferred constraints are checked.
///
/// Returns `NotWritten` if a noted row does not refer to its meter again.
pub(in crate::engine) async fn finish(
    run: &RunContext<'_>,
) -> Result<WriteAttemptOutcome, DbError> {
    let local = run.local;
    for (position, reference) in run.relations.constraints.references.iter().enumerate() {
        if changes_others(reference) && is_noted(local, position).await? {
            local.execute(&restore(position, reference), &[]).await?;
        } else if reference.clears_reference() && is_noted(local, position).await? {
            local
                .execute(&follow(run, position, reference), &[])
                .await?;
            if !do_all_follow(run, position, reference).await? {
                return Ok(WriteAttemptOutcome::NotWritten(Box::new(lost(reference))));
            }
        }
    }
    // Constraints are immediate again, as at the start of the plan.
    local.batch(write_by_halving::CHECK).await?;
    Ok(WriteAttemptOutcome::Written)
}

/// Whether a foreign key of the local table to itself would change other meters if one of these columns is updated.
pub(in crate::engine) fn changes_meters(relations: &Relations, columns: &[&Column]) -> bool {
    let mut references = relations.constraints.references.iter();
    references.any(|reference| {
        let mut pairs = reference.columns.iter();
        reference.is_own
            && ["c", "n", "d"].contains(&reference.on_update.as_str())
            && pairs.any(|(_, to)| columns.iter().any(|column| column.name == *to))
    })
}

/// Drops the temporary tables in which an earlier exchange noted the rows that refer to its meters.
pub(in crate::engine) async fn forget(run: &RunContext<'_>) -> Result<(), DbError> {
    for position in 0..run.relations.constraints.references.len() {
        let drop = format!(
            "-- forget who was noted\ndrop table if exists pg_temp.meter_sync_carried_{position}"
        );
        run.local.batch(&drop).await?;
    }
    Ok(())
}

/// Whether `fault` says that the row was refused because rows of other tables refer to it, directly or through further
/// tables.
pub(in crate::engine) fn is_blocked_by_references(relations: &Relations, fault: &RowFault) -> bool {
    let constraints = &relations.constraints;
    let ends = constraints.losing.iter().filter_map(|path| path.last());
    let mut others = constraints
        .references
        .iter()
        .filter(|reference| !reference.is_own)
        .chain(ends);
    others.any(|reference| breaks(relations, fault, &reference.constraint))
}

fn can_wait(reference: &IncomingForeignKey) -> bool {
    reference.is_deferrable && reference.on_update == "a"
}

/// Whether this is a foreign key of the local table to itself that changes the meters which refer to an updated meter,
/// and the old values of those meters can be restored afterwards. They must be restored, because they come from the
/// remote. That takes a primary key.
fn changes_others(reference: &IncomingForeignKey) -> bool {
    reference.is_own
        && ["c", "n", "d"].contains(&reference.on_update.as_str())
        && !reference.key.is_empty()
}

fn can_be_carried(reference: &IncomingForeignKey) -> bool {
    !reference.key.is_empty() && reference.is_readable && reference.is_writable
}

/// Returns the SQL condition that row `c` refers to the local row `l` by the foreign key: `l.b = c.a and ...`. It has
/// the operators of the foreign key and the collations of the referenced columns.
pub(in crate::engine) fn refers(reference: &IncomingForeignKey) -> String {
    refers_to(reference, "c", "l")
}

/// Returns the SQL condition that the row with the alias `from` refers to the row with the alias `to` by the foreign
/// key.
fn refers_to(reference: &IncomingForeignKey, from: &str, to: &str) -> String {
    let pairs = reference.columns.iter().zip(&reference.compared);
    let pairs = pairs.map(|((refers, referred), (equals, collation))| {
        let (refers, referred) = (quote::identifier(refers), quote::identifier(referred));
        format!("{to}.{referred} {equals} {from}.{refers}{collation}")
    });
    pairs.collect::<Vec<_>>().join(" and ")
}

/// Selects the rows `c` that refer by the foreign key to the local rows listed in `meter_sync_holder`. Returns SQL to
/// follow the keyword `from`.
fn referring(run: &RunContext<'_>, reference: &IncomingForeignKey) -> String {
    let (table, local_filter) = (&run.relations.local, &run.scope.local_filter);
    let (local_row, refers) = (run.relations.same_key("l", "p"), refers(reference));
    format!(
        "pg_temp.meter_sync_holder h
join pg_temp.meter_sync_plan p on p.n = h.n
join {table} l on {local_row} and {local_filter}
join {} c on {refers}",
        reference.table
    )
}

fn note(run: &RunContext<'_>, position: usize, reference: &IncomingForeignKey) -> String {
    let key = quote::list(&reference.key, "", |name| {
        let at = reference.key.iter().position(|known| known == name);
        format!(", c.{} as k{}", quote::identifier(name), at.unwrap_or(0))
    });
    let rows = format!("select h.n{key} from {}", referring(run, reference));
    format!(
        "-- note who refers to the rows
create temp table if not exists meter_sync_carried_{position} on commit drop as {rows} with no data;
insert into pg_temp.meter_sync_carried_{position} {rows}"
    )
}

/// Returns SQL that stores in a temporary table which values the foreign key columns have in meters outside of the plan
/// that refer to the rows of `meter_sync_holder`.
fn note_own(run: &RunContext<'_>, position: usize, reference: &IncomingForeignKey) -> String {
    let relations = run.relations;
    let keys = (0..)
        .zip(&reference.key)
        .map(|(at, name): (usize, _)| format!("c.{} as k{at}", quote::identifier(name)));
    let values = (0..)
        .zip(&reference.columns)
        .map(|(at, (from, _)): (usize, _)| format!("c.{} as v{at}", quote::identifier(from)));
    let columns: Vec<String> = keys.chain(values).collect();
    let is_planned = quote::list(&relations.key, " and ", |name| {
        let (here, there) = (quote::identifier(name), relations.column("o", name));
        format!("c.{here} {} {there}", relations.equals(name))
    });
    let rows = format!(
        "select {} from {}
where not exists (select 1 from pg_temp.meter_sync_plan o where {is_planned})",
        columns.join(", "),
        referring(run, reference)
    );
    format!(
        "-- note what meters say of each other
create temp table if not exists meter_sync_carried_{position} on commit drop as {rows} with no data;
insert into pg_temp.meter_sync_carried_{position} {rows}"
    )
}

/// Returns SQL that gives meters the values back that [`note_own`] stored.
fn restore(position: usize, reference: &IncomingForeignKey) -> String {
    let set: Vec<String> = (0..)
        .zip(&reference.columns)
        .map(|(at, (from, _)): (usize, _)| format!("{} = k.v{at}", quote::identifier(from)))
        .collect();
    format!(
        "-- let meters say of each other what they said
update {} c set {} from pg_temp.meter_sync_carried_{position} k where {}",
        reference.table,
        set.join(", "),
        noted_row(reference)
    )
}

async fn is_noted(local: &Tx<'_, Local>, position: usize) -> Result<bool, DbError> {
    let sql = format!(
        "-- look for noted rows
select pg_catalog.to_regclass('pg_temp.meter_sync_carried_{position}') is not null"
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}

fn follow(run: &RunContext<'_>, position: usize, reference: &IncomingForeignKey) -> String {
    let (table, local_filter) = (&run.relations.local, &run.scope.local_filter);
    let set: Vec<String> = reference
        .columns
        .iter()
        .map(|(from, to)| format!("{} = l.{}", quote::identifier(from), quote::identifier(to)))
        .collect();
    format!(
        "-- let what refers to the rows follow them
update {} c set {}
from pg_temp.meter_sync_carried_{position} k, pg_temp.meter_sync_plan p, {table} l
where {} and p.n = k.n and {} and {local_filter}",
        reference.table,
        set.join(", "),
        noted_row(reference),
        run.relations.same_key("l", "p")
    )
}

/// Whether each referring row noted before the exchange refers to its meter again. It does not, for instance, if a
/// trigger changed or skipped the row.
async fn do_all_follow(
    run: &RunContext<'_>,
    position: usize,
    reference: &IncomingForeignKey,
) -> Result<bool, DbError> {
    let (table, local_filter) = (&run.relations.local, &run.scope.local_filter);
    let sql = format!(
        "-- look whether all follow
select not exists (
    select 1 from pg_temp.meter_sync_carried_{position} k
    join pg_temp.meter_sync_plan p on p.n = k.n
    join {table} l on {} and {local_filter}
    where not exists (select 1 from {} c where {} and {}))",
        run.relations.same_key("l", "p"),
        reference.table,
        noted_row(reference),
        refers(reference)
    );
    Ok(run.local.query_one(&sql, &[]).await?.get(0))
}

/// Returns the SQL condition that the referring row `c` has the primary key that was noted in row `k`.
fn noted_row(reference: &IncomingForeignKey) -> String {
    let key = (0..).zip(&reference.key).map(|(at, name): (usize, _)| {
        format!("c.{} {} k.k{at}", quote::identifier(name), quote::EQUALS)
    });
    key.collect::<Vec<_>>().join(" and ")
}

fn lost(reference: &IncomingForeignKey) -> RowFault {
    RowFault {
        message: format!(
            "table {} refers to the old value and would lose the meter (foreign key {}); give the table a primary key and let our role see and update all its rows, or make the foreign key cascade",
            reference.table, reference.constraint
        ),
        rule: Some(reference.constraint.clone()),
        ..RowFault::default()
    }
}

/// Returns the rows of `meter_sync_holder` to which other rows refer by this foreign key, as rows that cannot be
/// changed: the others would lose their meter. If our role cannot read the referring table, returns all rows.
async fn referred_to(run: &RunContext<'_>, key: &IncomingForeignKey) -> Result<RowFaults, DbError> {
    let rows = match key.is_readable {
        true => format!("select distinct h.n from {}", referring(run, key)),
        false => HOLDERS.to_owned(),
    };
    refused(run, &rows, &lost(key)).await
}

const HOLDERS: &str = "select h.n from pg_temp.meter_sync_holder h";

/// Returns the rows of `meter_sync_holder` that cannot be changed, because a chain of foreign keys that begins with
/// `first` would make rows further along it lose their reference. Such a reference cannot be restored, because only
/// rows that refer to a meter directly are noted. If our role cannot read a table of a chain, returns all rows.
async fn lost_behind(
    run: &RunContext<'_>,
    first: &IncomingForeignKey,
) -> Result<RowFaults, DbError> {
    let mut bad = RowFaults::new();
    let paths = run.relations.constraints.losing.iter();
    for path in paths.filter(|path| path.first() == Some(first)) {
        let mut from = referring(run, first);
        let mut last = ("c".to_owned(), first);
        for (position, next) in (1..).zip(path.iter().skip(1)) {
            let row = format!("c{position}");
            let refers = refers_to(next, &row, &last.0);
            from = format!("{from}\njoin {} {row} on {refers}", next.table);
            last = (row, next);
        }
        let rows = match path.iter().all(|reference| reference.is_readable) {
            true => format!("select distinct h.n from {from}"),
            false => HOLDERS.to_owned(),
        };
        let fault = RowFault {
            message: format!(
                "table {} depends on the old value by way of {} and would lose its row (foreign key {}); make the foreign keys cascade",
                last.1.table, first.table, last.1.constraint
            ),
            rule: Some(last.1.constraint.clone()),
            ..RowFault::default()
        };
        bad.extend(refused(run, &rows, &fault).await?);
    }
    Ok(bad)
}

/// Returns the numbers of the rows that the query `rows` finds, each with a copy of the fault.
async fn refused(run: &RunContext<'_>, rows: &str, fault: &RowFault) -> Result<RowFaults, DbError> {
    let sql = format!("-- find the rows that others refer to\n{rows}");
    let rows = run.local.query(&sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), fault.clone())).collect())
}
