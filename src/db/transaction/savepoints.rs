//! Savepoints: parts of a transaction that can be undone while the rest is kept.

use std::future::Future;

use super::Tx;
use crate::db::{DbError, Side};

impl<S: Side> Tx<'_, S> {
    /// Runs `work` under a savepoint, and keeps or undoes what it did:
    ///
    /// - `Ok(Ok(_))`: the work is kept.
    /// - `Ok(Err(_))`: the work is undone, and row locks that it took are released. The transaction can go on.
    /// - `Err(_)`: the error is returned at once. Nothing is undone, and the savepoint stays open. The caller must drop
    ///   the transaction, or roll back to an earlier savepoint, which must have another name.
    ///
    /// This takes two round trips in addition to those of the work. Where that matters, send the `savepoint` statement
    /// in one batch with the work, and call [`Tx::back_to`] if the batch fails.
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

    /// Runs `work` under a savepoint, undoes its changes, and returns its result. An error is returned at once, and the
    /// savepoint stays open, as with [`Tx::attempt`].
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
    pub async fn release(&self, name: &'static str) -> Result<(), DbError> {
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
