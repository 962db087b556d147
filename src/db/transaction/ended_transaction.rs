//! A remote transaction that has ended, and whose connection may be asked one more question.

use std::time::Duration;

use tokio_postgres::SimpleQueryRow;

use super::opening::PINNED_PATH;
use super::{Tx, statement_name};
use crate::db::{DbError, Remote};

/// How much longer this process waits for an answer than the server may take for it.
const GRACE: Duration = Duration::from_secs(1);

/// A remote transaction that has ended.
pub struct EndedTx<'c>(pub(super) Tx<'c, Remote>);

impl std::fmt::Debug for EndedTx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndedTx").finish_non_exhaustive()
    }
}

impl EndedTx<'_> {
    /// Runs a query without parameters in a read-only transaction of its own, all in one message, and returns its rows.
    /// The server gives it up after `limit`. `runs_own_code` says that the query runs user-defined code, such as a
    /// policy, which may rely on the role's own search path.
    ///
    /// An error leaves nothing open: the transaction is rolled back, or the connection is closed when it is returned to
    /// its pool.
    pub async fn ask(
        self,
        sql: &str,
        runs_own_code: bool,
        limit: Duration,
    ) -> Result<Vec<SimpleQueryRow>, DbError> {
        let Self(mut tx) = self;
        let doing = statement_name(sql);
        let limit_ms = tx.role_limits.statement(limit).as_millis();
        let path = match runs_own_code {
            true => "",
            false => PINNED_PATH,
        };
        let sql = format!(
            "-- {doing}
start transaction isolation level repeatable read, read only; set local statement_timeout = {limit_ms}; {path};
{sql};
COMMIT"
        );
        tx.inner.begins_again();
        let Ok(answered) = tokio::time::timeout(limit + GRACE, tx.simple(&sql)).await else {
            return Err(DbError::silence::<Remote>(doing, limit + GRACE));
        };
        let rows = answered?;
        tx.inner.has_ended();
        Ok(rows)
    }
}
