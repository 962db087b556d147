//! How far the run of this process is, for whoever follows it.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::db::ServerClock;
use crate::meter::{Phase, Progress, RunId};

use super::Runs;
use super::here::Here;

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunProgress {
    /// The run.
    pub run_id: RunId,
    /// Where it is.
    pub phase: Phase,
    /// Remote rows read so far.
    pub rows: i64,
    /// Bytes of row data read from the remote so far.
    pub remote_bytes: i64,
    /// Milliseconds since it started.
    pub elapsed_ms: i64,
}

/// The runs of this process, followed one after the other. Whoever is slow misses what was in between.
#[derive(Debug)]
pub struct Following {
    here: watch::Receiver<Here>,
    clock: ServerClock,
    followed: Option<Followed>,
}

#[derive(Debug)]
struct Followed {
    id: RunId,
    started_at: DateTime<Utc>,
    progress: watch::Receiver<Progress>,
}

impl Runs {
    /// Follows the runs of this process, the one in progress included.
    pub fn follow(&self) -> Following {
        Following {
            here: self.shared.here.subscribe(),
            clock: self.shared.clock.clone(),
            followed: None,
        }
    }
}

impl Following {
    /// How far the run is, as soon as another one has begun or it is further than last time; `None` when there can
    /// be no more runs.
    pub async fn next(&mut self) -> Option<RunProgress> {
        let last = self.followed.as_ref().map(|followed| followed.id);
        if let Some(followed) = &mut self.followed
            && followed.progress.changed().await.is_ok()
        {
            return Some(followed.told(self.clock.now()));
        }
        let is_another = |here: &Here| Followed::of(here).is_some_and(|run| Some(run.id) != last);
        let mut followed = Followed::of(&*self.here.wait_for(is_another).await.ok()?)?;
        let told = followed.told(self.clock.now());
        self.followed = Some(followed);
        Some(told)
    }
}

impl Followed {
    fn of(here: &Here) -> Option<Self> {
        let running = here.running.as_ref()?;
        Some(Self {
            id: running.record.run_id,
            started_at: running.record.started_at,
            progress: running.progress.clone(),
        })
    }

    fn told(&mut self, now: DateTime<Utc>) -> RunProgress {
        let progress = *self.progress.borrow_and_update();
        RunProgress {
            run_id: self.id,
            phase: progress.phase,
            rows: progress.rows,
            remote_bytes: progress.remote_bytes,
            elapsed_ms: (now - self.started_at).num_milliseconds().max(0),
        }
    }
}
