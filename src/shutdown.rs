//! Tells the process to stop, and waits for the tasks that it has started.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long tasks may go on after a stop was requested. The whole process then ends within the 10 s that supervisors
/// commonly grant before they kill it. A run that is cut off rolls back, and the next run marks it as interrupted.
pub const DRAIN: Duration = Duration::from_secs(8);

/// The request to stop, and all spawned tasks.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Creates a shutdown that is not requested yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a token that is cancelled when a stop is requested.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// The tracker on which to spawn tasks that must be waited for.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Requests a stop at Ctrl-C or SIGTERM.
    pub fn on_signal(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let token = self.token.clone();
        // Not tracked, because without a signal this task lasts as long as the process.
        drop(TaskTracker::new().spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }));
        Ok(())
    }

    /// Requests a stop, then waits for the tasks, at most [`DRAIN`].
    pub async fn finish(&self) {
        self.token.cancel();
        self.drained().await;
    }

    /// Waits until a stop is requested, then for the tasks, at most [`DRAIN`].
    pub async fn drained(&self) {
        self.token.cancelled().await;
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("what was still under way {DRAIN:?} after the stop was cut off");
        }
    }
}
