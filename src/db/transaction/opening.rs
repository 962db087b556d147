//! Opens a transaction and prepares it for its first statement: sets its time limits, locks relations and pins the
//! search path. A remote transaction takes its snapshot after it has the locks.
//!
//! All of this is one message, because a distant remote may take 50 ms for each round trip. In this message, locks are
//! taken without waiting. If one cannot be had at once, the transaction is opened anew in several steps: the server
//! must know the lower limits of the role before it waits for a lock.

use std::slice;
use std::time::Duration;

use super::{DbError, RoleLimits, TransactionLimits, Tx, first_values};
use crate::db::{OPEN, ServerClock, Side, SideName, quote};

/// The name of the step that locks relations, as error messages show it.
const LOCK: &str = "lock the tables to be read";

/// The name of the step that pins the search path, as error messages show it.
const PIN: &str = "pin the path";

/// SQL: pins the search path, so that names without a schema find only built-in objects and temporary tables. With the
/// role's own search path, anyone who may create functions or operators in one of its schemas could have them run with
/// the privileges of our role (<https://www.postgresql.org/docs/current/ddl-schemas.html#DDL-SCHEMAS-PATTERNS>).
pub(super) const PINNED_PATH: &str = "set local search_path = pg_catalog, pg_temp";

/// The name of the savepoint that is set before relations are locked.
const LOCKS: &str = "meter_sync_locks";

/// The value of `session_replication_role` that turns triggers and foreign keys off.
const REPLICA: &str = "replica";

/// The name of the savepoint that is set before triggers are turned on.
const TRIGGERS: &str = "meter_sync_triggers";

/// SQL: makes the server check once a second, while it runs a statement, whether its client is still connected. If not,
/// the server ends the statement and releases its locks. The setting exists on Linux with Postgres 14 or later.
/// Elsewhere, only the statement's own time limit ends such a statement.
const NOTICE_A_DEAD_CLIENT: &str = "\
    select set_config('client_connection_check_interval', '1000', true) \
    where current_setting('client_connection_check_interval', true) is not null \
    and version() like '%linux%'";

/// SQL: makes the server give up after `limit` if it sends rows to a client that is frozen. It takes effect on Linux
/// with Postgres 12 or later. It is not used together with TCP keepalives, because it would delay these.
fn notice_a_frozen_client(limit: Duration) -> String {
    let limit_ms = limit.as_millis();
    format!(
        "select set_config('tcp_user_timeout', '{limit_ms}', true) \
         where current_setting('tcp_user_timeout', true) is not null and version() like '%linux%'"
    )
}

/// SQL: reads the server's clock, in microseconds since 1970.
const NOW: &str = "select (extract(epoch from pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000000)::bigint";

/// How to open a transaction.
pub(in crate::db) struct Opening<'a> {
    /// What the transaction is for, as `pg_stat_activity` and error messages show it.
    pub(in crate::db) name: &'static str,
    /// SQL that sets the settings of the transaction.
    pub(in crate::db) settings: &'a str,
    /// The time limits. Of each of them and the role's own limit, the lower one applies.
    pub(in crate::db) bounds: TransactionLimits,
    /// The relations to lock against rewrites such as `truncate`, as SQL.
    pub(in crate::db) locks: &'a [String],
}

impl Opening<'_> {
    /// SQL: begins the transaction, asks for the limits of the role, and sets ours. Takes no snapshot.
    fn begin<S: Side>(&self) -> String {
        let mode = match S::NAME {
            SideName::Remote => "isolation level repeatable read, read only",
            SideName::Local => "isolation level read committed, read write",
        };
        let Self { name, settings, .. } = self;
        format!(
            "-- {name}\nstart transaction {mode}; {}{settings}{}",
            RoleLimits::ASK,
            self.bounds.sql()
        )
    }

    /// SQL: locks the relations, and fails if one of the locks cannot be had at once.
    fn lock_at_once(&self) -> String {
        match self.locks {
            [] => String::new(),
            locks => format!(
                "lock table {} in access share mode nowait; ",
                locks.join(", ")
            ),
        }
    }
}

impl<S: Side> Tx<'_, S> {
    /// Opens the transaction: sets its settings and limits, locks the relations, pins the search path and sets `clock`
    /// to the server's time. On the local side, also turns triggers on if the role has turned them off. Takes no
    /// snapshot before it holds the locks.
    pub(in crate::db) async fn open(
        &mut self,
        opening: Opening<'_>,
        clock: &ServerClock,
    ) -> Result<(), DbError> {
        self.bounds = opening.bounds;
        let (begin, lock, pin) = (opening.begin::<S>(), opening.lock_at_once(), self.pin());
        let is_of_locks =
            |error: &DbError| !opening.locks.is_empty() && !error.ends_the_connection();
        let sql = format!("{begin}{lock}{pin}");
        match self.first_values(OPEN, &sql).await {
            Err(error) if is_of_locks(&error) => {
                let may_wait = !error.cannot_be_locked();
                Box::pin(self.open_in_steps(&opening, may_wait, clock)).await
            }
            opened => {
                let mut values = opened?;
                let of_pin = values.split_off(values.len().min(RoleLimits::ASKED));
                self.keep_lower_limits(&values).await?;
                self.is_pinned(of_pin, clock).await
            }
        }
    }

    /// Opens the transaction as [`Tx::open`] does, but waits for the locks. Without `may_wait`, locks each relation on
    /// its own, because they cannot all be locked.
    async fn open_in_steps(
        &mut self,
        opening: &Opening<'_>,
        may_wait: bool,
        clock: &ServerClock,
    ) -> Result<(), DbError> {
        self.batch("-- begin anew\nROLLBACK").await?;
        let limits = self.first_values(OPEN, &opening.begin::<S>()).await?;
        self.keep_lower_limits(&limits).await?;
        let locks = opening.locks;
        if !may_wait || self.lock(locks).await?.is_err() {
            self.lock_one_by_one(locks).await?;
        }
        let sql = format!("-- {PIN}\n{}", self.pin());
        let values = self.first_values(PIN, &sql).await?;
        self.is_pinned(values, clock).await
    }

    /// Runs statements without parameters; returns the first value of each row. `doing` is their name in errors.
    async fn first_values(&self, doing: &str, sql: &str) -> Result<Vec<String>, DbError> {
        let answer = self.answer_at(doing.to_owned(), self.inner.simple_query(sql));
        Ok(first_values(answer.await?))
    }

    /// Sets the limits of the role again that are lower than ours. `limits` is what [`RoleLimits::ASK`] returned.
    async fn keep_lower_limits(&mut self, limits: &[String]) -> Result<(), DbError> {
        self.role_limits = RoleLimits::read(limits);
        let lower = self.role_limits.lower_than(self.bounds);
        if lower.is_empty() {
            return Ok(());
        }
        self.batch(&format!("-- keep the lower limits of the role\n{lower}"))
            .await
    }

    /// SQL: asks for the server's clock and for settings of the role, then pins the search path.
    fn pin(&self) -> String {
        let whole = self.bounds.whole_transaction_sql();
        let frozen = match S::NAME {
            SideName::Remote => notice_a_frozen_client(self.answer_limit()),
            SideName::Local => String::new(),
        };
        format!(
            "{NOW}; show search_path; show server_encoding; show session_replication_role; {whole}{PINNED_PATH}; {NOTICE_A_DEAD_CLIENT}; {frozen}"
        )
    }

    /// Takes the values that the statements of [`Tx::pin`] returned.
    async fn is_pinned(&mut self, values: Vec<String>, clock: &ServerClock) -> Result<(), DbError> {
        let mut values = values.into_iter();
        if let Some(micros) = values.next().and_then(|micros| micros.parse().ok()) {
            clock.showed(micros);
        }
        self.role_path = values.next().unwrap_or_default();
        self.encoding = values.next().unwrap_or_default();
        let fires_triggers = values.next().is_none_or(|role| role != REPLICA);
        if !fires_triggers && let SideName::Local = S::NAME {
            self.fire_triggers().await?;
        }
        let theirs = values.next().unwrap_or_default();
        match self.role_limits.shorten_transaction(&theirs, self.bounds) {
            Some(shorten) => self.batch(&shorten).await,
            None => Ok(()),
        }
    }

    /// Turns on triggers and foreign keys, which the role has turned off. If the role may not do so, sets `is_replica`.
    async fn fire_triggers(&mut self) -> Result<(), DbError> {
        let fire = self.batch("-- fire triggers\nset local session_replication_role = origin");
        let fired = self.undo_if(TRIGGERS, DbError::is_denied, fire).await?;
        self.is_replica = fired.is_err();
        Ok(())
    }

    /// Locks each relation that can be locked and skips the others. Does nothing if there is only one relation, because
    /// the caller has just failed to lock it.
    async fn lock_one_by_one(&self, locks: &[String]) -> Result<(), DbError> {
        if locks.len() < 2 {
            return Ok(());
        }
        for relation in locks {
            let _is_locked = self.lock(slice::from_ref(relation)).await?.is_ok();
        }
        Ok(())
    }

    /// Locks all of the relations. If one of them cannot be locked, locks none and returns `Ok(Err(_))`.
    async fn lock(&self, locks: &[String]) -> Result<Result<(), DbError>, DbError> {
        if locks.is_empty() {
            return Ok(Ok(()));
        }
        let sql = format!("lock table {} in access share mode", locks.join(", "));
        self.lock_or_undo(&sql).await
    }

    /// Runs statements that lock relations. If a relation cannot be locked, undoes the statements and returns
    /// `Ok(Err(_))`.
    async fn lock_or_undo(&self, sql: &str) -> Result<Result<(), DbError>, DbError> {
        let locked = self.undo_simple_if(LOCKS, DbError::cannot_be_locked, LOCK, sql);
        Ok(locked.await?.map(drop))
    }

    /// Looks up a relation on the role's own search path and locks it, then pins the search path again. If the relation
    /// cannot be locked, returns the error; the search path is then pinned, too.
    pub async fn lock_as_role(&self, relation: &str) -> Result<(), DbError> {
        let path = quote::literal(&self.role_path());
        let sql = format!(
            "select pg_catalog.set_config('search_path', {path}, true); \
             lock table {relation} in access share mode; {PINNED_PATH}"
        );
        self.lock_or_undo(&sql).await?
    }

    /// The role's own search path, in the form that `set_config` takes. Built-in objects always come first: if the
    /// role's path names `pg_catalog`, another `pg_catalog` is put in front of it.
    pub fn role_path(&self) -> String {
        match self.role_path.contains("pg_catalog") {
            true => format!("pg_catalog, {}", self.role_path),
            false => self.role_path.clone(),
        }
    }

    /// Switches to the role's own search path, for user-defined code that may rely on it: views, row security policies,
    /// triggers and check constraints. Our own statements must then name every object with its schema.
    pub async fn use_role_path(&self) -> Result<(), DbError> {
        // The path is passed as a value, because a path that the role or the URL sets need not be a list of names that
        // SQL accepts.
        let path = quote::literal(&self.role_path());
        self.batch(&format!(
            "-- use the path of the role\nselect pg_catalog.set_config('search_path', {path}, true)"
        ))
        .await
    }

    /// Pins the search path again (sets it to `pg_catalog, pg_temp`), after [`Tx::use_role_path`].
    pub async fn pin_path(&self) -> Result<(), DbError> {
        self.batch(&format!("-- {PIN}\n{PINNED_PATH}")).await
    }
}
