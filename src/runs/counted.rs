//! Counts the meters, and says for how long a count of many is used again.
//!
//! Postgres does not tell cheaply and exactly whether one table has changed while others were written: its
//! statistics of a table come 10 s late from a session that is idle, and later from one that commits in the
//! midst of a statement. So few meters are counted each time; many are counted now and then, and the answer
//! says when that was. A run that has ended since, in any process, makes the count anew.
//!
//! A status holds a connection while it waits for a count, so it waits no longer than [`PATIENCE`] and then tells the last
//! count, or that the meters are still being counted; one task counts on behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::clock;
use crate::db::{DbError, Local, Tx, quote};
use crate::meter::RunId;

use super::Runs;
use super::status::MeterCounts;
use super::table::{self, Scope};

/// Fewer are counted each time, however long that takes: they are counted in less than [`LONG`] where
/// the machine is not busy, and that it is for a moment is no reason to be less exact.
const MANY: i64 = 50_000;
/// A count that took less is made each time.
const LONG: Duration = Duration::from_millis(5);
/// A count is used for so many times as long as it took, so that a hundredth of a core counts at most.
const TIMES: u32 = 100;
/// No count holds for longer.
const LONGEST: Duration = Duration::from_secs(60);

/// A status waits no longer for a count.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last count, if it is one to use again.
#[derive(Debug, Default)]
pub(super) struct Counted {
    last: Mutex<Last>,
    /// Held by who counts anew while the last count is still used.
    behind: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
enum Last {
    /// Nothing was counted yet.
    #[default]
    Unknown,
    /// It was of few meters, or quick.
    Quick,
    /// It is used again while it holds.
    Slow(Count),
    /// Counting took longer than [`PATIENCE`], and has not ended yet; the count of before, if there is one.
    Overdue(Option<Count>),
}

/// What a status tells of the meters.
#[derive(Debug)]
struct Told {
    /// `None` while they are being counted.
    counts: Option<MeterCounts>,
    /// If set, the caller must start a background recount.
    due: Option<Due>,
}

/// The right to count anew; nobody else has it meanwhile.
#[derive(Debug)]
struct Due {
    question: Question,
    _only: OwnedMutexGuard<()>,
}

/// What is counted, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    /// The statement, which tells the active meters and the others.
    sql: String,
    /// Whether code of the table's owner decides what is counted, and finds its objects by the role's path.
    needs_role_path: bool,
    /// The last run that had ended before; another one may have changed the meters.
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

impl Counted {
    /// Counts the meters, unless the last count is to be used again. Where counting takes long one
    /// caller counts, and the others wait for what it finds.
    async fn count(&self, tx: &Tx<'_, Local>, question: Question) -> Result<Told, DbError> {
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
        Ok(Told { counts, due: None })
    }

    /// The last count of the same meters, however old; one caller is to count on behind it.
    fn tell_known(&self, known: Option<&Count>, question: Question) -> Told {
        let known = known.filter(|count| count.question.sql == question.sql);
        Told {
            counts: known.map(Count::again),
            due: self.due(question),
        }
    }

    /// The right to count behind, if nobody has it.
    fn due(&self, question: Question) -> Option<Due> {
        let only = Arc::clone(&self.behind).try_lock_owned().ok()?;
        Some(Due {
            question,
            _only: only,
        })
    }

    fn tell_again(&self, count: &Count, question: Question) -> Told {
        let holds = count.holds(&question, Instant::now());
        Told {
            counts: Some(count.again()),
            due: (!holds).then(|| self.due(question)).flatten(),
        }
    }

    /// Counts anew while the last count is used.
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

/// What is known of the number of meters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meters {
    /// The table or its active column is not there.
    Missing,
    /// They are still being counted, for the first time.
    BeingCounted,
    Counted(MeterCounts),
}

impl Runs {
    /// The meters of the scope.
    pub(super) async fn count_meters(
        &self,
        tx: &Tx<'_, Local>,
        scope: &Scope,
        last_run: Option<RunId>,
    ) -> Result<Meters, DbError> {
        let mapping = &self.config().mapping;
        let Scope { tenant, table } = scope;
        if !table.exists || !table.has_active {
            return Ok(Meters::Missing);
        }
        let active = quote::identifier(&mapping.active_column);
        let filter = table::of_tenant(table, mapping, &tenant.given);
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
            let runs = self.clone();
            self.shared
                .tasks
                .spawn(async move { runs.count_behind(due).await });
        }
        Ok(told.counts.map_or(Meters::BeingCounted, Meters::Counted))
    }

    /// Counts with nobody waiting for it; if it fails, the next status begins another one.
    async fn count_behind(&self, due: Due) {
        let counted = async {
            let local = self.local()?;
            let mut connection = local.connect_to_read().await.map_err(|e| e.failure())?;
            let tx = connection.begin("count").await.map_err(|e| e.failure())?;
            let counted = self.shared.counted.count_behind(&tx, due).await;
            counted.map_err(|e| e.failure())
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

    /// For how long after it began it is used.
    fn lasts(&self) -> Duration {
        let are_few = self.counts.active + self.counts.inactive < MANY;
        if self.took < LONG || are_few && self.took < PATIENCE {
            return Duration::ZERO;
        }
        self.took.saturating_mul(TIMES).min(LONGEST)
    }

    /// Whether it answers the question at that time.
    fn holds(&self, question: &Question, now: Instant) -> bool {
        self.question == *question && now.duration_since(self.began) < self.lasts()
    }

    /// Whether it is told: while it holds, and as long again, in which another is made behind it.
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
