//! What a transaction sets before its first statement: limits, locks, path. On the remote nothing of it takes a snapshot
//! before the locks are held.

use std::time::Duration;

use super::{Bounds, DbError, RoleLimits, Tx, first_values};
use crate::db::{ServerClock, Side, SideName, quote};

/// What is being done while the relations of a snapshot are locked.
const LOCK: &str = "lock the tables to be read";

/// Only the objects that Postgres came with are found by a bare name: whoever may create functions and operators in a
/// schema of the role's own path would else have them run with our rights
/// (<https://www.postgresql.org/docs/current/ddl-schemas.html#DDL-SCHEMAS-PATTERNS>).
const PINNED_PATH: &str = "set local search_path = pg_catalog, pg_temp";

/// The savepoint around the locks of a snapshot.
const LOCKS: &str = "meter_sync_locks";

/// The `session_replication_role` under which neither triggers nor foreign keys work.
const REPLICA: &str = "replica";

/// The savepoint around the setting that ends it.
const TRIGGERS: &str = "meter_sync_triggers";

/// Lets a server in the middle of a statement look for a client that died or gave up, so that it holds
/// neither lock nor connection for it. Postgres has it from version 14, surely on Linux; elsewhere the
/// statement's own time limit does it.
const NOTICE_A_DEAD_CLIENT: &str = "\
    select set_config('client_connection_check_interval', '1000', true) \
    where current_setting('client_connection_check_interval', true) is not null \
    and version() like '%linux%'";

/// Lets a server that sends rows to a client that is frozen give up, where it has the setting (Postgres 12 on Linux). Not
/// together with keepalives, which it would hold back.
fn notice_a_frozen_client(limit: Duration) -> String {
    let limit_ms = limit.as_millis();
    format!(
        "select set_config('tcp_user_timeout', '{limit_ms}', true) \
         where current_setting('tcp_user_timeout', true) is not null and version() like '%linux%'"
    )
}

/// The server's clock, in microseconds since 1970.
const NOW: &str = "select (extract(epoch from pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000000)::bigint";

impl<S: Side> Tx<'_, S> {
    /// Sets what holds for the transaction; of the role's own limits and ours the lower ones. Nothing here takes a snapshot.
    pub(in crate::db) async fn set_bounds(
        &mut self,
        name: &str,
        settings: &str,
        bounds: Bounds,
    ) -> Result<(), DbError> {
        let sql = format!("-- {name}\n{}{settings}{}", RoleLimits::ASK, bounds.sql());
        let messages = self.answer(&sql, self.inner.simple_query(&sql)).await?;
        self.bounds = bounds;
        self.role_limits = RoleLimits::read(&first_values(messages));
        let lower = self.role_limits.lower_than(bounds);
        if lower.is_empty() {
            return Ok(());
        }
        self.batch(&format!("-- keep the lower limits of the role\n{lower}"))
            .await
    }

    /// Locks relations against rewrites, then pins the path and looks at the server's clock; nothing before that takes a
    /// snapshot.
    pub(in crate::db) async fn lock_and_pin(
        &mut self,
        locks: &[String],
        clock: &ServerClock,
    ) -> Result<(), DbError> {
        if let Err(error) = self.lock(locks).await {
            if !error.cannot_be_locked() {
                return Err(error);
            }
            self.back_to(LOCKS).await?;
            self.lock_one_by_one(locks).await?;
        }
        let whole = self.role_limits.whole_transaction(self.bounds);
        let frozen = match S::NAME {
            SideName::Remote => notice_a_frozen_client(self.patience()),
            SideName::Local => String::new(),
        };
        let sql = format!(
            "-- pin the path\n{NOW}; show search_path; show server_encoding; show session_replication_role; {whole}{PINNED_PATH}; {NOTICE_A_DEAD_CLIENT}; {frozen}"
        );
        let messages = self.answer(&sql, self.inner.simple_query(&sql)).await?;
        let mut values = first_values(messages).into_iter();
        if let Some(micros) = values.next().and_then(|micros| micros.parse().ok()) {
            clock.showed(micros);
        }
        self.role_path = values.next().unwrap_or_default();
        self.encoding = values.next().unwrap_or_default();
        let fires_triggers = values.next().is_none_or(|role| role != REPLICA);
        if !fires_triggers && let SideName::Local = S::NAME {
            self.fire_triggers().await?;
        }
        if whole.is_empty() {
            return Ok(());
        }
        let theirs = values.next().unwrap_or_default();
        match self.role_limits.shorten_transaction(&theirs, self.bounds) {
            Some(shorten) => self.batch(&shorten).await,
            None => Ok(()),
        }
    }

    /// Lets triggers and foreign keys work, where the role may.
    async fn fire_triggers(&mut self) -> Result<(), DbError> {
        self.savepoint(TRIGGERS).await?;
        let sql = "-- fire triggers\nset local session_replication_role = origin";
        match self.batch(sql).await {
            Ok(()) => self.release(TRIGGERS).await,
            Err(error) if error.is_denied() => {
                self.is_replica = true;
                self.back_to(TRIGGERS).await
            }
            Err(error) => Err(error),
        }
    }

    /// Locks what can be locked.
    async fn lock_one_by_one(&self, locks: &[String]) -> Result<(), DbError> {
        if locks.len() < 2 {
            return Ok(());
        }
        for relation in locks {
            match self.lock(std::slice::from_ref(relation)).await {
                Err(error) if error.cannot_be_locked() => self.back_to(LOCKS).await?,
                locked => locked?,
            }
        }
        Ok(())
    }

    async fn lock(&self, locks: &[String]) -> Result<(), DbError> {
        if locks.is_empty() {
            return Ok(());
        }
        let locks = locks.join(", ");
        self.batch(&format!(
            "-- {LOCK}\nsavepoint {LOCKS}; lock table {locks} in access share mode; release savepoint {LOCKS}"
        ))
        .await
    }

    /// Locks a relation as the role finds it, with the pinned path again afterwards. What failed is undone.
    pub async fn lock_as_role(&self, relation: &str) -> Result<(), DbError> {
        let path = quote::literal(&self.role_path());
        let sql = format!(
            "-- {LOCK}\nsavepoint {LOCKS}; select pg_catalog.set_config('search_path', {path}, true); \
             lock table {relation} in access share mode; {PINNED_PATH}; release savepoint {LOCKS}"
        );
        let locked = self.batch(&sql).await;
        if let Err(error) = &locked
            && error.cannot_be_locked()
        {
            self.back_to(LOCKS).await?;
        }
        locked
    }

    /// The path by which the role finds objects, as `set search_path` and `set_config` take it. What Postgres came
    /// with comes first in it.
    pub fn role_path(&self) -> String {
        match self.role_path.contains("pg_catalog") {
            true => format!("pg_catalog, {}", self.role_path),
            false => self.role_path.clone(),
        }
    }

    /// Lets what follows find objects as the role does, for code of the database's owner that rests on it: views, row
    /// security, triggers, checks. Statements of ours name everything in full then.
    pub async fn use_role_path(&self) -> Result<(), DbError> {
        // As a value: what the role or the URL gives need be no list of names that SQL takes.
        let path = quote::literal(&self.role_path());
        self.batch(&format!(
            "-- use the path of the role\nselect pg_catalog.set_config('search_path', {path}, true)"
        ))
        .await
    }

    /// Ends [`Tx::use_role_path`].
    pub async fn pin_path(&self) -> Result<(), DbError> {
        self.batch(&format!("-- pin the path\n{PINNED_PATH}")).await
    }
}
