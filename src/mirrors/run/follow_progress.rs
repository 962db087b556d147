//! Reports the progress of the runs of one mirror, if they are runs of this process.

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::db::ServerClock;
use crate::mirrors::Mirror;
use crate::mirrors::in_process_state::{InProcessState, OwnRun};
use crate::reports::run_progress::RunProgress;

/// Reports the progress of one mirror's runs in this process, one run after the other. A slow reader gets only the
/// latest progress, and may miss a whole run.
#[derive(Debug)]
pub struct RunProgressFollower {
    in_process_state: watch::Receiver<InProcessState>,
    clock: ServerClock,
    followed: Option<OwnRun>,
}

impl Mirror {
    /// Returns a follower, which reports the progress of this mirror's runs in this process, including one that is in
    /// progress already.
    pub fn follow(&self) -> RunProgressFollower {
        RunProgressFollower {
            in_process_state: self.shared.in_process_state.subscribe(),
            clock: self.clock.clone(),
            followed: None,
        }
    }
}

impl RunProgressFollower {
    /// Waits until the run has made progress or another run has begun, and returns how far the run is. Returns `None`
    /// if there can be no more runs.
    pub async fn next(&mut self) -> Option<RunProgress> {
        let last = self.followed.as_ref().map(|run| run.record.run_id);
        if let Some(followed) = &mut self.followed
            && followed.progress.changed().await.is_ok()
        {
            return Some(progress_of(followed, self.clock.now()));
        }
        let is_another = |in_process_state: &InProcessState| {
            let running = in_process_state.running.as_ref();
            running.is_some_and(|run| Some(run.record.run_id) != last)
        };
        let running = self
            .in_process_state
            .wait_for(is_another)
            .await
            .ok()?
            .running
            .clone();
        let followed = self.followed.insert(running?);
        Some(progress_of(followed, self.clock.now()))
    }
}

fn progress_of(run: &mut OwnRun, now: DateTime<Utc>) -> RunProgress {
    let progress = *run.progress.borrow_and_update();
    RunProgress {
        run_id: run.record.run_id,
        phase: progress.phase,
        rows: progress.rows,
        remote_bytes: progress.remote_bytes,
        elapsed_ms: run.record.duration_ms(now),
    }
}
