//! Savepoints: parts of a transaction that can be undone while the rest is kept.

use std::future::Future;

use tokio_postgres::SimpleQueryRow;

use super::Tx;
use crate::db::{DbError, Side};

/// Logs an error after which the work goes on in another way.
fn note_undone(error: &DbError) {
    tracing::debug!(%error, "a statement failed, and the work goes on without it");
}

impl<S: Side> Tx<'_, S> {
    /// Runs `work` under a savepoint, and keeps or undoes what it did:
    ///
    /// - `Ok(Ok(_))`: the work is kept.
    /// - `Ok(Err(_))`: the work is undone, and row locks that it took are released. The transaction can go on.
    /// - `Err(_)`: the error is returned at once. Nothing is undone, and the savepoint stays open. The caller must drop
    ///   the transaction, or roll back to an earlier savepoint, which must have another name.
    ///
    /// This takes two round trips in addition to those of the work. Where that matters, use [`Tx::undo_simple_if`].
    ///
    /// The work is a future and not a closure, because the compiler cannot prove that the future of an async closure
    /// that borrows the transaction may move between threads.
    pub fn attempt<T, U, E: From<DbError>>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<Result<T, U>, E>>,
    ) -> impl Future<Output = Result<Result<T, U>, E>> {
        // Boxed at once, because attempts are nested, and each future would otherwise store the futures inside it more
        // than once.
        let work = Box::pin(work);
        async move {
            self.savepoint(name).await?;
            let worked = work.await?;
            match &worked {
                Ok(_) => self.release(name).await?,
                Err(_) => self.back_to(name).await?,
            }
            Ok(worked)
        }
    }

    /// Runs `work` under a savepoint. If it fails with an error for which `is_undone` returns `true`, undoes the work
    /// and returns the error inside `Ok`. Other errors are returned at once, as with [`Tx::attempt`].
    pub fn undo_if<T>(
        &self,
        name: &'static str,
        is_undone: impl FnOnce(&DbError) -> bool,
        work: impl Future<Output = Result<T, DbError>>,
    ) -> impl Future<Output = Result<Result<T, DbError>, DbError>> {
        let work = Box::pin(work);
        self.attempt(name, async move {
            match work.await {
                Err(error) if !is_undone(&error) => Err(error),
                worked => Ok(worked),
            }
        })
    }

    /// Like [`Tx::undo_if`], for SQL statements without parameters. Sends the statements in one message with the
    /// savepoint, so that all of it takes one round trip if it succeeds. `doing` is the name of the statements in
    /// errors and on the server. Returns the rows of all statements.
    pub fn undo_simple_if(
        &self,
        name: &'static str,
        is_undone: impl FnOnce(&DbError) -> bool,
        doing: &str,
        sql: &str,
    ) -> impl Future<Output = Result<Result<Vec<SimpleQueryRow>, DbError>, DbError>> {
        let sql = format!("-- {doing}\nsavepoint {name};\n{sql};\nrelease savepoint {name}");
        // Boxed, as in `attempt`.
        Box::pin(async move {
            match self.simple(&sql).await {
                Err(error) if is_undone(&error) => {
                    note_undone(&error);
                    self.back_to(name).await?;
                    Ok(Err(error))
                }
                answered => answered.map(Ok),
            }
        })
    }

    /// Opens a cursor under the savepoint `name`, in one message: `sql` declares the cursor and fetches its first rows,
    /// from which `read` makes the result. `doing` is the name of the statements in errors and on the server.
    ///
    /// If the cursor's query cannot be computed ([`DbError::is_not_computable`]) or `read` returns `None`, undoes the
    /// statements and returns `None`. Otherwise the savepoint stays open as long as the cursor. The caller then closes
    /// the cursor and releases the savepoint, in one message, too.
    pub async fn open_cursor<T>(
        &self,
        name: &'static str,
        doing: &str,
        sql: &str,
        read: impl FnOnce(Vec<SimpleQueryRow>) -> Option<T>,
    ) -> Result<Option<T>, DbError> {
        let sql = format!("-- {doing}\nsavepoint {name};\n{sql}");
        let found = match self.simple(&sql).await {
            Err(error) if error.is_not_computable() => {
                note_undone(&error);
                None
            }
            answered => read(answered?),
        };
        if found.is_none() {
            self.back_to(name).await?;
        }
        Ok(found)
    }

    /// Runs `work` under a savepoint and undoes its changes even if it succeeds. Returns its result. An error is
    /// returned at once, and the savepoint stays open, as with [`Tx::attempt`].
    pub fn rehearse<T, E: From<DbError>>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = Result<T, E>> {
        let work = Box::pin(work);
        async move {
            self.savepoint(name).await?;
            let found = work.await?;
            self.back_to(name).await?;
            Ok(found)
        }
    }

    /// Sets a savepoint.
    pub async fn savepoint(&self, name: &'static str) -> Result<(), DbError> {
        self.batch(&format!("savepoint {name}")).await
    }

    /// Releases the savepoint, and keeps the changes made since it was set.
    async fn release(&self, name: &'static str) -> Result<(), DbError> {
        self.batch(&format!("release savepoint {name}")).await
    }

    /// Rolls back to the savepoint and releases it. Row locks that were taken since the savepoint are released, too.
    pub async fn back_to(&self, name: &'static str) -> Result<(), DbError> {
        self.batch(&format!(
            "rollback to savepoint {name}; release savepoint {name}"
        ))
        .await
    }
}
