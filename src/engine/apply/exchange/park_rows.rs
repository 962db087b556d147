//! Parks rows during an exchange of unique values: gives each row that holds a value needed by another planned update a
//! spare value, which no row holds, or NULL.
//!
//! Three temporary tables are used:
//! - `meter_sync_wait`: which row of the plan waits for which.
//! - `meter_sync_holder`: the rows that hold the needed values of one unique index, numbered by `k`.
//! - `meter_sync_free`: spare values, numbered by `k`. Row 1 gets value 1, and so on.

use crate::db::catalog::Column;
use crate::db::constraints_between_rows::UniquenessRule;
use crate::db::{DbError, Local, RowFault, Tx, param, quote};

use super::leave_partial_index::{self, BlockingUpdates};
use super::spare_foreign_key_values;
use super::spare_values;
use super::spare_values_table::{fill, holders, kind};
use crate::engine::RunContext;
use crate::engine::apply::collision_queries::{as_view, is_costly, movable, waiting, wanted};
use crate::engine::apply::defer_constraints;
use crate::engine::apply::keep_references_through_exchange;
use crate::engine::plan::PlanStep;
use crate::engine::write_by_halving::{
    self, RowFaults, RowRange, RowRangeStatement, WriteAttemptOutcome,
};

/// The result of [`park`].
pub(in crate::engine) enum ParkOutcome {
    /// No row was parked: no row of the plan needs a value of another, or the indexes in question read no column that
    /// may be changed.
    NothingToPark,
    /// All rows that hold needed values are parked, or may keep these values for now, because the constraint is
    /// deferred.
    Parked,
    /// These rows cannot be parked. Other rows may already be parked, so the caller must undo the attempt.
    Refused(RowFaults),
}

/// Parks the rows that hold a unique value needed by another planned update, that is, sets them to spare values.
/// Ignores the rows numbered in `left_out`.
pub(in crate::engine) async fn park(
    run: &RunContext<'_>,
    left_out: &[i64],
) -> Result<ParkOutcome, DbError> {
    let local = run.local;
    local.batch(WAIT).await?;
    let mut parked = ParkOutcome::NothingToPark;
    for (position, rule) in run.relations.constraints.exclusive.iter().enumerate() {
        if defer_constraints::put_off(local, rule).await? {
            if find(run, position, rule, left_out).await? > 0 {
                parked = ParkOutcome::Parked;
            }
            continue;
        }
        let columns = movable(run, rule);
        if columns.is_empty() && !leave_partial_index::reads_active(run.relations, rule) {
            continue;
        }
        let rows = find(run, position, rule, left_out).await?;
        if rows == 0 {
            continue;
        }
        let refused = keep_references_through_exchange::prepare(run, &columns).await?;
        if !refused.is_empty() {
            return Ok(ParkOutcome::Refused(refused));
        }
        let blocking = BlockingUpdates {
            rule,
            waiting: match is_costly(local, rule).await? {
                true => None,
                false => Some(waiting(run, rule)),
            },
            waits: format!("w.n operator(pg_catalog.<>) all ({})", array(left_out)),
            holds: "true".to_owned(),
        };
        let refused = park_all(run, &blocking, &columns, rows).await?;
        if !refused.is_empty() {
            return Ok(ParkOutcome::Refused(refused));
        }
        parked = ParkOutcome::Parked;
    }
    Ok(parked)
}

/// Returns these numbers as the SQL literal of an array.
fn array(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("'{{{}}}'::bigint[]", numbers.join(","))
}

const WAIT: &str = "\
-- create the table of who waits
create temp table meter_sync_wait (rule integer, n bigint, holder bigint) on commit drop";

/// Finds the planned updates that block others in one unique index or exclusion constraint. Fills `meter_sync_wait`
/// with the pairs of a waiting and a blocking row, and `meter_sync_holder` with the blocking rows. Returns how many
/// rows block others. `position` is where the index stands in the list of all of them.
async fn find(
    run: &RunContext<'_>,
    position: usize,
    rule: &UniquenessRule,
    left_out: &[i64],
) -> Result<i64, DbError> {
    let local = run.local;
    let query = match is_costly(local, rule).await? {
        // Each row is treated as if it waited for itself.
        true => format!(
            "select a.v1 as n, a.v1 as holder from {} a",
            wanted(run, rule, PlanStep::Change)
        ),
        false => waiting(run, rule),
    };
    if as_view(run, &query).await?.is_none() {
        return Ok(0);
    }
    let wait = format!(
        "-- find who waits for whom
insert into pg_temp.meter_sync_wait (rule, n, holder)
select {position}, w.n, w.holder from pg_temp.meter_sync_found w
where w.n operator(pg_catalog.<>) all ($1) and w.holder operator(pg_catalog.<>) all ($1)"
    );
    let number = format!(
        "-- number who stands in the way
drop table if exists pg_temp.meter_sync_holder;
create temp table meter_sync_holder on commit drop as
select pg_catalog.row_number() over () as k, w.n from (
    select distinct w.holder as n from pg_temp.meter_sync_wait w where w.rule {} {position}
) w;
analyze pg_temp.meter_sync_holder",
        quote::EQUALS
    );
    let params = [param::bigints(left_out)];
    let found = write_by_halving::if_possible(local, local.execute(&wait, &params)).await?;
    if found.unwrap_or_default() == 0 {
        return Ok(0);
    }
    local.batch(&number).await?;
    Ok(local.query_one(HOLDERS, &[]).await?.get(0))
}

const HOLDERS: &str = "\
-- count who stands in the way
select pg_catalog.count(*) from pg_temp.meter_sync_holder";

/// Parks all rows of the temporary table `meter_sync_holder`, that is, sets them to temporary values, and returns an
/// empty list. If that fails, parks none, and returns the rows that could not be parked. `rows` is the number of rows
/// in the table.
async fn park_all(
    run: &RunContext<'_>,
    blocking: &BlockingUpdates<'_>,
    columns: &[&Column],
    rows: i64,
) -> Result<RowFaults, DbError> {
    let RunContext {
        local, relations, ..
    } = *run;
    let all = RowRange {
        first: 1,
        last: rows,
    };
    let (own, mut ways) = (holders(run, "true"), Vec::new());
    for &column in columns {
        let kind = kind(local, column).await?;
        let referred =
            spare_foreign_key_values::statements(relations, column, rows, &own).into_iter();
        let statements = spare_values::statements(relations, column, &kind, rows, &own);
        ways.extend(referred.chain(statements).map(|sql| (column, sql)));
    }
    if park_by_first_working(run, blocking, &ways, all).await? {
        return Ok(Vec::new());
    }
    // If no value works (for instance because the type is unknown), try NULL, unless a foreign key refers to the
    // column.
    for &column in columns {
        let is_referred_to = relations.constraints.references.iter().any(|reference| {
            let mut pairs = reference.columns.iter();
            pairs.any(|(_, to)| *to == column.name)
        });
        if column.is_nullable && !is_referred_to {
            let clear = clear(run, column);
            let cleared = park_and_check(run, blocking, &clear, all);
            if let WriteAttemptOutcome::Written = write_by_halving::attempt(local, cleared).await? {
                return Ok(Vec::new());
            }
        }
    }
    // If the column's own foreign key can be deferred until all rows have their new values, try values that break it.
    if keep_references_through_exchange::put_off(run, columns).await?
        && park_by_first_working(run, blocking, &ways, all).await?
    {
        return Ok(Vec::new());
    }
    if Box::pin(leave_partial_index::leave(run, blocking, columns)).await? {
        return Ok(Vec::new());
    }
    one_by_one(run, &ways, all).await
}

/// Sets all rows of `meter_sync_holder` to spare values. Each of `ways` is a column and a statement that makes spare
/// values for it. The ways are tried in turn, until the table accepts the values and no row waits for these rows any
/// more. Returns whether one worked.
async fn park_by_first_working(
    run: &RunContext<'_>,
    blocking: &BlockingUpdates<'_>,
    ways: &[(&Column, String)],
    all: RowRange,
) -> Result<bool, DbError> {
    let local = run.local;
    for (column, spare) in ways {
        let tried = write_by_halving::attempt(local, async {
            match write_by_halving::if_possible(local, fill(run, spare)).await? {
                Some(()) => park_and_check(run, blocking, &move_to(run, column), all).await,
                None => Ok(WriteAttemptOutcome::NotWritten(Box::new(
                    RowFault::collision(),
                ))),
            }
        });
        if let WriteAttemptOutcome::Written = tried.await? {
            drop_spare_values(local).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Runs the statement `park`, which sets all rows of `meter_sync_holder` to temporary values. Returns `NotWritten` if
/// it misses a row, or if other rows still wait for these rows afterwards.
async fn park_and_check(
    run: &RunContext<'_>,
    blocking: &BlockingUpdates<'_>,
    park: &RowRangeStatement,
    all: RowRange,
) -> Result<WriteAttemptOutcome, DbError> {
    Ok(match park.run(run.local, all).await? {
        WriteAttemptOutcome::Written
            if !leave_partial_index::are_out_of_the_way(run, blocking).await? =>
        {
            WriteAttemptOutcome::NotWritten(Box::new(RowFault::collision()))
        }
        tried @ (WriteAttemptOutcome::Written | WriteAttemptOutcome::NotWritten(_)) => tried,
    })
}

/// Finds the rows that cannot be set to a spare value, and changes nothing. Each of `ways` is a column and a statement
/// that makes spare values for it. For each way, finds the refused rows by halving. Returns the refused rows of the way
/// that has the fewest, or all rows if no way has any.
async fn one_by_one(
    run: &RunContext<'_>,
    ways: &[(&Column, String)],
    all: RowRange,
) -> Result<RowFaults, DbError> {
    let local = run.local;
    let mut refused: RowFaults = Vec::new();
    for (column, spare) in ways {
        let at_fault = local.rehearse("park", async {
            let filled = write_by_halving::if_possible(local, fill(run, spare)).await?;
            if filled.is_none() {
                return Ok(RowFaults::new());
            }
            let write = move_to(run, column);
            let limit = usize::try_from(all.count()).unwrap_or(usize::MAX);
            let found =
                write_by_halving::all_but_the_bad(local, vec![all], limit, "select", &write);
            Ok::<_, DbError>(found.await?.unwrap_or_default())
        });
        let at_fault = at_fault.await?;
        if !at_fault.is_empty() && (refused.is_empty() || at_fault.len() < refused.len()) {
            refused = at_fault;
        }
    }
    let holders = local.query(NUMBERS, &[]).await?;
    let numbers = holders
        .iter()
        .map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1)));
    let fault = |k: i64| {
        let mut found = refused.iter();
        found
            .find(|(row, _)| *row == k)
            .map(|(_, fault)| fault.clone())
    };
    Ok(numbers
        .filter_map(|(k, n)| match refused.is_empty() {
            true => Some((n, RowFault::collision())),
            false => fault(k).map(|fault| (n, fault)),
        })
        .collect())
}

const NUMBERS: &str = "\
-- list who stands in the way
select h.k, h.n from pg_temp.meter_sync_holder h";

async fn drop_spare_values(local: &Tx<'_, Local>) -> Result<(), DbError> {
    local
        .batch("-- drop the free values\ndrop table if exists pg_temp.meter_sync_free")
        .await
}

fn move_to(run: &RunContext<'_>, column: &Column) -> RowRangeStatement {
    let name = quote::identifier(&column.name);
    parking(
        run,
        &format!("{name} = f.value"),
        ", pg_temp.meter_sync_free f",
        " and f.k = h.k",
    )
}

fn clear(run: &RunContext<'_>, column: &Column) -> RowRangeStatement {
    let name = quote::identifier(&column.name);
    parking(run, &format!("{name} = null"), "", "")
}

fn parking(run: &RunContext<'_>, set: &str, from: &str, condition: &str) -> RowRangeStatement {
    let (local, local_filter) = (&run.relations.local, &run.scope.local_filter);
    let local_row = run.relations.same_key("l", "p");
    RowRangeStatement {
        sql: format!(
            "-- park unique values
update {local} l set {set}
from pg_temp.meter_sync_holder h, pg_temp.meter_sync_plan p{from}
where p.n = h.n and {local_row} and {local_filter} and h.k >= $1 and h.k <= $2{condition}"
        ),
        has_gaps: false,
        checks: false,
        recount: None,
    }
}

/// Whether another planned update waits for a unique value of one of the rows with these numbers. Such a row was
/// parked, or the constraint was deferred.
pub(in crate::engine) async fn are_any_parked(
    local: &Tx<'_, Local>,
    numbers: &[i64],
) -> Result<bool, DbError> {
    let params = [param::bigints(numbers)];
    Ok(local.query_one(ANY_PARKED, &params).await?.get(0))
}

const ANY_PARKED: &str = "\
-- look whether one was parked
select exists (select 1 from pg_temp.meter_sync_wait w where w.holder = any ($1))";
