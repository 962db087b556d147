//! How the process is told to stop, and how what it has begun is waited for.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long what is under way may go on after a stop was asked for: the whole process then ends
/// within the 10 s that supervisors commonly grant before they kill. A run that is cut off rolls
/// back, and the next one marks it interrupted.
pub const DRAIN: Duration = Duration::from_secs(8);

/// Everything spawned, and the word to stop.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A fresh one, not asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when a stop is asked for.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Where tasks are spawned, so that they are waited for.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Asks for a stop at Ctrl-C or SIGTERM.
    pub fn on_signal(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let token = self.token.clone();
        // Not tracked: it ends with the process, not before.
        drop(TaskTracker::new().spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }));
        Ok(())
    }

    /// Asks for a stop, and waits for the tasks as long as they may still take.
    pub async fn finish(&self) {
        self.token.cancel();
        self.drained().await;
    }

    /// Waits until a stop is asked for, and then for the tasks as long as they may still take.
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
