//! Requests the stop of the process, and waits until its tasks have ended.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long tasks may go on after a stop was requested. It is shorter than the 10 s after which service managers
/// commonly kill a process. A run that is not finished by then is rolled back, and the next run marks it as
/// interrupted.
pub const DRAIN: Duration = Duration::from_secs(8);

/// The request to stop the process, and the tasks that should end before it stops. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Creates a value without tasks and without a request to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a token that is cancelled when a stop is requested.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Returns the tracker on which to spawn the tasks that should end before the process stops.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Installs signal handlers: SIGINT (Ctrl-C) and SIGTERM request a stop.
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

    /// Requests a stop, then waits until all tasks have ended, for at most [`DRAIN`].
    pub async fn finish(&self) {
        self.token.cancel();
        self.drained().await;
    }

    /// Waits until a stop is requested, then until all tasks have ended, for at most [`DRAIN`].
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
