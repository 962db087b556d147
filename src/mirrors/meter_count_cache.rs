//! Keeps the last count of a mirror's meters, and decides how long it may be used again.
//!
//! A small table is counted whenever the state of the mirror is read. Counting a large table takes long, so its count
//! is used again for up to two minutes, and the status says when it was made. After a run has ended, in any process,
//! the meters are counted again. Changes by other programs may go unnoticed for that time, because Postgres has no
//! cheap and exact sign of them: its statistics about a table arrive 10 s late or later.
//!
//! A read of the state waits at most [`PATIENCE`] for a count. After that, a background task counts without a time
//! limit. Meanwhile the last count is reported, or that the meters are still being counted if there is none.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::db::{DbError, Local, Tx};
use crate::machine_clock;
use crate::model::RunId;

use crate::reports::status::MeterCounts;

/// A table with fewer meters is counted at each read of the mirror's state, so that the answer is exact, unless the
/// count takes [`PATIENCE`] or longer. The count of a larger table may be used again.
const MANY: i64 = 50_000;
/// The shortest duration of a count that may be used again. A faster count costs too little to be kept.
const LONG: Duration = Duration::from_millis(5);
/// A count is used again for this many times its own duration, but at most for [`LONGEST`]. As long as that limit does
/// not apply, counting takes at most a hundredth of the time of one CPU core.
const TIMES: u32 = 100;
/// A count is used without counting again for at most this long. For the same time after that, it is still reported
/// while a background task counts anew.
const LONGEST: Duration = Duration::from_secs(60);

/// How long a read of the mirror's state waits for a count of its meters.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Holds the last count of one mirror's meters.
#[derive(Debug, Default)]
pub(crate) struct MeterCountCache {
    last: Mutex<LastMeterCount>,
    /// The lock that the background task holds while it counts, so that there is one such task at a time.
    pub(super) behind: tokio::sync::Mutex<()>,
}

/// The last count of meters, and whether a newer count takes too long.
#[derive(Clone, Debug, Default)]
pub(super) struct LastMeterCount {
    /// The last count; `None` before the first.
    pub(super) count: Option<TimedMeterCount>,
    /// Whether the last attempt to count took longer than [`PATIENCE`], and no count has ended since.
    pub(super) is_overdue: bool,
}

/// What a count is about. A count may be used again only for an equal question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MeterCountKey {
    /// The SQL statement that counts. It returns the number of active meters, and the number of all others.
    pub(super) sql: String,
    /// Whether the statement needs the `search_path` of our database role instead of `pg_catalog, pg_temp`. Row
    /// security policies may call functions that rely on it.
    pub(super) needs_role_path: bool,
    /// The mirror's last run that had ended when the question was asked; `None` if there was none. A count from before
    /// a later run is not used again, because that run may have changed the meters.
    pub(super) last_run: Option<RunId>,
}

/// A count of meters, with what was counted, when, and how long that took.
#[derive(Clone, Debug)]
pub(super) struct TimedMeterCount {
    pub(super) question: MeterCountKey,
    began: Instant,
    took: Duration,
    pub(super) counts: MeterCounts,
    at: DateTime<Utc>,
}

impl MeterCountCache {
    pub(super) fn last(&self) -> LastMeterCount {
        let last = self.last.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, count: Option<TimedMeterCount>, is_overdue: bool) {
        let last = self.last.lock();
        *last.unwrap_or_else(PoisonError::into_inner) = LastMeterCount { count, is_overdue };
    }
}

impl TimedMeterCount {
    pub(super) async fn make(tx: &Tx<'_, Local>, question: MeterCountKey) -> Result<Self, DbError> {
        let (began, at) = (Instant::now(), machine_clock::now());
        if question.needs_role_path {
            tx.use_role_path().await?;
        }
        let row = tx.query_one(&question.sql, &[]).await?;
        if question.needs_role_path {
            tx.pin_path().await?;
        }
        Ok(Self {
            question,
            began,
            took: began.elapsed(),
            counts: MeterCounts {
                active: row.get(0),
                inactive: row.get(1),
                counted_at: None,
            },
            at,
        })
    }

    /// How long the count is used without counting again, from its start; zero if it must not be used again.
    fn lasts(&self) -> Duration {
        let are_few = self.counts.active + self.counts.inactive < MANY;
        if self.took < LONG || are_few && self.took < PATIENCE {
            return Duration::ZERO;
        }
        self.took.saturating_mul(TIMES).min(LONGEST)
    }

    /// Whether the count answers this question and may be used without counting again.
    pub(super) fn holds(&self, question: &MeterCountKey, now: Instant) -> bool {
        self.question == *question && now.duration_since(self.began) < self.lasts()
    }

    /// Whether the count may be reported as the answer to this question. That is so for twice the time of
    /// [`Self::holds`]: in the second half, a background task counts again.
    pub(super) fn is_told(&self, question: &MeterCountKey, now: Instant) -> bool {
        self.question == *question && now.duration_since(self.began) < self.lasts() * 2
    }

    pub(super) fn again(&self) -> MeterCounts {
        MeterCounts {
            counted_at: Some(self.at),
            ..self.counts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(active: i64, took_ms: u64) -> TimedMeterCount {
        TimedMeterCount {
            question: question("count"),
            began: Instant::now(),
            took: Duration::from_millis(took_ms),
            counts: MeterCounts {
                active,
                inactive: 1,
                counted_at: None,
            },
            at: machine_clock::now(),
        }
    }

    fn question(sql: &str) -> MeterCountKey {
        MeterCountKey {
            sql: sql.to_owned(),
            needs_role_path: false,
            last_run: None,
        }
    }

    #[test]
    fn a_count_is_used_a_hundred_times_as_long_as_it_took_if_it_is_of_many() {
        let cases = [
            (1_000_000, 100, 10_000),
            (1_000_000, 5, 500),
            (1_000_000, 4, 0),
            (1_000_000, 3_000, 60_000),
            (50_000, 50, 5_000),
            (49_998, 50, 0),
            (0, 1_999, 0),
            (0, 2_000, 60_000),
        ];
        for (active, took_ms, lasts_ms) in cases {
            let lasts = count(active, took_ms).lasts();
            assert_eq!(lasts, Duration::from_millis(lasts_ms), "{active} {took_ms}");
        }
    }

    #[test]
    fn a_count_holds_for_its_question_and_its_time() {
        let count = count(1_000_000, 100);
        let after = |ms| count.began + Duration::from_millis(ms);
        assert!(count.holds(&question("count"), after(0)));
        assert!(count.holds(&question("count"), after(9_999)));
        assert!(!count.holds(&question("count"), after(10_000)));
        assert!(!count.holds(&question("count others"), after(0)));
        let after_a_run = MeterCountKey {
            last_run: Some(RunId::from(uuid::Uuid::nil())),
            ..question("count")
        };
        assert!(!count.holds(&after_a_run, after(0)));
        assert!(count.is_told(&question("count"), after(19_999)));
        assert!(!count.is_told(&question("count"), after(20_000)));
        assert!(!count.is_told(&after_a_run, after(0)));
    }
}
