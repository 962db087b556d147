//! A transaction that names its statements, ends every wait, and knows its side.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use deadpool_postgres::Transaction;
use tokio_postgres::{CopyInSink, CopyOutStream, Row};

use super::param::{Param, typed};
use super::{DbError, Side, Waits};

/// An open transaction; rolled back when dropped without [`Tx::commit`].
pub struct Tx<'c, S> {
    inner: Transaction<'c>,
    /// Set from a request till its answer; stays set where we stopped waiting.
    answer_due: &'c AtomicBool,
    waits: Waits,
    side: PhantomData<S>,
}

impl<'c, S: Side> Tx<'c, S> {
    pub(super) fn new(inner: Transaction<'c>, answer_due: &'c AtomicBool, waits: Waits) -> Self {
        Self {
            inner,
            answer_due,
            waits,
            side: PhantomData,
        }
    }

    /// How long the next bytes are waited for.
    pub fn patience(&self) -> Duration {
        self.waits.answer()
    }

    async fn answer<T>(
        &self,
        sql: &str,
        wait: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DbError> {
        let doing = statement_name(sql);
        self.answer_due.store(true, Ordering::Relaxed);
        let answer = match tokio::time::timeout(self.waits.answer(), wait).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(DbError::query::<S>(doing, source)),
            Err(_elapsed) => return Err(DbError::silence::<S>(doing, self.waits.answer())),
        };
        self.answer_due.store(false, Ordering::Relaxed);
        answer
    }

    /// Whether we stopped waiting for the server: nothing more can be done in this transaction.
    pub fn is_silent(&self) -> bool {
        self.answer_due.load(Ordering::Relaxed)
    }

    /// Runs a statement; gives the number of rows it touched.
    pub async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, DbError> {
        self.answer(sql, self.inner.execute_typed(sql, &typed(params)))
            .await
    }

    /// Runs a query; gives its rows.
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        self.answer(sql, self.inner.query_typed(sql, &typed(params)))
            .await
    }

    /// Runs a query that gives one row.
    pub async fn query_one(&self, sql: &str, params: &[Param<'_>]) -> Result<Row, DbError> {
        self.answer(sql, self.inner.query_typed_one(sql, &typed(params)))
            .await
    }

    /// Runs a query that gives one row or none.
    pub async fn query_opt(&self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>, DbError> {
        self.answer(sql, self.inner.query_typed_opt(sql, &typed(params)))
            .await
    }

    /// Runs statements without parameters or rows.
    pub async fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.answer(sql, self.inner.batch_execute(sql)).await
    }

    /// The names and types of a query's columns, found without running it.
    pub async fn describe(&self, sql: &str) -> Result<Vec<(String, String)>, DbError> {
        let statement = self.answer(sql, self.inner.prepare(sql)).await?;
        let columns = statement.columns().iter();
        Ok(columns
            .map(|c| (c.name().to_owned(), c.type_().name().to_owned()))
            .collect())
    }

    /// Starts `copy .. to stdout`. Its rows are due until another statement is answered.
    pub async fn copy_out(&self, sql: &str) -> Result<CopyOutStream, DbError> {
        let rows = self.answer(sql, self.inner.copy_out(sql)).await?;
        self.answer_due.store(true, Ordering::Relaxed);
        Ok(rows)
    }

    /// Starts `copy .. from stdin`.
    pub async fn copy_in(&self, sql: &str) -> Result<CopyInSink<Bytes>, DbError> {
        self.answer(sql, self.inner.copy_in(sql)).await
    }

    /// Lets the server take so long for each statement that follows in this transaction.
    pub async fn allow_each_statement(&self, limit: Duration) -> Result<(), DbError> {
        let limit_ms = limit.as_millis();
        self.batch(&format!(
            "-- set the time limit\nset local statement_timeout = {limit_ms}"
        ))
        .await
    }

    /// Marks a point to come back to.
    pub async fn savepoint(&self, name: &'static str) -> Result<(), DbError> {
        self.batch(&format!("savepoint {name}")).await
    }

    /// Keeps what was done since the savepoint.
    pub async fn release(&self, name: &'static str) -> Result<(), DbError> {
        self.batch(&format!("release savepoint {name}")).await
    }

    /// Undoes what was done since the savepoint, locks on rows included.
    pub async fn back_to(&self, name: &'static str) -> Result<(), DbError> {
        self.batch(&format!(
            "rollback to savepoint {name}; release savepoint {name}"
        ))
        .await
    }

    /// Commits. After an error it is not known whether the server did.
    pub async fn commit(self) -> Result<(), DbError> {
        let Self {
            inner,
            answer_due,
            waits,
            ..
        } = self;
        answer_due.store(true, Ordering::Relaxed);
        let committed = match tokio::time::timeout(waits.answer(), inner.commit()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(DbError::query::<S>("commit", source)),
            Err(_elapsed) => return Err(DbError::silence::<S>("commit", waits.answer())),
        };
        answer_due.store(false, Ordering::Relaxed);
        committed
    }
}

/// The name a statement gives itself in its first line, `-- name`.
fn statement_name(sql: &str) -> String {
    let first = sql.lines().next().unwrap_or_default().trim();
    first.strip_prefix("-- ").unwrap_or(first).to_owned()
}
