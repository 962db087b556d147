//! Access to the two databases: connection pools, named transactions, catalogs and quoting.
//!
//! A connection's type says which side it belongs to, so a statement for the local database cannot reach the remote.
//!
//! A `PgBouncer` in transaction mode works on either side, because every setting is local to a transaction, and
//! statements are sent unnamed with the types of their parameters. Only COPY statements are named, by the driver, which
//! closes them again.
//!
//! Every wait for an answer has two limits: the server's `statement_timeout`, and a slightly longer deadline of this
//! process, which detects a server that is frozen.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Object, Pool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use answers_due::AnswersDue;
pub use connector::NoServerReached;
use connector::{Connector, SharedLastServerError};
pub use detect_commits::CommittedState;
pub use error::DbError;
pub(crate) use error::PUBLICATION_REMEDY;
pub use server_clock::ServerClock;
pub use side::{Local, Remote, Side, SideName};
use transaction::Opening;
pub use transaction::{EndedTx, Tx, both};
pub use transaction_limits::RoleLimits;
use transaction_limits::TransactionLimits;
pub use why_row_refused::RowFault;

use crate::config::{DatabaseEndpoint, Limits};

mod answers_due;
pub mod catalog;
pub mod citus_distribution;
pub mod computed_expressions;
mod connection_ending_errors;
mod connector;
pub mod constraints_between_rows;
pub mod count_writes;
mod detect_commits;
mod error;
pub mod incoming_foreign_key_chains;
pub mod incoming_foreign_keys;
pub mod index_from_ordinality;
pub mod lacking_functions;
pub mod look_up_table_names;
mod non_utf8_database_text;
pub mod param;
pub mod quote;
pub mod read_lossless_json;
mod server_clock;
mod side;
pub(crate) mod table_family_sql;
mod transaction;
mod transaction_limits;
pub mod unique_indexes;
pub mod unusable_schemas;
mod why_row_refused;

/// One database: a pool of connections to it, and the time limits for their use. Its `Debug` output shows no setting.
#[derive(Clone)]
pub struct Database<S> {
    pool: Pool<Connector>,
    waits: Timeouts,
    clock: ServerClock,
    /// One permit for each connection that may be used to answer requests. The other connections stay free for runs.
    readers: Arc<Semaphore>,
    last_message: SharedLastServerError,
    side: PhantomData<S>,
}

impl<S: Side> std::fmt::Debug for Database<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("side", &S::NAME)
            .field("pool", &self.pool.status())
            .finish_non_exhaustive()
    }
}

/// How many connections of a pool are open, and how many may be open at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUsage {
    /// How many are open and idle.
    pub idle: u32,
    /// How many are in use or being opened.
    pub in_use: u32,
    /// How many may be open at most.
    pub max: u32,
}

/// The time limits for connecting, for a statement, for waiting for a lock, and for a whole run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    connect: Duration,
    statement: Duration,
    lock: Duration,
    run: Duration,
}

impl Timeouts {
    /// How long this process waits for an answer: a little longer than the `statement_timeout` of the server, so that
    /// the server reports its own timeout first.
    pub(crate) fn answer(self) -> Duration {
        self.statement + Duration::from_secs(2)
    }
}

/// A pooled connection. It returns to its pool when dropped. If the server still owes an answer to a statement, the
/// connection is closed instead, because its next user would have to wait for that answer first.
pub struct Connection<S> {
    /// The pooled connection; `None` only while this value is being dropped.
    client: Option<Object<Connector>>,
    answers: AnswersDue,
    waits: Timeouts,
    clock: ServerClock,
    last_message: SharedLastServerError,
    /// The permit (see [`Database`]) of a connection that is used to answer a request; `None` for other connections.
    _reader: Option<OwnedSemaphorePermit>,
    side: PhantomData<S>,
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        if self.answers.are_due() {
            drop(self.client.take().map(Object::take));
        }
    }
}

impl<S: Side> Database<S> {
    /// Creates a pool for the endpoint (the connection settings), large enough for one run at a time. Opens no
    /// connection yet.
    pub fn new(endpoint: &DatabaseEndpoint, limits: &Limits) -> Result<Self, DbError> {
        Self::for_runs(endpoint, limits, 1)
    }

    /// Creates a pool for the endpoint (the connection settings), large enough for `runs` runs at a time. Opens no
    /// connection yet.
    pub fn for_runs(
        endpoint: &DatabaseEndpoint,
        limits: &Limits,
        runs: usize,
    ) -> Result<Self, DbError> {
        let last_message = SharedLastServerError::default();
        // There is no `create_timeout`: each attempt to connect has a limit of its own.
        let pool = Pool::builder(Connector::new(
            S::NAME,
            endpoint.clone(),
            last_message.clone(),
        ))
        .max_size(S::connections_for(runs))
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(limits.connect_timeout))
        .recycle_timeout(Some(limits.connect_timeout))
        .build()
        .map_err(|source| DbError::Pool {
            side: S::NAME,
            source,
        })?;
        let waits = Timeouts {
            connect: limits.connect_timeout,
            statement: limits.statement_timeout,
            lock: limits.lock_timeout,
            run: limits.run_timeout,
        };
        Ok(Self {
            pool,
            waits,
            clock: ServerClock::default(),
            readers: Arc::new(Semaphore::new(S::FOR_REQUESTS)),
            last_message,
            side: PhantomData,
        })
    }

    /// How many connections of the pool are open now, and how many may be open.
    pub fn pool_usage(&self) -> PoolUsage {
        let status = self.pool.status();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        PoolUsage {
            idle: number(status.available),
            in_use: number(status.size.saturating_sub(status.available)),
            max: number(status.max_size),
        }
    }

    /// Closes the connections in the pool that are idle.
    pub fn close_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    /// Returns a clock that shows the time of the server. Each transaction that begins compares the server's time with
    /// that of this machine and corrects the clock.
    pub fn clock(&self) -> ServerClock {
        self.clock.clone()
    }

    /// Takes a connection from the pool, or opens one, for a run or other work that does not answer a request.
    pub async fn connect(&self) -> Result<Connection<S>, DbError> {
        self.connection(None).await
    }

    /// Takes a connection to answer a request. At most [`Side::FOR_REQUESTS`] connections are used this way at a time,
    /// so that slow requests leave enough connections for runs. Fails with [`DbError::Busy`] if none is free within the
    /// connect timeout.
    pub async fn connect_to_read(&self) -> Result<Connection<S>, DbError> {
        let waited = self.waits.connect;
        let side = S::NAME;
        let free = Arc::clone(&self.readers).acquire_owned();
        match tokio::time::timeout(waited, free).await {
            Ok(Ok(reader)) => self.connection(Some(reader)).await,
            Ok(Err(_)) | Err(_) => Err(DbError::Busy { side, waited }),
        }
    }

    async fn connection(
        &self,
        reader: Option<OwnedSemaphorePermit>,
    ) -> Result<Connection<S>, DbError> {
        let client = self.pool.get().await.map_err(|source| DbError::Connect {
            side: S::NAME,
            waited: self.waits.connect,
            source,
        })?;
        Ok(Connection {
            client: Some(client),
            answers: AnswersDue::default(),
            waits: self.waits,
            clock: self.clock.clone(),
            last_message: self.last_message.clone(),
            _reader: reader,
            side: PhantomData,
        })
    }
}

impl Database<Local> {
    /// Runs the queries of `question` inside a transaction that is rolled back at the end. `pg_stat_activity` shows
    /// `name` in the application name. Uses one of the connections for requests (see [`Database::connect_to_read`]).
    pub async fn read<T, E: From<DbError>>(
        &self,
        name: &'static str,
        question: impl AsyncFnOnce(&Tx<'_, Local>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connect_to_read().await?;
        let tx = connection.begin(name).await?;
        question(&tx).await
    }

    /// Does `work` inside a transaction of its own, which is committed if the work succeeds and rolled back if it
    /// fails. `pg_stat_activity` shows `name` in the application name. Nothing is retried. If the commit returns an
    /// error, the work may have been committed.
    pub async fn write<T, E: From<DbError>>(
        &self,
        name: &'static str,
        work: impl AsyncFnOnce(&Tx<'_, Local>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connect().await?;
        let tx = connection.begin(name).await?;
        let done = work(&tx).await?;
        tx.commit().await?;
        Ok(done)
    }
}

/// The name of the step that opens a transaction, as error messages show it.
const OPEN: &str = "begin a transaction";

/// Settings that make both servers write and read values as the same text, whatever the role or the database has set
/// (<https://www.postgresql.org/docs/current/runtime-config-client.html>).
///
/// `jit` is off, because compiling our statements costs more than it gains: it doubled the time of a digest of 200,000
/// rows.
const PINNED: &str = "set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; \
     set local timezone = 'UTC'; set local extra_float_digits = 1; \
     set local bytea_output = 'hex'; set local xmloption = 'content'; \
     set local lc_monetary = 'C'; set local array_nulls = on; set local standard_conforming_strings = on; \
     set local jit = off; ";

/// Settings of the planner for local transactions. The low `random_page_cost` favours index scans, because a run
/// usually needs few rows of many. The higher `work_mem` lets a first comparison, which needs many rows, join them in
/// memory.
pub(crate) const PLANNING: &str = "set local random_page_cost = 1.1; set local work_mem = '16MB'; ";

/// Lets the planner look up rows by their places or by an index. It would expect to read each page from disk, but the
/// run has just read the whole table. [`PLANNING`] takes it back.
pub(crate) const PAGES_ARE_CACHED: &str = "set local random_page_cost = 0.01";

impl<S: Side> Connection<S> {
    /// Opens a transaction with these settings, time limits and locks; all other methods open transactions through this
    /// one. `pg_stat_activity` shows `name` in the application name.
    async fn open(
        &mut self,
        name: &'static str,
        settings: &str,
        bounds: TransactionLimits,
        locks: &[String],
    ) -> Result<Tx<'_, S>, DbError> {
        let waits = self.waits;
        let Some(client) = self.client.as_mut() else {
            return Err(DbError::silence::<S>(name, Duration::ZERO));
        };
        let settings = format!(
            "{PINNED}{settings}set local application_name = {}; ",
            quote::literal(&format!("meter-sync {name}"))
        );
        let opening = Opening {
            name,
            settings: &settings,
            bounds,
            locks,
        };
        let mut tx = Tx::new(client, &self.answers, waits, self.last_message.clone());
        // Boxed, because futures of all kinds contain this one.
        Box::pin(tx.open(opening, &self.clock)).await?;
        Ok(tx)
    }

    /// Closes the connection instead of returning it to the pool, because a statement on it may still be running.
    pub fn discard(self) {
        self.answers.sent();
    }
}

impl Connection<Remote> {
    /// Opens a read-only transaction on one snapshot of the remote, so that everything it reads is from the same
    /// moment.
    ///
    /// The relations in `locks`, named as in SQL, are locked against rewrites (such as `truncate`) before the snapshot
    /// is taken. Otherwise a truncate that commits in between would make the table look empty in the snapshot
    /// (<https://www.postgresql.org/docs/current/mvcc-caveats.html>). A relation that cannot be locked, such as a
    /// foreign table, is read without a lock.
    pub async fn snapshot(
        &mut self,
        name: &'static str,
        locks: &[String],
    ) -> Result<Tx<'_, Remote>, DbError> {
        let bounds = self.waits.bounds_for_run();
        self.open(name, "", bounds, locks).await
    }
}

impl Connection<Local> {
    /// Opens a local transaction. Each statement sees what others committed before the statement began. So a statement
    /// after a wait for a lock sees the changes of the transaction that held the lock.
    ///
    /// The keepalive settings make the server notice within 10 s that this machine is gone, and release our locks. If
    /// only this process dies, the server notices at once
    /// (<https://www.postgresql.org/docs/current/runtime-config-connection.html>).
    pub async fn begin(&mut self, name: &'static str) -> Result<Tx<'_, Local>, DbError> {
        let bounds = self.waits.alone();
        self.begin_bounded(name, bounds).await
    }

    /// Opens a local transaction for a run. The transaction is idle while the run waits for the remote, so it may be
    /// idle for longer than one that [`Connection::begin`] opens.
    pub async fn begin_for_run(&mut self, name: &'static str) -> Result<Tx<'_, Local>, DbError> {
        let bounds = self.waits.bounds_for_run();
        self.begin_bounded(name, bounds).await
    }

    async fn begin_bounded(
        &mut self,
        name: &'static str,
        bounds: TransactionLimits,
    ) -> Result<Tx<'_, Local>, DbError> {
        let settings = format!(
            "set local tcp_keepalives_idle = 3; set local tcp_keepalives_interval = 2; \
             set local tcp_keepalives_count = 2; {PLANNING}"
        );
        let bounds = bounds.with_lock(self.waits.lock);
        self.open(name, &settings, bounds, &[]).await
    }
}
