//! Tells that a run has begun or ended, in this process or in another one.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::clock;
use crate::db::{DbError, migrations};
use crate::error::Failure;
use crate::meter::{Outcome, RunId};

use super::here::Here;
use super::status::RunRecord;
use super::{Runs, history, table};

/// How often the log is looked at for runs of other processes.
const PAUSE: Duration = Duration::from_secs(5);
/// How many of the latest runs are looked at.
const LATEST: u32 = 10;

/// What has happened since somebody began to listen.
#[derive(Debug)]
pub struct News {
    runs: Runs,
    here: watch::Receiver<Here>,
    since: DateTime<Utc>,
    told: HashSet<(RunId, Option<Outcome>)>,
}

impl Runs {
    /// What happens from now on.
    pub fn news(&self) -> News {
        News {
            runs: self.clone(),
            here: self.shared.here.subscribe(),
            since: clock::now(),
            told: HashSet::new(),
        }
    }
}

impl News {
    /// The runs that have begun or ended since the last time, the latest first; waits until there are any.
    pub async fn next(&mut self) -> Vec<RunRecord> {
        loop {
            // The sender lives as long as the runs, which we hold.
            drop(tokio::time::timeout(PAUSE, self.here.changed()).await);
            let Ok(latest) = self.latest().await else {
                continue; // it is news when the database is back
            };
            let news: Vec<_> = latest
                .iter()
                .filter(|run| self.is_news(run))
                .cloned()
                .collect();
            self.told = latest.iter().map(mark).collect();
            if !news.is_empty() {
                return news;
            }
        }
    }

    fn is_news(&self, run: &RunRecord) -> bool {
        let happened = run.finished_at.unwrap_or(run.started_at);
        happened >= self.since && !self.told.contains(&mark(run))
    }

    /// The latest runs; none while the local database cannot be asked.
    async fn latest(&self) -> Result<Vec<RunRecord>, Failure> {
        let local = self.runs.local()?;
        let mut connection = local.connect().await.map_err(|e| e.failure())?;
        let tx = connection.begin("news").await.map_err(|e| e.failure())?;
        let mapping = &self.runs.config().mapping;
        let asked = async {
            if !migrations::exist(&tx).await? {
                return Ok(Vec::new());
            }
            let table = table::find(&tx, mapping).await?;
            history::newest(&tx, &table, None, LATEST).await
        };
        asked.await.map_err(|error: DbError| error.failure())
    }
}

fn mark(run: &RunRecord) -> (RunId, Option<Outcome>) {
    (run.run_id, run.outcome)
}
