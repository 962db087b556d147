//! Tells that a run has begun or ended, in this process or in another one.
//!
//! However many listen, the log is looked at once for all of them.

use std::collections::HashSet;
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
use super::status::RunRecord;
use super::{Runs, history, table};

/// How often the log is looked at for runs of other processes.
const PAUSE: Duration = Duration::from_secs(5);
/// How long after a change here the log is looked at, and for how long a look counts for others.
const FRESH: Duration = Duration::from_millis(200);
/// How many of the latest runs are looked at.
const LATEST: u32 = 10;

/// What has happened since somebody began to listen.
#[derive(Debug)]
pub struct News {
    runs: Runs,
    here: watch::Receiver<Here>,
    /// What was known here at the last look.
    state: State,
    since: DateTime<Utc>,
    told: HashSet<(RunId, Option<Outcome>)>,
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
            since: clock::now(),
            told: HashSet::new(),
        }
    }
}

impl News {
    /// The runs that have begun or ended since the last time, the latest first; waits until there are any.
    pub async fn next(&mut self) -> Vec<RunRecord> {
        loop {
            let due = Instant::now() + PAUSE;
            // The sender lives as long as the runs, which we hold.
            drop(timeout_at(due, self.changed()).await);
            // All who listen wake at once: what the first of them looks up after this counts for the others.
            let woken = Instant::now();
            tokio::time::sleep(FRESH).await;
            let Ok(latest) = self.runs.shared.latest.since(woken, &self.runs).await else {
                continue; // it is news when the database is back
            };
            let is_news = |run: &&RunRecord| self.is_news(run);
            let news: Vec<_> = latest.iter().filter(is_news).cloned().collect();
            self.told = latest.iter().map(mark).collect();
            if !news.is_empty() {
                return news;
            }
        }
    }

    /// Waits until a run begins or ends here.
    async fn changed(&mut self) {
        let changed = self.here.wait_for(|here| state(here) != self.state);
        if let Ok(here) = changed.await {
            self.state = state(&here);
        }
    }

    fn is_news(&self, run: &RunRecord) -> bool {
        let happened = run.finished_at.unwrap_or(run.started_at);
        happened >= self.since && !self.told.contains(&mark(run))
    }
}

/// The last look at the log, for all who listen.
#[derive(Debug, Default)]
pub(super) struct Latest(Mutex<Option<(Instant, Arc<[RunRecord]>)>>);

impl Latest {
    /// The latest runs, looked up at that time or later; none while the local database cannot be asked.
    async fn since(&self, time: Instant, runs: &Runs) -> Result<Arc<[RunRecord]>, Failure> {
        let mut last = self.0.lock().await;
        if let Some((_, latest)) = last.as_ref().filter(|(looked, _)| *looked >= time) {
            return Ok(Arc::clone(latest));
        }
        let now = Instant::now();
        let latest: Arc<[RunRecord]> = look(runs).await?.into();
        *last = Some((now, Arc::clone(&latest)));
        Ok(latest)
    }
}

async fn look(runs: &Runs) -> Result<Vec<RunRecord>, Failure> {
    let local = runs.local()?;
    let mut connection = local.connect().await.map_err(|e| e.failure())?;
    let tx = connection.begin("news").await.map_err(|e| e.failure())?;
    let mapping = &runs.config().mapping;
    let asked = async {
        if !migrations::exist(&tx).await? {
            return Ok(Vec::new());
        }
        let table = table::find(&tx, mapping).await?;
        history::newest(&tx, &table, None, LATEST).await
    };
    asked.await.map_err(|error: DbError| error.failure())
}

/// The run in progress here, and the last that ended.
type State = (Option<RunId>, Option<(RunId, Option<Outcome>)>);

fn state(here: &Here) -> State {
    let running = here.running.as_ref().map(|run| run.record.run_id);
    (running, here.last.as_ref().map(mark))
}

fn mark(run: &RunRecord) -> (RunId, Option<Outcome>) {
    (run.run_id, run.outcome)
}
