//! Writes sets of rows, and finds the rows that the local database refuses. The cost grows with the number of refused
//! rows.
//!
//! A set of rows is written as a whole. If the database refuses a row in it, the set is halved and each half is tried,
//! until the refused row is alone. This takes about `2 log2(n)` more statements for each refused row, each over rows
//! found by an index. If no row is refused, one statement is enough.

use std::future::Future;

use crate::db::{DbError, Local, RowFault, Tx, param};

/// A range of row numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowRange {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl RowRange {
    /// How many rows the range has.
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

/// A statement that writes each of the rows numbered `$1` to `$2` once.
pub(crate) struct RowRangeStatement {
    pub(crate) sql: String,
    /// Whether the range may have numbers without a row. If `false`, the statement counts as failed unless it writes
    /// exactly as many rows as the range has numbers.
    pub(crate) has_gaps: bool,
    /// Whether to run [`CHECK`] right after the statement, because a trigger of the local table may have deferred
    /// constraints. An error that is raised only at commit could not be traced to a row.
    pub(crate) checks: bool,
    /// A query that counts those rows of the range that the table has after the statement; `None` if the server itself
    /// tells how many the statement wrote.
    pub(crate) recount: Option<String>,
}

/// Checks the deferred constraints now. From then on, each constraint is checked at the end of a statement instead of
/// at commit.
pub(crate) const CHECK: &str = "-- check constraints at once\nset constraints all immediate";

impl RowRangeStatement {
    pub(crate) async fn run(
        &self,
        local: &Tx<'_, Local>,
        rows: RowRange,
    ) -> Result<WriteAttemptOutcome, DbError> {
        let params = [param::bigint(rows.first), param::bigint(rows.last)];
        let mut touched = local.execute(&self.sql, &params).await?;
        if let Some(recount) = &self.recount {
            let counted: i64 = local.query_one(recount, &params).await?.get(0);
            touched = counted.unsigned_abs();
        }
        if !self.has_gaps && i64::try_from(touched) != Ok(rows.count()) {
            return Ok(WriteAttemptOutcome::skipped());
        }
        if self.checks {
            local.batch(CHECK).await?;
        }
        Ok(WriteAttemptOutcome::Written)
    }
}

/// The result of trying to write a set of rows, of which either all or none are written.
pub(crate) enum WriteAttemptOutcome {
    /// All rows were written.
    Written,
    /// No row was written, for this reason.
    NotWritten(Box<RowFault>),
}

impl WriteAttemptOutcome {
    /// The outcome if the server wrote fewer rows than it was told to, without an error.
    pub(crate) fn skipped() -> Self {
        Self::NotWritten(Box::new(RowFault::skipped()))
    }
}

/// Runs `attempt` under a savepoint, and undoes it if it returns [`WriteAttemptOutcome::NotWritten`] or fails with an error
/// about a row, such as a violated constraint. Such an error is returned as [`WriteAttemptOutcome::NotWritten`], any other as
/// an error.
pub(crate) async fn attempt(
    local: &Tx<'_, Local>,
    attempt: impl Future<Output = Result<WriteAttemptOutcome, DbError>>,
) -> Result<WriteAttemptOutcome, DbError> {
    // Boxed before another future wraps it, as in `Tx::attempt`.
    let attempt = Box::pin(attempt);
    let tried = local.attempt("attempt", async {
        match attempt.await {
            Ok(WriteAttemptOutcome::Written) => Ok(Ok(())),
            Ok(WriteAttemptOutcome::NotWritten(fault)) => Ok(Err(fault)),
            Err(error) if error.is_about_a_row() => Ok(Err(Box::new(error.fault()))),
            Err(error) => Err(error),
        }
    });
    Ok(match tried.await? {
        Ok(()) => WriteAttemptOutcome::Written,
        Err(fault) => WriteAttemptOutcome::NotWritten(fault),
    })
}

/// The rows of the plan that could not be written: the number of each row, and why.
pub(in crate::engine) type RowFaults = Vec<(i64, RowFault)>;

/// SQLSTATE classes of errors that come from the state of the server or the connection, not from the statement.
const NOT_OURS: &[&str] = &["08", "25", "40", "53", "55", "57", "58", "XX"];

/// Runs an optional step under a savepoint. If the server cannot run it, undoes the step and returns `None`. Two kinds
/// of errors do not show what the server can do, and are returned as errors: those that come from the state of the
/// server or the connection, and those of an event trigger that refuses temporary tables.
pub(crate) async fn if_possible<T>(
    local: &Tx<'_, Local>,
    attempt: impl Future<Output = Result<T, DbError>>,
) -> Result<Option<T>, DbError> {
    let is_undone = |error: &DbError| !is_of_the_server(error) && !error.is_of_an_event_trigger();
    let found = local.undo_if("possible", is_undone, attempt);
    Ok(found.await?.ok())
}

fn is_of_the_server(error: &DbError) -> bool {
    let server_error = error.server_error();
    let class = server_error.and_then(|error| error.code().code().get(..2));
    class.is_none_or(|class| NOT_OURS.contains(&class))
}

/// Writes all rows of the ranges except those that the database refuses. Returns the refused rows, by number, and why
/// each was refused. Returns the inner error, the reason for the last refused row, as soon as more than `limit` rows
/// are refused. `prepare` is SQL that runs once, before the first set is halved.
pub(crate) async fn all_but_the_bad(
    local: &Tx<'_, Local>,
    ranges: Vec<RowRange>,
    limit: usize,
    prepare: &str,
    bring_in: &RowRangeStatement,
) -> Result<Result<Vec<(i64, RowFault)>, Box<RowFault>>, DbError> {
    let mut is_prepared = false;
    let mut bad = Vec::new();
    let mut waiting = ranges;
    waiting.reverse();
    while let Some(rows) = waiting.pop() {
        if rows.count() <= 0 {
            continue;
        }
        let WriteAttemptOutcome::NotWritten(fault) =
            attempt(local, bring_in.run(local, rows)).await?
        else {
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
