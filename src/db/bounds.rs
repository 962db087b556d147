//! How long a server lets a transaction of ours take: the lower of our settings and of what the role, its database or the
//! server has set.
//!
//! The server's own bounds hold where we cannot keep ours, as when this process is frozen in the middle of a run.

use std::time::Duration;

use super::Waits;

/// What is added to a wait of ours before the server ends it, so that we tell of it first.
const GRACE: Duration = Duration::from_secs(3);

/// The first version of Postgres with `transaction_timeout`.
const HAS_TRANSACTION_TIMEOUT: u32 = 170_000;

/// Our bounds of one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    statement: Duration,
    /// For a lock; `None` leaves it to the statement.
    lock: Option<Duration>,
    /// Between two statements.
    idle: Duration,
    /// For the transaction as a whole.
    whole: Duration,
}

impl Waits {
    /// The bounds of a transaction that waits for nothing but its own statements.
    pub(super) fn alone(self) -> Bounds {
        let idle = self.answer() + GRACE;
        self.bounds(idle.min(self.run + GRACE))
    }

    /// The bounds of a transaction that waits, in the middle of a run, for the other database.
    pub(super) fn beside_the_other(self) -> Bounds {
        self.bounds(self.run + GRACE)
    }

    fn bounds(self, idle: Duration) -> Bounds {
        Bounds {
            statement: self.statement,
            lock: None,
            idle,
            whole: self.run + self.answer() + GRACE,
        }
    }
}

impl Bounds {
    pub(super) fn with_lock(self, lock: Duration) -> Self {
        Self {
            lock: Some(lock),
            ..self
        }
    }

    /// Sets all but that of the whole transaction, which older servers do not know.
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

/// What the role, its database or the server set for the role's transactions; `None` where there is no limit.
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
    version: u32,
}

impl RoleLimits {
    /// Asks for them, before ours are set and without a snapshot.
    pub(super) const ASK: &str = "show statement_timeout; show lock_timeout; \
         show idle_in_transaction_session_timeout; show server_version_num; ";

    /// Reads the answers to [`Self::ASK`].
    pub(super) fn read(values: &[String]) -> Self {
        let limit = |n: usize| values.get(n).and_then(|value| duration(value));
        Self {
            statement: limit(0),
            lock: limit(1),
            idle: limit(2),
            transaction: None,
            version: values.get(3).map_or(0, |value| value.parse().unwrap_or(0)),
        }
    }

    /// Sets those again that are lower than ours.
    pub(super) fn lower_than(self, ours: Bounds) -> String {
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

    /// How long a statement may take.
    pub(super) fn statement(self, ours: Duration) -> Duration {
        lower(self.statement, ours)
    }

    /// Sets how long the transaction may be idle.
    pub(super) fn idle(self, ours: Bounds) -> String {
        let idle = lower(self.idle, ours.idle);
        set("idle_in_transaction_session_timeout", idle)
    }

    /// Asks for the limit of whole transactions and sets ours, where the server has one. A limit of the role's goes on
    /// as it began.
    pub(super) fn whole_transaction(self, ours: Bounds) -> String {
        if self.version < HAS_TRANSACTION_TIMEOUT {
            return String::new();
        }
        let set = set("transaction_timeout", ours.whole);
        format!("show transaction_timeout; {set}")
    }

    /// Puts ours in place of a longer one of the role's, which a server does only for one that was off.
    pub(super) fn shorten_transaction(&mut self, theirs: &str, ours: Bounds) -> Option<String> {
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
    // Zero would be no limit.
    format!("set local {name} = {}; ", limit.as_millis().max(1))
}

/// A time as a server shows it: a number and a unit, such as `90s` or `2min`; `None` for `0`, which is no limit.
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
        let values = ["2s", "0", "1min", "150000"].map(str::to_owned);
        let limits = RoleLimits::read(&values);
        let ours = Bounds {
            statement: Duration::from_secs(60),
            lock: Some(Duration::from_secs(10)),
            idle: Duration::from_secs(30),
            whole: Duration::from_secs(600),
        };
        assert_eq!(
            limits.lower_than(ours),
            "set local statement_timeout = 2000; "
        );
        assert_eq!(limits.whole_transaction(ours), "");
    }
}
