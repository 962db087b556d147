//! Pauses and resumes a mirror. While a mirror is paused, the schedule only makes dry runs of it, and no other run that
//! would change its meters starts, in whatever process.

use std::time::{Duration, Instant};

use super::Mirror;
use crate::db::{DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::model::{Pause, PauseRequest};
use crate::store::{migrations, pauses, run_lock};
use crate::tenants;

/// How long to wait before the start lock is tried again, if a run is just being started.
const WAIT: Duration = Duration::from_millis(25);
/// How long to try. A run is started within some milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

impl Mirror {
    /// Pauses the mirror, or replaces the pause that it has. A run in progress goes on to its end.
    ///
    /// Fails with `READ_ONLY` if this process may change nothing, and if the tenant is not known or the local database
    /// does not answer.
    pub async fn pause(&self, request: &PauseRequest) -> Result<Pause, Failure> {
        self.prepare_to_pause().await?;
        let begin = async |tx: &Tx<'_, Local>| {
            // While the start lock is held, no run starts that has not seen the pause.
            if !run_lock::try_to_start(tx).await? {
                return Ok(None);
            }
            let scope = tenants::scope(tx, self.mapping()).await?;
            let pause = pauses::begin(tx, &scope.tenant.id, &scope.table.name, request).await?;
            Ok::<_, Failure>(Some((scope.tenant.id, pause)))
        };
        let given_up = Instant::now() + PATIENCE;
        let (tenant, pause) = loop {
            if let Some(paused) = self.local()?.write("pause", begin).await? {
                break paused;
            }
            if Instant::now() > given_up {
                return Err(DbError::silence::<Local>("pause", PATIENCE).failure());
            }
            tokio::time::sleep(WAIT).await;
        };
        self.note_activity();
        tracing::warn!(tenant.id = %tenant, by = pause.by, until = pause.until.map(tracing::field::display), "syncs are paused: {}", pause.reason);
        Ok(pause)
    }

    /// Ends the pause of the mirror. Returns the pause; `None` if the mirror was not paused. `by` is who ends it, for the
    /// process's own log.
    ///
    /// Fails as [`Self::pause`] does.
    pub async fn resume(&self, by: Option<&str>) -> Result<Option<Pause>, Failure> {
        self.prepare_to_pause().await?;
        let end = async |tx: &Tx<'_, Local>| {
            let scope = tenants::scope(tx, self.mapping()).await?;
            let pause = pauses::end(tx, &scope.tenant.id, &scope.table.name).await?;
            Ok::<_, Failure>((scope.tenant.id, pause))
        };
        let (tenant, pause) = self.local()?.write("resume", end).await?;
        self.note_activity();
        if pause.is_some() {
            tracing::warn!(tenant.id = %tenant, by, "syncs are no longer paused");
        }
        Ok(pause)
    }

    async fn prepare_to_pause(&self) -> Result<(), Failure> {
        if self.is_read_only() {
            let message = "This meter-sync was started read-only and pauses no sync.";
            return Err(Failure::new(ErrorCode::ReadOnly, message));
        }
        migrations::run(&mut self.local()?.connect().await?).await?;
        Ok(())
    }
}
