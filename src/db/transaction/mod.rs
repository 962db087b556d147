//! A transaction on the remote or the local database. Its errors name the statement that failed, and each of its waits
//! has a time limit.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio_postgres::{Client, CopyInSink, CopyOutStream, Row, SimpleQueryMessage, SimpleQueryRow};

use super::answers_due::AnswersDue;
use super::connector::SharedLastServerError;
use super::param::{Param, typed};
use super::transaction_limits::{RoleLimits, TransactionLimits};
use super::{DbError, Local, Remote, Side, Timeouts};
use crate::model::saturating_i64;

pub use ended_transaction::EndedTx;
use open_transaction::OpenTransaction;
pub(super) use opening::Opening;

mod ended_transaction;
mod open_transaction;
mod opening;
mod savepoints;

/// An open transaction. It is rolled back if dropped without [`Tx::commit`].
pub struct Tx<'c, S> {
    inner: OpenTransaction<'c>,
    /// The answers that the server still owes on the connection. One stays due after this process has stopped waiting
    /// for it.
    answers: &'c AnswersDue,
    waits: Timeouts,
    opened: Instant,
    last_message: SharedLastServerError,
    /// The time limits that the role, its database or the server sets.
    role_limits: RoleLimits,
    bounds: TransactionLimits,
    /// The shortest time that an answer took so far, in microseconds; `u64::MAX` before the first answer.
    shortest_us: AtomicU64,
    /// How many bytes of rows the server has sent, including the headers of their messages.
    bytes_read: AtomicU64,
    /// The role's own search path, as `show search_path` returns it.
    role_path: String,
    /// The encoding of the database.
    encoding: String,
    /// See [`Tx::is_replica`].
    is_replica: bool,
    side: PhantomData<S>,
}

/// How many bytes precede a row of a COPY in the protocol: the type and length of the message.
const COPY_HEAD: usize = 5;
/// How many bytes precede the values of a row in the protocol: the type and length of the message, and the number of
/// values.
const ROW_HEAD: usize = 7;
/// How many bytes precede each value in the protocol: its length.
const VALUE_HEAD: usize = 4;

/// The server counts as near ([`Tx::is_near`]) if its fastest answer took less time than this.
const NEAR: Duration = Duration::from_millis(3);

impl<'c, S: Side> Tx<'c, S> {
    pub(super) fn new(
        client: &'c mut Client,
        answers: &'c AnswersDue,
        waits: Timeouts,
        last_message: SharedLastServerError,
    ) -> Self {
        Self {
            inner: OpenTransaction::new(client),
            answers,
            waits,
            opened: Instant::now(),
            last_message,
            role_limits: RoleLimits::default(),
            bounds: TransactionLimits::default(),
            shortest_us: AtomicU64::new(u64::MAX),
            bytes_read: AtomicU64::new(0),
            role_path: String::new(),
            encoding: String::new(),
            is_replica: false,
            side: PhantomData,
        }
    }

    /// The time limits that the role, its database or the server sets for the role's transactions.
    pub fn role_limits(&self) -> RoleLimits {
        self.role_limits
    }

    /// The encoding of the database, as the server names it, such as `UTF8`.
    pub fn encoding(&self) -> &str {
        &self.encoding
    }

    /// Whether triggers and foreign keys are off in this transaction: the role has
    /// `session_replication_role = replica`, and no right to change it. Always `false` on the remote side.
    pub fn is_replica(&self) -> bool {
        self.is_replica
    }

    /// Whether the encoding of the database is UTF-8, so that this program can read every text in it.
    pub fn is_utf8(&self) -> bool {
        self.encoding == "UTF8"
    }

    /// Whether the server seems to be near, as in the same building: its fastest answer in this transaction took less
    /// than 3 ms.
    pub fn is_near(&self) -> bool {
        Duration::from_micros(self.shortest_us.load(Ordering::Relaxed)) < NEAR
    }

    /// How many bytes of rows the server has sent in this transaction.
    pub fn bytes_read(&self) -> i64 {
        saturating_i64(self.bytes_read.load(Ordering::Relaxed))
    }

    fn count_bytes(&self, bytes: usize) {
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Reads the next row of a COPY that [`Tx::copy_out`] started. Returns `None` at its end. `doing` is the name of
    /// the COPY in error messages.
    pub async fn next(
        &self,
        rows: &mut Pin<&mut CopyOutStream>,
        doing: &str,
    ) -> Result<Option<Bytes>, DbError> {
        let row = match tokio::time::timeout(self.answer_limit(), rows.next()).await {
            Ok(Some(row)) => row.map_err(|source| self.failed(doing, source))?,
            Ok(None) => return Ok(None),
            Err(_elapsed) => return Err(DbError::silence::<S>(doing, self.answer_limit())),
        };
        self.count_bytes(COPY_HEAD + row.len());
        Ok(Some(row))
    }

    /// The time limit of this process for an answer of the server, or for the next row of a COPY.
    pub fn answer_limit(&self) -> Duration {
        self.waits.answer()
    }

    /// Waits for the answer to a statement.
    // This is no `async fn`, because its future would store the one that waits twice.
    fn answer<T>(
        &self,
        sql: &str,
        wait: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> impl Future<Output = Result<T, DbError>> {
        self.answer_at(statement_name(sql), wait)
    }

    /// Waits for the answer to a statement; `doing` is its name in error messages.
    async fn answer_at<T>(
        &self,
        doing: String,
        wait: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DbError> {
        let number = self.answers.sent();
        let asked = Instant::now();
        let answer = match tokio::time::timeout(self.waits.answer(), wait).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(self.failed(doing, source)),
            Err(_elapsed) => return Err(DbError::silence::<S>(doing, self.waits.answer())),
        };
        let took_us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shortest_us.fetch_min(took_us, Ordering::Relaxed);
        self.answers.answered(number);
        answer
    }

    /// Converts the driver's error to a [`DbError`]; `doing` is the name of the failed statement. If the connection is
    /// closed and the server said why, the result gives that reason.
    pub fn failed(&self, doing: impl Into<String>, source: tokio_postgres::Error) -> DbError {
        DbError::query::<S>(doing, self.last_message.explain(source, self.opened))
    }

    /// Whether the server still owes an answer: this process stopped waiting for it, or [`Tx::copy_out`] was called and
    /// no statement was answered since. After a timeout, the transaction can do nothing more.
    pub fn is_answer_due(&self) -> bool {
        self.answers.are_due()
    }

    /// Runs a statement; returns the number of rows that it affected.
    pub async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, DbError> {
        self.answer(sql, self.inner.execute_typed(sql, &typed(params)))
            .await
    }

    /// Runs a query; returns its rows.
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        let rows = self
            .answer(sql, self.inner.query_typed(sql, &typed(params)))
            .await?;
        self.count_bytes(rows.iter().map(|row| ROW_HEAD + row.raw_size_bytes()).sum());
        Ok(rows)
    }

    /// Runs a query that returns one row. Fails if it returns none, or more than one.
    pub async fn query_one(&self, sql: &str, params: &[Param<'_>]) -> Result<Row, DbError> {
        let row = self
            .answer(sql, self.inner.query_typed_one(sql, &typed(params)))
            .await?;
        self.count_bytes(ROW_HEAD + row.raw_size_bytes());
        Ok(row)
    }

    /// Runs a query that returns one row or none. Fails if it returns more than one.
    pub async fn query_opt(&self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>, DbError> {
        let row = self
            .answer(sql, self.inner.query_typed_opt(sql, &typed(params)))
            .await?;
        self.count_bytes(row.iter().map(|row| ROW_HEAD + row.raw_size_bytes()).sum());
        Ok(row)
    }

    /// Runs statements without parameters, and ignores the rows that they return.
    pub async fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.answer(sql, self.inner.batch_execute(sql)).await
    }

    /// Runs statements without parameters; returns all their rows, with values as text.
    pub async fn simple(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, DbError> {
        let messages = self.answer(sql, self.inner.simple_query(sql)).await?;
        let rows: Vec<SimpleQueryRow> = messages.into_iter().filter_map(row).collect();
        self.count_bytes(rows.iter().map(size).sum());
        Ok(rows)
    }

    /// Returns the names of a query's columns without reading a row. Prepares no statement, because behind a connection
    /// pooler a prepared statement could reach another client.
    pub async fn columns_of(&self, query: &str) -> Result<Vec<String>, DbError> {
        let sql = format!("-- describe the query\nselect q.* from ({query}\n) q limit 0");
        let messages = self.answer(&sql, self.inner.simple_query(&sql)).await?;
        let mut names = Vec::new();
        for message in messages {
            if let SimpleQueryMessage::RowDescription(columns) = message {
                names.extend(columns.iter().map(|column| column.name().to_owned()));
            }
        }
        Ok(names)
    }

    /// Starts `copy .. to stdout`. The rows are then read by [`Tx::next`]. [`Tx::is_answer_due`] is `true` from now on,
    /// until another statement is answered.
    pub async fn copy_out(&self, sql: &str) -> Result<CopyOutStream, DbError> {
        let rows = self.answer(sql, self.inner.copy_out(sql)).await?;
        // The rows.
        self.answers.sent();
        Ok(rows)
    }

    /// Starts `copy .. from stdin`. Returns the sink that takes the data.
    pub async fn copy_in(&self, sql: &str) -> Result<CopyInSink<Bytes>, DbError> {
        self.answer(sql, self.inner.copy_in(sql)).await
    }

    /// Sets the time limit of each statement that follows in this transaction: the lower of `limit` and the role's own
    /// limit.
    pub async fn allow_each_statement(&self, limit: Duration) -> Result<(), DbError> {
        let limit_ms = self.role_limits.statement(limit).as_millis();
        self.batch(&format!(
            "-- set the time limit\nset local statement_timeout = {limit_ms}"
        ))
        .await
    }

    /// Commits the transaction. If this returns an error, the server may have committed nevertheless.
    pub async fn commit(mut self) -> Result<(), DbError> {
        self.inner.has_ended();
        let committed = self.answer_at(COMMIT.to_owned(), self.inner.batch_execute("COMMIT"));
        committed.await
    }
}

/// The name of the commit in error messages.
const COMMIT: &str = "commit";

impl<'c> Tx<'c, Remote> {
    /// Runs queries without parameters and commits the transaction, in one message. Returns the rows of the queries,
    /// and what is left of the transaction. The transaction has only read, so nothing is lost by a commit if the caller
    /// does not like these rows.
    pub async fn simple_and_commit(
        mut self,
        sql: &str,
    ) -> Result<(Vec<SimpleQueryRow>, EndedTx<'c>), DbError> {
        let rows = self.simple(&format!("{sql};\nCOMMIT")).await?;
        self.inner.has_ended();
        Ok((rows, EndedTx(self)))
    }
}

impl Tx<'_, Local> {
    /// Shortens the time for which the transaction may be idle. Call this when the transaction holds row locks and will
    /// no longer wait for the remote. If this process then freezes, the server soon ends the transaction and releases
    /// the locks: about as soon as it would end a statement.
    pub async fn shorten_idle_limit(&self) -> Result<(), DbError> {
        let idle = self.role_limits.idle(self.waits.alone());
        self.batch(&format!("-- hold rows\n{idle}")).await
    }
}

/// Waits for an operation on the remote (`there`) and one on the local side (`here`) at the same time, and returns both
/// results. If one fails, still waits for the other, so that its transaction has no answer due and can be used further.
pub async fn both<A, B, E>(
    there: impl Future<Output = Result<A, E>>,
    here: impl Future<Output = Result<B, E>>,
) -> Result<(A, B), E> {
    let (there, here) = tokio::join!(there, here);
    Ok((there?, here?))
}

fn size(row: &SimpleQueryRow) -> usize {
    let value = |n| VALUE_HEAD + row.get(n).map_or(0, str::len);
    ROW_HEAD + (0..row.len()).map(value).sum::<usize>()
}

/// Returns the first value of each row. Null becomes an empty text.
fn first_values(messages: Vec<SimpleQueryMessage>) -> Vec<String> {
    let rows = messages.into_iter().filter_map(row);
    rows.map(|row| row.get(0).unwrap_or_default().to_owned())
        .collect()
}

fn row(message: SimpleQueryMessage) -> Option<SimpleQueryRow> {
    match message {
        SimpleQueryMessage::Row(row) => Some(row),
        SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
    }
}

/// Returns the name of a statement, which is the comment `-- name` in its first line. Without such a comment, returns
/// the whole first line.
fn statement_name(sql: &str) -> String {
    let first = sql.lines().next().unwrap_or_default().trim();
    first.strip_prefix("-- ").unwrap_or(first).to_owned()
}
