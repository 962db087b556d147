//! A sweep: checks all mirrors of the process at once, and then runs those that may differ.
//!
//! The check, called *look*, takes a few statements on each side (`engine::sweep`). A mirror that it finds unchanged
//! needs no run. The time of the look is recorded for all unchanged mirrors in one statement, and counts like the time
//! of a run that found no change.
//!
//! Each other mirror gets a run of its own:
//!
//! - mirrors that differ, or that were not equal after their last run;
//! - mirrors that have never run;
//! - mirrors whose contents (all rows) have not been compared for too long.
//!
//! Mirrors whose last run failed come last, so that they hold no others back. Of the others, the mirror that was in
//! sync longest ago runs first.

use std::collections::BTreeSet;
use std::iter;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::StreamExt;

use crate::config::Config;
use crate::db::{DbError, Local, Tx};
use crate::error::{FailedSide, Failure};
use crate::model::{RunId, RunTrigger, saturating_i64};
use crate::store::read_mirror_states::MirrorState;
use crate::store::sweeps::{self, SweepCounts, SweepOrigin, SweepRecord, SweptMirrorSet};
use crate::store::{due_mirrors, log, migrations};

pub use sweep_report::{FailedMirrors, SweepReport};

use crate::mirrors::mirror::TenantAndMirror;
use crate::mirrors::mirror_keys::keys;
use crate::mirrors::registry::Mirrors;
use crate::mirrors::{Mirror, RunRequest, error_of};
use crate::reports::connections::ConnectionReport;
use crate::reports::run_report::RunReport;
use crate::telemetry::run_metrics;
use crate::tenants::look_up_local_table;

mod find_unchanged_mirrors;
mod share_runs;
mod sweep_report;

/// A mirror with its last known state.
type MirrorWithState = (TenantAndMirror, Arc<MirrorState>);

impl Mirrors {
    /// Checks all mirrors at once, and runs those that may differ, each with a copy of `request`. Calls `on_run` after
    /// each run.
    ///
    /// Fails if this process may start no runs, or if the sweep cannot be logged. The sweep starts no runs, and its
    /// record has the error, in two cases: the states of the mirrors cannot be read, or the check fails for a reason
    /// for which each run would fail, too.
    pub async fn sweep(
        &self,
        request: &RunRequest,
        on_run: impl FnMut(&TenantAndMirror, Result<RunReport, Failure>),
    ) -> Result<SweepReport, Failure> {
        let run_due = async |due, report: &mut SweepReport| {
            self.run_all(due, request, report, on_run).await;
            Ok(())
        };
        self.sweep_and(request, None, run_due).await
    }

    /// Checks all mirrors at once, as [`Self::sweep`] does. The runs of the mirrors that may differ are shared among
    /// all processes that have the same settings (see `share_runs`).
    pub async fn sweep_with_others(&self, trigger: RunTrigger) -> Result<SweepReport, Failure> {
        let claimant = Some(self.claimant.as_str());
        let run_due = async |due, report: &mut SweepReport| self.run_with_others(due, report).await;
        self.sweep_and(&RunRequest::new(trigger), claimant, run_due)
            .await
    }

    /// Carries out a sweep: finds the mirrors that need a run, and passes them to `run_due`, which runs them and adds
    /// the runs to the report. A sweep of dry runs is not logged, because it changes no mirror and does not count for
    /// the schedule. `claimant` is the name of this process; `None` if no other process takes part.
    async fn sweep_and(
        &self,
        request: &RunRequest,
        claimant: Option<&str>,
        run_due: impl AsyncFnOnce(Vec<TenantAndMirror>, &mut SweepReport) -> Result<(), Failure>,
    ) -> Result<SweepReport, Failure> {
        self.may_sync()?;
        let mut report = self.new_report(request.trigger);
        let heartbeat = self.heartbeat.as_ref().filter(|_| !request.dry_run);
        if !request.dry_run {
            self.log_start(&mut report.record, request, claimant)
                .await?;
        }
        if let Some(heartbeat) = heartbeat {
            heartbeat.begun();
        }
        let swept = async {
            let due = self
                .mirrors_to_run(request, &mut report.record.counts)
                .await?;
            run_due(due, &mut report).await
        };
        if let Err(failure) = swept.await {
            tracing::error!(sweep.id = %report.record.sweep_id, error = %failure, error.code = %failure.code, "the sweep failed");
            report.record.error = Some(failure);
        }
        report.record.finished_at = match request.dry_run {
            true => Some(self.now()),
            false => self.log_end(&report.record).await?,
        };
        if let Some(remote) = &self.remote {
            remote.close_idle();
        }
        if let Some(heartbeat) = heartbeat {
            heartbeat.ended(report.is_success(), report.summary());
        }
        self.note_activity();
        Ok(report)
    }

    /// Creates the report of a sweep that starts now and has no log row yet.
    fn new_report(&self, trigger: RunTrigger) -> SweepReport {
        let started_at = self.now();
        SweepReport {
            record: SweepRecord {
                sweep_id: RunId::at(started_at),
                trigger,
                started_at,
                finished_at: None,
                counts: SweepCounts::default(),
                error: None,
            },
            failed: Vec::new(),
        }
    }

    /// Publishes in the status when the schedule retries a sweep (a check of all mirrors); `None` if no retry is
    /// pending.
    pub fn set_waiting(&self, until: Option<DateTime<Utc>>) {
        self.waiting_until.send_replace(until);
        self.note_activity();
    }

    /// Runs these mirrors, whose run in the last sweep failed, once more. Returns those whose run does not succeed,
    /// with the errors.
    pub async fn run_again(
        &self,
        again: Vec<TenantAndMirror>,
        request: &RunRequest,
    ) -> Result<FailedMirrors, Failure> {
        self.may_sync()?;
        let _only = self.shared_runs.lock().await;
        let mut report = self.new_report(request.trigger);
        self.run_all(again, request, &mut report, |_, _| {}).await;
        Ok(report.failed)
    }

    /// Returns the mirrors that need a run, in the order in which they are to run. A mirror needs none if its sides
    /// were equal, its contents were compared a short time ago, and the look (the check of all at once) finds it
    /// unchanged.
    async fn mirrors_to_run(
        &self,
        request: &RunRequest,
        counts: &mut SweepCounts,
    ) -> Result<Vec<TenantAndMirror>, Failure> {
        let states = self.states_now().await?;
        counts.mirrors = saturating_i64(states.len());
        let was_equal = states.iter().filter(|(_, state)| state.was_equal());
        let was_equal: Vec<&TenantAndMirror> = was_equal.map(|(known, _)| known).collect();
        // A changed remote that a person allows must become known to each mirror, also to an unchanged one.
        let compared = match request.allow.remote_change {
            true => BTreeSet::new(),
            false => self.recently_compared(&was_equal).await?,
        };
        let (candidates, mut due): (Vec<_>, Vec<_>) = states
            .iter()
            .partition(|(known, _)| compared.contains(known.id.as_str()));
        due.extend(self.changed(candidates, request.dry_run, counts).await?);
        counts.unchanged = counts.mirrors - saturating_i64(due.len());
        due.sort_by_key(|(_, state)| {
            let has_failed = state.last_run.is_some() && !state.was_equal();
            (has_failed, state.equal_at())
        });
        Ok(due.into_iter().map(|(known, _)| known.clone()).collect())
    }

    /// Compares all candidates at once. Records those that are unchanged, except in a dry run, and returns the others.
    /// If the comparison fails for a reason that single runs may not meet, returns all.
    async fn changed<'s>(
        &self,
        candidates: Vec<&'s MirrorWithState>,
        dry_run: bool,
        counts: &mut SweepCounts,
    ) -> Result<Vec<&'s MirrorWithState>, Failure> {
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let looked_at: Vec<&TenantAndMirror> = candidates.iter().map(|(known, _)| known).collect();
        match self.look(&looked_at, dry_run).await {
            Ok(look) => {
                self.publish_remote(None);
                counts.remote_bytes += look.remote_bytes;
                run_metrics::read(look.remote_bytes);
                let looked = candidates.into_iter().zip(look.is_equal);
                let changed = looked.filter(|(_, is_equal)| !is_equal);
                Ok(changed.map(|(candidate, _)| candidate).collect())
            }
            Err(failure) if failure.code.fails_every_tenant() => {
                self.publish_remote(Some(&failure));
                Err(failure)
            }
            Err(failure) => {
                // One statement over all tenants can fail although a run of each tenant would succeed, for example by
                // a time limit.
                tracing::warn!(error = %failure, "the tenants could not be looked at all at once, so each gets a run");
                Ok(candidates)
            }
        }
    }

    /// Publishes the state of the remote after the sweep has used it. `failure` is the error of the sweep; `None` if it
    /// had none.
    fn publish_remote(&self, failure: Option<&Failure>) {
        let of_remote = failure.filter(|failure| failure.code.side() == Some(FailedSide::Remote));
        if failure.is_none() || of_remote.is_some() {
            let state = ConnectionReport::used(of_remote.cloned(), self.now());
            self.remote_state.send_replace(state);
        }
    }

    /// Runs these mirrors, a few at a time, and adds their runs to the report.
    async fn run_all(
        &self,
        due: Vec<TenantAndMirror>,
        request: &RunRequest,
        report: &mut SweepReport,
        mut on_run: impl FnMut(&TenantAndMirror, Result<RunReport, Failure>),
    ) {
        let workers = self.config().workers as usize;
        let run = async |known: TenantAndMirror| (run_swept(&known.mirror, request).await, known);
        let mut runs = futures_util::stream::iter(due)
            .map(run)
            .buffer_unordered(workers);
        while let Some((run, known)) = runs.next().await {
            let (error, bytes) = (error_of(&run), bytes_of(&run));
            on_run(&known, run);
            report.add_run(Some(known), error, bytes);
        }
    }

    /// Cancels all runs that are in progress in this process, as [`Mirror::cancel`](super::Mirror::cancel) does. Does
    /// nothing in a process that keeps exactly one mirror.
    pub fn cancel_all(&self) {
        for known in self.last_known().iter() {
            if let Some(running) = &known.mirror.shared.in_process_state.borrow().running {
                running.cancel.cancel();
            }
        }
    }

    /// Writes the log row of a sweep that starts, and sets `started_at` to the time of the database.
    async fn log_start(
        &self,
        record: &mut SweepRecord,
        request: &RunRequest,
        claimant: Option<&str>,
    ) -> Result<(), Failure> {
        let local = self.local()?;
        migrations::run(&mut local.connect().await?).await?;
        let start = async |tx: &Tx<'_, Local>| {
            let set = self.swept_set(tx).await?;
            let who = SweepOrigin {
                actor: request.actor.as_deref(),
                reason: request.reason.as_deref(),
                claimant,
            };
            sweeps::start(tx, record.sweep_id, &set, request.trigger, who).await
        };
        record.started_at = local.write("start a sweep", start).await?;
        Ok(())
    }

    /// Writes the end of a sweep to its log row, and deletes old sweeps from the log. Returns the time of the end;
    /// `None` if the log has no row of this sweep.
    async fn log_end(&self, record: &SweepRecord) -> Result<Option<DateTime<Utc>>, Failure> {
        let end = async |tx: &Tx<'_, Local>| {
            let error = record.error.as_ref();
            let ended = sweeps::finish(tx, record.sweep_id, &record.counts, error).await?;
            due_mirrors::drop_all(tx, record.sweep_id).await?;
            if let Some(keep) = self.config().limits.keep_runs {
                let set = self.swept_set(tx).await?;
                sweeps::prune(tx, &set, keep).await?;
            }
            Ok(ended)
        };
        self.local()?.write("end a sweep", end).await
    }

    /// Returns the value that identifies the mirrors of this process together, for their slots and for the log of
    /// sweeps.
    pub(super) async fn swept_set(&self, tx: &Tx<'_, Local>) -> Result<SweptMirrorSet, DbError> {
        let Config {
            mapping, tenants, ..
        } = self.config();
        let local_table = match mapping.has_table_per_tenant() {
            true => mapping.local_table.clone(),
            false => {
                let names =
                    look_up_local_table::names(tx, iter::once(mapping.local_table.as_str()))
                        .await?;
                names.into_iter().next().unwrap_or_default()
            }
        };
        Ok(SweptMirrorSet {
            local_table,
            tenants: tenants.digest(),
        })
    }

    /// Returns the ids of the tenants whose contents (all rows) were compared so recently that no comparison is due.
    async fn recently_compared(
        &self,
        mirrors: &[&TenantAndMirror],
    ) -> Result<BTreeSet<String>, Failure> {
        // Without mirrors, the log is not read. It may not exist yet.
        if mirrors.is_empty() {
            return Ok(BTreeSet::new());
        }
        let since = self.now() - self.config().limits.full_compare;
        let read = async |tx: &Tx<'_, Local>| {
            let keys = keys(tx, mirrors.iter().copied()).await?;
            let tables: BTreeSet<&String> = keys.iter().map(|key| &key.local_table).collect();
            let tables: Vec<String> = tables.into_iter().cloned().collect();
            let compared = log::compared_mirrors(tx, &tables, since).await?;
            let is_compared = keys.into_iter().filter(|key| compared.contains(key));
            Ok(is_compared.map(|key| key.tenant).collect())
        };
        self.local()?.read("sweep", read).await
    }
}

/// Runs a mirror for a sweep, and waits for the end of the run and of the comparison of contents that may follow it.
async fn run_swept(mirror: &Mirror, request: &RunRequest) -> Result<RunReport, Failure> {
    let request = RunRequest {
        is_of_sweep: true,
        ..request.clone()
    };
    mirror.run_to_end(request, true).await
}

/// Returns how many bytes the remote sent for a run.
fn bytes_of(run: &Result<RunReport, Failure>) -> i64 {
    run.as_ref().map_or(0, |report| report.remote_bytes)
}
