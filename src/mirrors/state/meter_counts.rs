//! Counts the meters, and caches the count of a large table for a short time.
//!
//! Postgres cannot tell cheaply and exactly whether one table has changed while others were written. The statistics of
//! a table arrive 10 s late from an idle session, and later from a session that commits in the middle of a statement.
//! So a small table is counted for each status. A large table is counted now and then, and the answer says when that
//! was. When a run has ended in any process, the meters are counted again.
//!
//! A status holds a connection while it waits for a count. It waits at most [`PATIENCE`], and then reports the last
//! count, or that the meters are still being counted. A background task then counts without that limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::clock;
use crate::db::{DbError, Local, Tx, quote};
use crate::error::Failure;
use crate::model::RunId;

use super::status::MeterCounts;
use crate::mirrors::Mirror;
use crate::mirrors::local_table::{self, Scope};

/// Fewer meters than this are counted for each status, unless the count takes [`PATIENCE`] or longer. On an idle
/// machine such a count takes less than [`LONG`]. A moment of load is no reason for a less exact answer.
const MANY: i64 = 50_000;
/// A count that takes less than this is not reused.
const LONG: Duration = Duration::from_millis(5);
/// A count is reused for this many times as long as it took. So counting uses at most a hundredth of a core.
const TIMES: u32 = 100;
/// The longest time for which a count is fresh. It is reported for as long again while a background task recounts.
const LONGEST: Duration = Duration::from_secs(60);

/// How long a status waits for a count.
const PATIENCE: Duration = Duration::from_secs(2);

/// Caches the last count of the meters.
#[derive(Debug, Default)]
pub(in crate::mirrors) struct MeterCountCache {
    last: Mutex<Last>,
    /// Held by the background task that recounts while the last count is still reported.
    behind: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
enum Last {
    /// Nothing has been counted yet.
    #[default]
    Unknown,
    /// The last count was small or quick, so it is not reused.
    Quick,
    /// The last count was slow, and is reused for a while.
    Slow(Count),
    /// A count took longer than [`PATIENCE`], and no recount has ended yet. Holds the previous count, if there is one.
    Overdue(Option<Count>),
}

/// The meter count for one status.
#[derive(Debug)]
struct CountAnswer {
    /// `None` if no earlier count can be reported while the meters are being counted.
    counts: Option<MeterCounts>,
    /// If set, the caller must start a background recount.
    due: Option<Due>,
}

/// The right to recount in the background. Only one caller has it at a time.
#[derive(Debug)]
struct Due {
    question: Question,
    _only: OwnedMutexGuard<()>,
}

/// What to count, and after which run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    /// The statement. It returns the number of active meters and of all others.
    sql: String,
    /// Whether to use the role's `search_path`. Row security may run code of the table's owner, which finds its objects
    /// by that path.
    needs_role_path: bool,
    /// The last run that had ended. A later run may have changed the meters.
    last_run: Option<RunId>,
}

#[derive(Debug)]
struct Count {
    question: Question,
    began: Instant,
    took: Duration,
    counts: MeterCounts,
    at: DateTime<Utc>,
}

impl MeterCountCache {
    /// Counts the meters, or returns the last count if it can be reused. If counting is slow, one caller counts and the
    /// others wait for its result.
    async fn count(&self, tx: &Tx<'_, Local>, question: Question) -> Result<CountAnswer, DbError> {
        let last = self.last.lock().await;
        let alone = match &*last {
            Last::Slow(count) if count.is_told(&question, Instant::now()) => {
                return Ok(self.tell_again(count, question));
            }
            Last::Overdue(known) => return Ok(self.tell_known(known.as_ref(), question)),
            Last::Unknown | Last::Slow(_) => Some(last),
            Last::Quick => {
                drop(last);
                None
            }
        };
        let counting = Count::make(tx, question.clone());
        let counted = tokio::time::timeout(PATIENCE, counting).await;
        let mut last = match alone {
            Some(last) => last,
            None => self.last.lock().await,
        };
        let Ok(counted) = counted else {
            let known = std::mem::take(&mut *last).count();
            let told = self.tell_known(known.as_ref(), question);
            *last = Last::Overdue(known);
            return Ok(told);
        };
        let count = counted?;
        let counts = Some(count.counts);
        *last = count.kept();
        Ok(CountAnswer { counts, due: None })
    }

    /// Returns the last count by the same statement, however old. One caller gets the right to recount.
    fn tell_known(&self, known: Option<&Count>, question: Question) -> CountAnswer {
        let known = known.filter(|count| count.question.sql == question.sql);
        CountAnswer {
            counts: known.map(Count::again),
            due: self.due(question),
        }
    }

    /// Returns the right to recount in the background, unless another caller has it.
    fn due(&self, question: Question) -> Option<Due> {
        let only = Arc::clone(&self.behind).try_lock_owned().ok()?;
        Some(Due {
            question,
            _only: only,
        })
    }

    fn tell_again(&self, count: &Count, question: Question) -> CountAnswer {
        let holds = count.holds(&question, Instant::now());
        CountAnswer {
            counts: Some(count.again()),
            due: (!holds).then(|| self.due(question)).flatten(),
        }
    }

    /// Recounts while the last count is still reported.
    async fn count_behind(&self, tx: &Tx<'_, Local>, due: Due) -> Result<(), DbError> {
        let count = Count::make(tx, due.question).await?;
        *self.last.lock().await = count.kept();
        Ok(())
    }
}

impl Last {
    fn count(self) -> Option<Count> {
        match self {
            Self::Unknown | Self::Quick => None,
            Self::Slow(count) => Some(count),
            Self::Overdue(known) => known,
        }
    }
}

/// The number of meters, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mirrors) enum Meters {
    /// The table or its active column does not exist.
    Missing,
    /// They are being counted, and there is no earlier count.
    BeingCounted,
    /// The counts.
    Counted(MeterCounts),
}

impl Mirror {
    /// Counts the meters of the scope. Starts a background recount if the reported count is not fresh.
    pub(in crate::mirrors) async fn count_meters(
        &self,
        tx: &Tx<'_, Local>,
        scope: &Scope,
        last_run: Option<RunId>,
    ) -> Result<Meters, DbError> {
        let mapping = self.mapping();
        let Scope { tenant, table } = scope;
        if !table.exists || !table.has_active {
            return Ok(Meters::Missing);
        }
        let active = quote::identifier(&mapping.active_column);
        let filter = local_table::of_tenant(table, mapping, &tenant.given);
        let sql = format!(
            "-- count the meters
select pg_catalog.count(*) filter (where l.{active}), pg_catalog.count(*) filter (where l.{active} is not true)
from {} l where {filter}",
            table.name
        );
        let question = Question {
            sql,
            needs_role_path: table.has_row_security,
            last_run,
        };
        let told = self.shared.counted.count(tx, question).await?;
        if let Some(due) = told.due {
            let mirror = self.clone();
            self.shared
                .process
                .tasks
                .spawn(async move { mirror.count_behind(due).await });
        }
        Ok(told.counts.map_or(Meters::BeingCounted, Meters::Counted))
    }

    /// Recounts in the background. If that fails, the next status starts another recount.
    async fn count_behind(&self, due: Due) {
        let counted = async {
            let count = async |tx: &Tx<'_, Local>| {
                Ok::<_, Failure>(self.shared.counted.count_behind(tx, due).await?)
            };
            self.local()?.read("count", count).await
        };
        if let Err(failure) = counted.await {
            tracing::debug!(error.code = %failure.code, "the meters could not be counted");
        }
    }
}

impl Count {
    async fn make(tx: &Tx<'_, Local>, question: Question) -> Result<Self, DbError> {
        let (began, at) = (Instant::now(), clock::now());
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

    /// How long after its start the count is fresh; zero if it must not be reused.
    fn lasts(&self) -> Duration {
        let are_few = self.counts.active + self.counts.inactive < MANY;
        if self.took < LONG || are_few && self.took < PATIENCE {
            return Duration::ZERO;
        }
        self.took.saturating_mul(TIMES).min(LONGEST)
    }

    /// Whether the count is a fresh answer to the question.
    fn holds(&self, question: &Question, now: Instant) -> bool {
        self.question == *question && now.duration_since(self.began) < self.lasts()
    }

    /// Whether the count may be reported: while it is fresh, and for as long again while a background task recounts.
    fn is_told(&self, question: &Question, now: Instant) -> bool {
        self.question == *question && now.duration_since(self.began) < self.lasts() * 2
    }

    fn kept(self) -> Last {
        match self.lasts() {
            Duration::ZERO => Last::Quick,
            _ => Last::Slow(self),
        }
    }

    fn again(&self) -> MeterCounts {
        MeterCounts {
            counted_at: Some(self.at),
            ..self.counts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(active: i64, took_ms: u64) -> Count {
        Count {
            question: question("count"),
            began: Instant::now(),
            took: Duration::from_millis(took_ms),
            counts: MeterCounts {
                active,
                inactive: 1,
                counted_at: None,
            },
            at: clock::now(),
        }
    }

    fn question(sql: &str) -> Question {
        Question {
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
        let after_a_run = Question {
            last_run: Some(RunId::from(uuid::Uuid::nil())),
            ..question("count")
        };
        assert!(!count.holds(&after_a_run, after(0)));
        assert!(count.is_told(&question("count"), after(19_999)));
        assert!(!count.is_told(&question("count"), after(20_000)));
        assert!(!count.is_told(&after_a_run, after(0)));
    }
}
