//! Reports the progress of the runs of this process to those who follow them.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::db::ServerClock;
use crate::model::{Phase, Progress, RunId};

use crate::mirrors::Mirror;
use crate::mirrors::live_state::LiveState;

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

/// Follows the runs of this process, one after the other. A slow reader sees only the latest progress, and may
/// miss a whole run.
#[derive(Debug)]
pub struct RunFollower {
    live_state: watch::Receiver<LiveState>,
    clock: ServerClock,
    followed: Option<FollowedRun>,
}

#[derive(Debug)]
struct FollowedRun {
    id: RunId,
    started_at: DateTime<Utc>,
    progress: watch::Receiver<Progress>,
}

impl Mirror {
    /// Follows the runs of this process, including one that is in progress already.
    pub fn follow(&self) -> RunFollower {
        RunFollower {
            live_state: self.shared.live_state.subscribe(),
            clock: self.shared.process.clock.clone(),
            followed: None,
        }
    }
}

impl RunFollower {
    /// Waits until the run has made progress or another run has begun, and returns how far the run is. Returns `None`
    /// if there can be no more runs.
    pub async fn next(&mut self) -> Option<RunProgress> {
        let last = self.followed.as_ref().map(|followed| followed.id);
        if let Some(followed) = &mut self.followed
            && followed.progress.changed().await.is_ok()
        {
            return Some(followed.told(self.clock.now()));
        }
        let is_another = |live_state: &LiveState| {
            FollowedRun::of(live_state).is_some_and(|run| Some(run.id) != last)
        };
        let mut followed = FollowedRun::of(&*self.live_state.wait_for(is_another).await.ok()?)?;
        let told = followed.told(self.clock.now());
        self.followed = Some(followed);
        Some(told)
    }
}

impl FollowedRun {
    fn of(live_state: &LiveState) -> Option<Self> {
        let running = live_state.running.as_ref()?;
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
