//! Requests the stop of the process, and waits for the tasks that the process has started.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long tasks may go on after a stop was requested. The process thus ends within the 10 s that service managers
/// commonly grant before they kill it. A run that is cut off rolls back, and the next run marks it as interrupted.
pub const DRAIN: Duration = Duration::from_secs(8);

/// The request to stop, and all spawned tasks.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Creates a value on which no stop is requested yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a token that is cancelled when a stop is requested.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// The tracker on which to spawn the tasks that a shutdown waits for.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Installs signal handlers: Ctrl-C (SIGINT) or SIGTERM requests a stop.
    pub fn on_signal(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let token = self.token.clone();
        // This task is not tracked, because it only ends with a signal or with the process.
        drop(TaskTracker::new().spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }));
        Ok(())
    }

    /// Requests a stop, then waits for the tasks, for at most [`DRAIN`].
    pub async fn finish(&self) {
        self.token.cancel();
        self.drained().await;
    }

    /// Waits until a stop is requested, then waits for the tasks, for at most [`DRAIN`].
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
