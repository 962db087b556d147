//! Rejects the rows that the local side will not take, at a cost that follows their number.
//!
//! A set of rows is tried as a whole. When a row in it is at fault the set is halved and each half
//! tried, until the row stands alone: about `2 log2(n)` statements a bad row, each over rows found by
//! an index, and none when all is well.

use std::future::Future;

use crate::db::{DbError, Local, RowFault, Tx, param};

/// A range of row numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Rows {
    /// How many rows.
    pub(crate) fn count(self) -> i64 {
        self.last - self.first + 1
    }

    pub(crate) fn halves(self) -> (Self, Self) {
        let middle = self.first + (self.last - self.first) / 2;
        (
            Self {
                last: middle,
                ..self
            },
            Self {
                first: middle + 1,
                ..self
            },
        )
    }
}

/// A statement that touches each of the rows numbered `$1` to `$2` once.
#[derive(Clone)]
pub(crate) struct PerRow {
    pub(crate) sql: String,
    /// Whether there is not a row for every number.
    pub(crate) has_gaps: bool,
    /// Whether the constraints that a trigger of the local table deferred are checked as soon as the rows are in. At
    /// commit, what breaks them could not be traced to a row.
    pub(crate) checks: bool,
}

/// Checks constraints at once from here on, and those that were put off.
pub(crate) const CHECK: &str = "-- check constraints at once\nset constraints all immediate";

impl PerRow {
    pub(crate) async fn run(&self, local: &Tx<'_, Local>, rows: Rows) -> Result<Tried, DbError> {
        let params = [param::bigint(rows.first), param::bigint(rows.last)];
        let touched = local.execute(&self.sql, &params).await?;
        if !self.has_gaps && i64::try_from(touched) != Ok(rows.count()) {
            return Ok(Tried::NotTaken(Box::new(RowFault::skipped())));
        }
        if self.checks {
            local.batch(CHECK).await?;
        }
        Ok(Tried::Taken)
    }
}

/// What trying a set of rows came to.
pub(crate) enum Tried {
    /// All of them are in.
    Taken,
    /// None is in, for this reason.
    NotTaken(Box<RowFault>),
}

/// Runs `attempt` under a savepoint: an error that speaks of a row is undone and becomes
/// [`Tried::NotTaken`]; any other error is passed on.
pub(crate) async fn attempt(
    local: &Tx<'_, Local>,
    attempt: impl Future<Output = Result<Tried, DbError>>,
) -> Result<Tried, DbError> {
    local.savepoint("attempt").await?;
    match attempt.await {
        Ok(Tried::Taken) => {
            local.release("attempt").await?;
            Ok(Tried::Taken)
        }
        Ok(Tried::NotTaken(fault)) => {
            local.back_to("attempt").await?;
            Ok(Tried::NotTaken(fault))
        }
        Err(error) if error.is_about_a_row() => {
            local.back_to("attempt").await?;
            Ok(Tried::NotTaken(Box::new(error.fault())))
        }
        Err(error) => Err(error),
    }
}

/// Classes of errors that are of the server's state and not of what it was asked.
const NOT_OURS: &[&str] = &["08", "25", "40", "53", "55", "57", "58", "XX"];

/// Runs what a run can do without, under a savepoint: where the server cannot do it, it is undone and `None`. That an
/// event trigger refuses temporary tables is an error: it is told, and not taken for what the server cannot do.
pub(crate) async fn if_possible<T>(
    local: &Tx<'_, Local>,
    attempt: impl Future<Output = Result<T, DbError>>,
) -> Result<Option<T>, DbError> {
    local.savepoint("possible").await?;
    match attempt.await {
        Ok(found) => {
            local.release("possible").await?;
            Ok(Some(found))
        }
        Err(error) => {
            let server_error = error.server_error();
            let class = server_error.and_then(|error| error.code().code().get(..2));
            let is_of_the_server = class.is_none_or(|class| NOT_OURS.contains(&class));
            if is_of_the_server || error.is_of_an_event_trigger() {
                return Err(error);
            }
            local.back_to("possible").await?;
            Ok(None)
        }
    }
}

/// Brings all rows of the ranges in but those at fault, which it gives back with the fault. `prepare` runs once,
/// before a set that was not taken is halved. Stops with `Err(fault)` inside when more than `limit`
/// are at fault.
pub(crate) async fn all_but_the_bad(
    local: &Tx<'_, Local>,
    ranges: Vec<Rows>,
    limit: usize,
    prepare: &str,
    bring_in: &PerRow,
) -> Result<Result<Vec<(i64, RowFault)>, Box<RowFault>>, DbError> {
    let mut is_prepared = false;
    let mut bad = Vec::new();
    let mut waiting = ranges;
    waiting.reverse();
    while let Some(rows) = waiting.pop() {
        if rows.count() <= 0 {
            continue;
        }
        let Tried::NotTaken(fault) = attempt(local, bring_in.run(local, rows)).await? else {
            continue;
        };
        if rows.count() > 1 {
            if !is_prepared {
                local.batch(prepare).await?;
                is_prepared = true;
            }
            let (low, high) = rows.halves();
            waiting.extend([high, low]);
        } else if bad.len() < limit {
            bad.push((rows.first, *fault));
        } else {
            return Ok(Err(fault));
        }
    }
    Ok(Ok(bad))
}
