//! The two databases: pools, the one door to transactions, catalogs, quoting.
//!
//! Which side a connection belongs to is part of its type, so a statement meant for the local
//! database cannot reach the remote. Statements are sent unnamed and typed (the driver names those of
//! COPY, and closes them again) and every setting is transaction-local, so a `PgBouncer` in
//! transaction mode on either side is no obstacle. Every wait has an end: the server's by
//! `statement_timeout`, ours by a deadline a little longer, which is what notices a server that is
//! frozen.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Object, Pool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::IsolationLevel;

use bounds::Bounds;
pub use bounds::RoleLimits;
pub use dial::DialError;
use dial::{Dial, LastWords};
pub use error::DbError;
pub(crate) use error::PUBLICATION_REMEDY;
pub use fault::RowFault;
pub use moment::Moment;
pub use server_clock::ServerClock;
pub use transaction::{Tx, both};

use crate::config::{Endpoint, Limits};

mod bounds;
pub mod catalog;
pub mod computed;
mod dial;
pub mod downstream;
mod error;
pub mod exclusive;
pub(crate) mod family;
mod fault;
pub mod json;
pub mod migrations;
mod moment;
pub mod param;
pub mod quote;
mod server_clock;
mod storable;
mod transaction;

/// Which database a connection, a transaction or an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideName {
    /// The central database, read-only for us.
    Remote,
    /// The site's database.
    Local,
}

impl SideName {
    /// The variable that holds the side's URL.
    pub(crate) fn url_variable(self) -> &'static str {
        match self {
            Self::Remote => "METER_SYNC_REMOTE_URL",
            Self::Local => "METER_SYNC_LOCAL_URL",
        }
    }
}

impl std::fmt::Display for SideName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Remote => "remote",
            Self::Local => "local",
        })
    }
}

/// A side as a type.
pub trait Side: Send + Sync + 'static {
    /// The side's name.
    const NAME: SideName;
    /// How many connections are kept for it at most.
    const CONNECTIONS: usize;
    /// How many of them are never used to answer questions: a run needs two local ones at a time, its own and a short
    /// one for the log.
    const OF_RUNS: usize;
}

/// The central database.
#[derive(Clone, Copy, Debug)]
pub struct Remote;

/// The site's database.
#[derive(Clone, Copy, Debug)]
pub struct Local;

impl Side for Remote {
    const NAME: SideName = SideName::Remote;
    const CONNECTIONS: usize = 2;
    const OF_RUNS: usize = 1;
}

impl Side for Local {
    const NAME: SideName = SideName::Local;
    const CONNECTIONS: usize = 6;
    const OF_RUNS: usize = 2;
}

/// One database: a pool of connections and the waits that hold for them. Its `Debug` shows nothing of
/// the settings.
#[derive(Clone)]
pub struct Database<S> {
    pool: Pool<Dial>,
    waits: Waits,
    clock: ServerClock,
    /// One permit for each connection that questions may use.
    readers: Arc<Semaphore>,
    words: LastWords,
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

/// How many connections of a pool are open, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Open, and waiting to be used again.
    pub idle: u32,
    /// Open and used, or being opened.
    pub in_use: u32,
    /// The most there may be.
    pub max: u32,
}

/// How long a statement, a lock and an answer are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    connect: Duration,
    statement: Duration,
    lock: Duration,
    run: Duration,
}

impl Waits {
    /// The server ends a statement after `statement`; that it says so is waited for a little longer.
    pub(crate) fn answer(self) -> Duration {
        self.statement + Duration::from_secs(2)
    }
}

/// A connection, given back to its pool when dropped; closed instead while an answer of the server
/// is still due, as whoever had it next would wait for that answer first.
pub struct Connection<S> {
    /// `None` only while it is dropped.
    client: Option<Object<Dial>>,
    answer_due: AtomicBool,
    waits: Waits,
    clock: ServerClock,
    words: LastWords,
    /// Held by those that answer questions.
    _reader: Option<OwnedSemaphorePermit>,
    side: PhantomData<S>,
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        if *self.answer_due.get_mut() {
            drop(self.client.take().map(Object::take));
        }
    }
}

impl<S: Side> Database<S> {
    /// A pool for the endpoint. Nothing connects yet.
    pub fn new(endpoint: &Endpoint, limits: &Limits) -> Result<Self, DbError> {
        let words = LastWords::default();
        // To make a connection has limits of its own, for each server.
        let pool = Pool::builder(Dial::new(S::NAME, endpoint.clone(), words.clone()))
            .max_size(S::CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(limits.connect_timeout))
            .recycle_timeout(Some(limits.connect_timeout))
            .build()
            .map_err(|source| DbError::Pool {
                side: S::NAME,
                source,
            })?;
        let waits = Waits {
            connect: limits.connect_timeout,
            statement: limits.statement_timeout,
            lock: limits.lock_timeout,
            run: limits.run_timeout,
        };
        Ok(Self {
            pool,
            waits,
            clock: ServerClock::default(),
            readers: Arc::new(Semaphore::new(S::CONNECTIONS - S::OF_RUNS)),
            words,
            side: PhantomData,
        })
    }

    /// The pool as it stands.
    pub fn connections(&self) -> Connections {
        let status = self.pool.status();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Connections {
            idle: number(status.available),
            in_use: number(status.size.saturating_sub(status.available)),
            max: number(status.max_size),
        }
    }

    /// The server's clock, as each transaction sees it anew.
    pub fn clock(&self) -> ServerClock {
        self.clock.clone()
    }

    /// A connection, new or used before, for a run and what is as short.
    pub async fn connect(&self) -> Result<Connection<S>, DbError> {
        self.connection(None).await
    }

    /// A connection to answer a question with: however long the answers take, enough connections are left for a run.
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
            answer_due: AtomicBool::new(false),
            waits: self.waits,
            clock: self.clock.clone(),
            words: self.words.clone(),
            _reader: reader,
            side: PhantomData,
        })
    }
}

/// What is being done while a transaction is opened.
const OPEN: &str = "begin a transaction";

/// Settings that make the text of a value mean the same on both sides, whatever a role or a
/// database has set (<https://www.postgresql.org/docs/current/runtime-config-client.html>).
///
/// Compiling our statements costs more than it gains: it doubled the time of a digest of 200,000 rows.
const PINNED: &str = "set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; \
     set local timezone = 'UTC'; set local extra_float_digits = 1; \
     set local bytea_output = 'hex'; set local xmloption = 'content'; \
     set local lc_monetary = 'C'; set local array_nulls = on; set local standard_conforming_strings = on; \
     set local jit = off; ";

/// The rows of a run are few among many, and what a disk takes to find one is no reason to read them all;
/// those of a first comparison are many, and are to be joined in memory.
const PLANNING: &str = "set local random_page_cost = 1.1; set local work_mem = '16MB'; ";

impl<S: Side> Connection<S> {
    /// The one door to transactions. `name` is what `pg_stat_activity` shows.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the door the others are sent to"
    )]
    async fn open(
        &mut self,
        name: &'static str,
        level: IsolationLevel,
        (settings, bounds, locks): (&str, Bounds, &[String]),
    ) -> Result<Tx<'_, S>, DbError> {
        let waits = self.waits;
        let Some(client) = self.client.as_mut() else {
            return Err(DbError::silence::<S>(name, Duration::ZERO));
        };
        let builder = client.build_transaction().isolation_level(level);
        let builder = builder.read_only(matches!(S::NAME, SideName::Remote));
        self.answer_due.store(true, Ordering::Relaxed);
        let opening = tokio::time::timeout(waits.answer(), builder.start());
        let inner = opening
            .await
            .map_err(|_elapsed| DbError::silence::<S>(name, waits.answer()))?
            .map_err(|source| DbError::query::<S>(OPEN, source))?;
        let mut tx = Tx::new(inner, &self.answer_due, waits, self.words.clone());
        let settings = format!(
            "{PINNED}{settings}set local application_name = {}; ",
            quote::literal(&format!("meter-sync {name}"))
        );
        tx.set_bounds(name, &settings, bounds).await?;
        tx.lock_and_pin(locks, &self.clock).await?;
        Ok(tx)
    }

    /// Closes the connection instead of giving it back: what it was doing is not known to be over.
    pub fn discard(self) {
        self.answer_due.store(true, Ordering::Relaxed);
    }
}

impl Connection<Remote> {
    /// One snapshot of the remote, read-only: everything read through it is of one moment.
    ///
    /// The relations `locks`, named as SQL names them, are locked against rewrites before the snapshot is taken. Else a
    /// truncate that is committed in between would leave the snapshot with a table that is empty for it
    /// (<https://www.postgresql.org/docs/current/mvcc-caveats.html>). What cannot be locked, such as a foreign table,
    /// is read without.
    pub async fn snapshot(
        &mut self,
        name: &'static str,
        locks: &[String],
    ) -> Result<Tx<'_, Remote>, DbError> {
        let bounds = self.waits.beside_the_other();
        self.open(name, IsolationLevel::RepeatableRead, ("", bounds, locks))
            .await
    }
}

impl Connection<Local> {
    /// A local transaction. Each statement sees what others have committed before it, so that a
    /// lock that was waited for is followed by a look at what its holder did.
    ///
    /// The keepalive settings make the server notice within 10 s that our machine has vanished, and
    /// let go of our locks then; a process that merely dies is noticed at once
    /// (<https://www.postgresql.org/docs/current/runtime-config-connection.html>).
    pub async fn begin(&mut self, name: &'static str) -> Result<Tx<'_, Local>, DbError> {
        let bounds = self.waits.alone();
        self.begin_bounded(name, bounds).await
    }

    /// The same for a transaction that waits for the remote now and then.
    pub async fn begin_beside_the_remote(
        &mut self,
        name: &'static str,
    ) -> Result<Tx<'_, Local>, DbError> {
        let bounds = self.waits.beside_the_other();
        self.begin_bounded(name, bounds).await
    }

    async fn begin_bounded(
        &mut self,
        name: &'static str,
        bounds: Bounds,
    ) -> Result<Tx<'_, Local>, DbError> {
        let settings = format!(
            "set local tcp_keepalives_idle = 3; set local tcp_keepalives_interval = 2; \
             set local tcp_keepalives_count = 2; {PLANNING}"
        );
        let bounds = bounds.with_lock(self.waits.lock);
        self.open(
            name,
            IsolationLevel::ReadCommitted,
            (&settings, bounds, &[]),
        )
        .await
    }
}
