//! Shares the runs of a scheduled sweep (a check of all mirrors) among all processes that keep the same mirrors.
//!
//! The process that sweeps lists the mirrors that need a run in a table of the local database. Each process takes one
//! mirror after the other from there, runs it, and records how the run ended. A process notices a sweep of another one
//! within 2 s, with the states of the mirrors. The process that sweeps waits until all runs have ended, and counts
//! them.
//!
//! If a process dies, its claims expire, and others take its mirrors. If the process that sweeps dies, another one
//! takes over the slot (scheduled time) and sweeps again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::db::{Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::mirrors::claim_slots::{RENEWAL, renew_during};
use crate::mirrors::mirror::TenantAndMirror;
use crate::mirrors::mirror_keys::keys;
use crate::mirrors::registry::Mirrors;
use crate::mirrors::{RunRequest, error_of};
use crate::model::{RunId, RunTrigger};
use crate::store::due_mirrors::{self, EndedDueRun, OpenSweep, SweepRunsProgress};
use crate::store::unchanged_mirrors::MirrorKey;

use super::{SweepReport, bytes_of, run_swept};

/// How often the process that sweeps looks whether the runs of other processes have ended.
const PAUSE: Duration = Duration::from_millis(500);

/// The maximum number of attempts to take a mirror, or to record the end of a run, if the local database does not
/// answer.
const TRIES: u32 = 10;

impl Mirrors {
    /// Runs the mirrors that a sweep of this process found due, together with all other processes that keep the same
    /// mirrors, and adds their runs to the report.
    ///
    /// Fails with `INTERRUPTED` if another process has taken over the sweep meanwhile.
    pub(super) async fn run_with_others(
        &self,
        due: Vec<TenantAndMirror>,
        report: &mut SweepReport,
    ) -> Result<(), Failure> {
        let local = self.local()?;
        let sweep = OpenSweep {
            id: report.record.sweep_id,
            trigger: report.record.trigger,
        };
        let add = async |tx: &Tx<'_, Local>| {
            let keys = keys(tx, due.iter()).await?;
            let set = self.swept_set(tx).await?;
            match due_mirrors::add(tx, sweep.id, &set, &keys).await? {
                true => Ok(keys),
                false => Err(taken_over()),
            }
        };
        let keys = local.write("list the due mirrors", add).await?;
        let mut listed: BTreeMap<MirrorKey, TenantAndMirror> = keys.into_iter().zip(due).collect();
        self.note_activity();
        loop {
            match retry_if_transient(|| self.standing(sweep.id)).await? {
                SweepRunsProgress::HasDue => {
                    let _only = self.shared_runs.lock().await;
                    self.take_runs(sweep).await?;
                }
                SweepRunsProgress::InProgress => tokio::time::sleep(PAUSE).await,
                SweepRunsProgress::Ended => break,
            }
        }
        let ended = async |tx: &Tx<'_, Local>| due_mirrors::take_ended(tx, sweep.id).await;
        let ended = local.write("count the runs of a sweep", ended).await?;
        if ended.len() < listed.len() {
            return Err(taken_over());
        }
        for run in ended {
            report.add_run(listed.remove(&run.mirror), run.error, run.remote_bytes);
        }
        Ok(())
    }

    /// Takes part in the sweeps of other processes until `shutdown`: runs mirrors that nobody has taken yet.
    pub async fn help_others(self, shutdown: CancellationToken) {
        if self.may_sync().is_err() {
            return;
        }
        let mut changes = self.state_changes();
        while shutdown.run_until_cancelled(changes.next()).await == Some(true) {
            self.help_once().await;
        }
    }

    async fn help_once(&self) {
        let Some(open) = self.observer.last().and_then(|last| last.open_sweep) else {
            return;
        };
        // The lock is taken while this process takes runs of its own sweep.
        let Ok(_only) = self.shared_runs.try_lock() else {
            return;
        };
        if let Err(failure) = self.take_runs(open).await {
            tracing::debug!(error.code = %failure.code, "could not help with a sweep of another process");
        }
    }

    /// Takes mirrors of the sweep and runs them, `METER_SYNC_WORKERS` at a time, until there are none to take.
    async fn take_runs(&self, sweep: OpenSweep) -> Result<(), Failure> {
        let workers = (0..self.config().workers).map(|_| self.take_one_after_the_other(sweep));
        // If one worker fails, the others go on, so that the ends of their runs are recorded.
        let working = futures_util::future::join_all(workers);
        let worked = renew_during(working, || self.renew_runs(sweep.id)).await;
        worked.into_iter().collect()
    }

    async fn take_one_after_the_other(&self, sweep: OpenSweep) -> Result<(), Failure> {
        let mut ended = None;
        while let Some(mirror) =
            retry_if_transient(|| self.next_due(sweep.id, ended.as_ref())).await?
        {
            ended = Some(self.run_due(mirror, sweep.trigger).await);
        }
        Ok(())
    }

    /// Records the end of a run, and takes the next mirror. Returns `None` if there is none to take, or if this process
    /// is about to stop.
    async fn next_due(
        &self,
        sweep: RunId,
        ended: Option<&EndedDueRun>,
    ) -> Result<Option<MirrorKey>, Failure> {
        let claimant = self.claimant.as_str();
        let next = async |tx: &Tx<'_, Local>| {
            if let Some(ended) = ended {
                due_mirrors::end(tx, sweep, claimant, ended).await?;
            }
            if self.tasks.is_closed() {
                return Ok(None);
            }
            Ok(due_mirrors::take(tx, sweep, claimant).await?)
        };
        self.local()?.write("take a due mirror", next).await
    }

    async fn standing(&self, sweep: RunId) -> Result<SweepRunsProgress, Failure> {
        let standing = async |tx: &Tx<'_, Local>| Ok(due_mirrors::standing(tx, sweep).await?);
        // A `read` would have to wait for slow requests.
        self.local()?.write("wait for runs", standing).await
    }

    async fn run_due(&self, mirror: MirrorKey, trigger: RunTrigger) -> EndedDueRun {
        let run = async {
            let found = self.find(Some(&mirror.tenant)).await?;
            run_swept(&found, &RunRequest::new(trigger)).await
        };
        let run = run.await;
        EndedDueRun {
            mirror,
            error: error_of(&run),
            remote_bytes: bytes_of(&run),
        }
    }

    /// Renews the claims of this process on mirrors of the sweep once.
    async fn renew_runs(&self, sweep: RunId) -> Result<(), Failure> {
        let claimant = self.claimant.as_str();
        let renew = async |tx: &Tx<'_, Local>| Ok(due_mirrors::renew(tx, sweep, claimant).await?);
        self.local()?
            .write("renew the claims on mirrors", renew)
            .await
    }
}

/// Tries again, for about a minute, if `work` fails for a transient reason.
async fn retry_if_transient<T, F>(work: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut tries = 1..TRIES;
    loop {
        match work().await {
            Err(failure) if failure.code.is_transient() && tries.next().is_some() => {
                tokio::time::sleep(RENEWAL).await;
            }
            done => return done,
        }
    }
}

fn taken_over() -> Failure {
    let message = "Another process has taken over this sweep, because this one did not go on.";
    Failure::new(ErrorCode::Interrupted, message)
        .with_remedy("Nothing to do: the other process sweeps all tenants.")
}
