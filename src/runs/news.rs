//! Tells that a run has begun or ended, in this process or in another one.
//!
//! However many listen, the log is looked at once for all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::db::{DbError, migrations};
use crate::error::Failure;
use crate::meter::{Outcome, RunId};

use super::here::Here;
use super::status::{ConnectionState, RunRecord, Status};
use super::{Runs, history, table, tenant};

/// How often the log is looked at for runs of other processes.
const PAUSE: Duration = Duration::from_secs(2);
/// How long after a change here the log is looked at, and for how long a look counts for others.
const FRESH: Duration = Duration::from_millis(200);
/// How old a status may become before another one is due though nothing is known to have happened.
const STATUS_AGE: Duration = Duration::from_secs(60);
/// How many of the latest runs are looked at.
const LATEST: u32 = 10;

/// What has happened since somebody began to listen.
#[derive(Debug)]
pub struct News {
    runs: Runs,
    here: watch::Receiver<Here>,
    /// What was known here at the last look.
    state: State,
    seen: Seen,
}

/// What the log held at the last look.
#[derive(Debug)]
enum Seen {
    /// It was not looked at yet: what has happened since then is news.
    Nothing { since: DateTime<Utc> },
    /// The latest runs, and the number of the newest of them.
    Latest {
        outcomes: HashMap<RunId, Option<Outcome>>,
        newest: Option<i64>,
    },
}

impl Runs {
    /// What happens from now on.
    pub fn news(&self) -> News {
        let here = self.shared.here.subscribe();
        let state = state(&here.borrow());
        News {
            runs: self.clone(),
            here,
            state,
            seen: Seen::Nothing { since: self.now() },
        }
    }
}

impl News {
    /// The runs that have begun or ended since the last time, the latest first; waits until there are any.
    pub async fn next(&mut self) -> Vec<RunRecord> {
        loop {
            // Without the database: it is news when that is back.
            let (_, news) = self.look().await;
            let news = news.unwrap_or_default();
            if !news.is_empty() {
                return news;
            }
        }
    }

    /// Waits until a status may say something else than this one did: a run has begun or ended, a database was
    /// lost or is back, the wait for a retry has begun or ended, or a minute is over, in which the time itself or
    /// somebody else may have changed what it says.
    pub async fn outdated(&mut self, status: &Status) {
        let was_reached = status.connections.local.state == ConnectionState::Ok;
        let old = Instant::now() + STATUS_AGE;
        while Instant::now() < old {
            let (changed, news) = self.look().await;
            if changed || was_reached != news.is_ok() || news.is_ok_and(|news| !news.is_empty()) {
                return;
            }
        }
    }

    /// Looks at the log in a while, or as soon as something changes here: whether it did, and the runs that have
    /// begun or ended.
    async fn look(&mut self) -> (bool, Result<Vec<RunRecord>, Failure>) {
        let due = Instant::now() + PAUSE;
        let changed = timeout_at(due, self.changed()).await.is_ok();
        // All who listen wake at once: what the first of them looks up after this counts for the others.
        let woken = Instant::now();
        tokio::time::sleep(FRESH).await;
        let latest = self.runs.shared.latest.since(woken, &self.runs).await;
        let news = latest.map(|latest| {
            let now = self.runs.now();
            let is_news = |run: &&RunRecord| self.seen.makes_news(run, now);
            let news = latest.iter().filter(is_news).cloned().collect();
            self.seen = Seen::Latest {
                outcomes: latest.iter().map(mark).collect(),
                newest: latest.first().and_then(|run| run.seq),
            };
            news
        });
        (changed, news)
    }

    /// Waits until something changes here. The sender lives as long as the runs, which we hold.
    async fn changed(&mut self) {
        let changed = self.here.wait_for(|here| state(here) != self.state);
        if let Ok(here) = changed.await {
            self.state = state(&here);
        }
    }
}

impl Seen {
    /// Whether the run is new, or has ended since. Times decide at the first look only, as a clock may be set back.
    fn makes_news(&self, run: &RunRecord, now: DateTime<Utc>) -> bool {
        match self {
            Self::Nothing { since } => {
                let happened = run.finished_at.unwrap_or(run.started_at);
                happened >= *since && !clock::lies_ahead(happened, now)
            }
            Self::Latest { outcomes, newest } => match outcomes.get(&run.run_id) {
                Some(outcome) => *outcome != run.outcome,
                // An older one is listed in place of runs that were deleted.
                None => newest.is_none_or(|newest| run.seq.is_none_or(|seq| seq > newest)),
            },
        }
    }
}

/// The last look at the log, for all who listen.
#[derive(Debug, Default)]
pub(super) struct Latest(Mutex<Option<(Instant, Found)>>);

/// The latest runs, or why they could not be read: a database that is gone is waited for once, not by each.
type Found = Result<Arc<[RunRecord]>, Failure>;

impl Latest {
    /// The latest runs, looked up at that time or later; none while the local database cannot be asked.
    async fn since(&self, time: Instant, runs: &Runs) -> Found {
        let mut last = self.0.lock().await;
        if let Some((_, latest)) = last.as_ref().filter(|(looked, _)| *looked >= time) {
            return latest.clone();
        }
        let now = Instant::now();
        let latest: Found = look(runs).await.map(Arc::from);
        *last = Some((now, latest.clone()));
        latest
    }
}

async fn look(runs: &Runs) -> Result<Vec<RunRecord>, Failure> {
    let local = runs.local()?;
    let mut connection = local.connect_to_read().await.map_err(|e| e.failure())?;
    let tx = connection.begin("news").await.map_err(|e| e.failure())?;
    let mapping = &runs.config().mapping;
    let asked = async {
        if !migrations::exist(&tx).await? {
            return Ok(Vec::new());
        }
        let table = table::find(&tx, mapping).await?;
        let tenant = tenant::known(&tx, mapping, &table).await?;
        let tenant = tenant.as_ref().map(|tenant| &tenant.id);
        history::newest(&tx, &table, tenant, LATEST).await
    };
    asked.await.map_err(|error: DbError| error.failure())
}

/// What is looked out for here.
#[derive(Debug, PartialEq, Eq)]
struct State {
    running: Option<RunId>,
    last: Option<(RunId, Option<Outcome>)>,
    waiting_until: Option<DateTime<Utc>>,
    connections: [ConnectionState; 2],
}

fn state(here: &Here) -> State {
    State {
        running: here.running.as_ref().map(|run| run.record.run_id),
        last: here.last.as_ref().map(mark),
        waiting_until: here.waiting_until,
        connections: [here.remote.state, here.local.state],
    }
}

fn mark(run: &RunRecord) -> (RunId, Option<Outcome>) {
    (run.run_id, run.outcome)
}
