//! The time limits that the server enforces on our transactions. Each is the lower of two: the one in our settings, and
//! the one that the role, its database or the server sets.
//!
//! The server's limits apply even where this process cannot enforce its own, for example while it is frozen in the
//! middle of a run.

use std::time::Duration;

use super::Timeouts;

/// How much later the server ends an idle or long transaction than this process would, so that this process notices the
/// timeout first and reports it.
const GRACE: Duration = Duration::from_secs(3);

/// The time limits that this program sets for one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TransactionLimits {
    statement: Duration,
    /// The limit of a wait for a lock. `None` leaves the role's own `lock_timeout` in force.
    lock: Option<Duration>,
    /// The limit of the pause between two statements, while the transaction is idle.
    idle: Duration,
    /// The limit of the whole transaction.
    whole: Duration,
}

impl Timeouts {
    /// The limits of a transaction that does not wait for the other database.
    pub(super) fn alone(self) -> TransactionLimits {
        let idle = self.answer() + GRACE;
        self.bounds(idle.min(self.run + GRACE))
    }

    /// The limits of a transaction that also waits for the other database, in the middle of a run.
    pub(super) fn bounds_for_run(self) -> TransactionLimits {
        self.bounds(self.run + GRACE)
    }

    fn bounds(self, idle: Duration) -> TransactionLimits {
        TransactionLimits {
            statement: self.statement,
            lock: None,
            idle,
            whole: self.run + self.answer() + GRACE,
        }
    }
}

impl TransactionLimits {
    pub(super) fn with_lock(self, lock: Duration) -> Self {
        Self {
            lock: Some(lock),
            ..self
        }
    }

    /// The SQL that asks for the role's `transaction_timeout` and then sets ours. It sets nothing if the server has no
    /// such setting. If the role has a limit, the server already measures it and ignores the new one.
    pub(super) fn whole_transaction_sql(self) -> String {
        let limit_ms = self.whole.as_millis().max(1);
        format!(
            "select pg_catalog.current_setting('transaction_timeout', true); \
             select pg_catalog.set_config('transaction_timeout', '{limit_ms}', true) \
             where pg_catalog.current_setting('transaction_timeout', true) is not null; "
        )
    }

    /// The SQL that sets these limits, except the limit for the whole transaction, which older servers do not have.
    pub(super) fn sql(self) -> String {
        let lock = self.lock.map(|lock| set("lock_timeout", lock));
        format!(
            "{}{}{}",
            set("statement_timeout", self.statement),
            lock.unwrap_or_default(),
            set("idle_in_transaction_session_timeout", self.idle)
        )
    }
}

/// The time limits that the role, its database or the server sets for the role's transactions. `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleLimits {
    /// `statement_timeout`.
    pub statement: Option<Duration>,
    /// `lock_timeout`.
    pub lock: Option<Duration>,
    /// `idle_in_transaction_session_timeout`.
    pub idle: Option<Duration>,
    /// `transaction_timeout`, of Postgres 17 and later.
    pub transaction: Option<Duration>,
}

impl RoleLimits {
    /// SQL: asks for the role's time limits. It must run before this program sets its own limits. It takes no snapshot.
    pub(super) const ASK: &str =
        "show statement_timeout; show lock_timeout; show idle_in_transaction_session_timeout; ";

    /// How many values the statements in [`Self::ASK`] return.
    pub(super) const ASKED: usize = 3;

    /// Reads the limits from the values that the statements in [`Self::ASK`] return.
    pub(super) fn read(values: &[String]) -> Self {
        let limit = |n: usize| values.get(n).and_then(|value| duration(value));
        Self {
            statement: limit(0),
            lock: limit(1),
            idle: limit(2),
            transaction: None,
        }
    }

    /// Returns SQL for a transaction in which `ours` are set. For each limit, if the role's own limit is lower than
    /// ours, the SQL sets the role's again. Empty if none of the role's limits is lower.
    pub(super) fn lower_than(self, ours: TransactionLimits) -> String {
        let pairs = [
            ("statement_timeout", self.statement, Some(ours.statement)),
            ("lock_timeout", self.lock, ours.lock),
            (
                "idle_in_transaction_session_timeout",
                self.idle,
                Some(ours.idle),
            ),
        ];
        let lower = pairs.into_iter().filter_map(|(name, theirs, ours)| {
            let theirs = theirs.filter(|theirs| ours.is_some_and(|ours| *theirs < ours))?;
            Some(set(name, theirs))
        });
        lower.collect()
    }

    /// The time limit of a statement: the lower of the role's limit and `ours`.
    pub(super) fn statement(self, ours: Duration) -> Duration {
        lower(self.statement, ours)
    }

    /// Returns the SQL that limits how long the transaction may be idle: to the lower of the role's limit and `ours`.
    pub(super) fn idle(self, ours: TransactionLimits) -> String {
        let idle = lower(self.idle, ours.idle);
        set("idle_in_transaction_session_timeout", idle)
    }

    /// Stores the role's `transaction_timeout`; `theirs` is its value as the server shows it. If it is longer than
    /// `ours`, returns the SQL that sets `ours` instead, otherwise `None`. The SQL first turns the role's limit off,
    /// because the server starts a new limit only while none is running.
    pub(super) fn shorten_transaction(
        &mut self,
        theirs: &str,
        ours: TransactionLimits,
    ) -> Option<String> {
        self.transaction = duration(theirs);
        self.transaction.filter(|theirs| *theirs > ours.whole)?;
        let set = set("transaction_timeout", ours.whole);
        Some(format!(
            "-- shorten the limit of the transaction\nset local transaction_timeout = 0; {set}"
        ))
    }
}

fn lower(theirs: Option<Duration>, ours: Duration) -> Duration {
    theirs.map_or(ours, |theirs| theirs.min(ours))
}

fn set(name: &str, limit: Duration) -> String {
    // Zero would mean no limit.
    format!("set local {name} = {}; ", limit.as_millis().max(1))
}

/// Parses a time as a server shows it: a number and a unit, such as `90s` or `2min`. Returns `None` for `0`, which
/// means no limit, and for text that is no such time.
fn duration(shown: &str) -> Option<Duration> {
    let digits = shown.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().ok()?;
    let unit_ms = match shown.get(digits.len()..)?.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let limit_ms = number.saturating_mul(unit_ms);
    (limit_ms > 0).then(|| Duration::from_millis(limit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_a_server_shows_it() {
        let cases = [
            ("0", None),
            ("1500ms", Some(1_500)),
            ("2s", Some(2_000)),
            ("3min", Some(180_000)),
            ("2h", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("soon", None),
        ];
        for (shown, expected_ms) in cases {
            let expected = expected_ms.map(Duration::from_millis);
            assert_eq!(duration(shown), expected, "{shown}");
        }
    }

    #[test]
    fn the_lower_limit_is_kept() {
        let values = ["2s", "0", "1min"].map(str::to_owned);
        let limits = RoleLimits::read(&values);
        let ours = TransactionLimits {
            statement: Duration::from_secs(60),
            lock: Some(Duration::from_secs(10)),
            idle: Duration::from_secs(30),
            whole: Duration::from_secs(600),
        };
        assert_eq!(
            limits.lower_than(ours),
            "set local statement_timeout = 2000; "
        );
    }
}
