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
use crate::error::{ErrorCode, FailedSide, Failure};
use crate::model::{RunId, Trigger, saturating_i64};
use crate::store::due_mirrors::OpenSweep;
use crate::store::read_mirror_states::MirrorState;
use crate::store::sweeps::{self, SweepCounts, SweepRecord, Sweeper, SweptSet};
use crate::store::{due_mirrors, log, migrations};

use crate::mirrors::mirror::TenantMirror;
use crate::mirrors::mirror_keys::keys;
use crate::mirrors::registry::Mirrors;
use crate::mirrors::run::report::RunReport;
use crate::mirrors::run::run_metrics;
use crate::mirrors::{Request, error_of, live_state};
use crate::tenants::local_table;

mod look;
mod shared_runs;

/// The result of a sweep.
#[derive(Debug)]
pub struct SweepReport {
    /// The record of the sweep, as in the log.
    pub record: SweepRecord,
    /// The mirrors whose run did not succeed, with the errors.
    pub failed: FailedMirrors,
}

/// The mirrors whose run did not succeed, with the errors.
pub type FailedMirrors = Vec<(TenantMirror, ErrorCode)>;

/// A mirror that needs a run, with its sort key: whether its last run failed, and when its sides were last known to be
/// equal. Mirrors whose last run failed come last, so that they hold no others back.
type AgedMirror = ((bool, Option<DateTime<Utc>>), TenantMirror);

/// The mirrors of a sweep, divided into those that may need no run and those that need one.
struct SortedMirrors {
    /// The mirrors that may need no run, because the first step of the sweep may find them unchanged.
    candidates: Vec<AgedMirror>,
    /// The mirrors that need a run in any case.
    due: Vec<AgedMirror>,
}

impl Mirrors {
    /// Checks all mirrors at once, and runs those that may differ, each with a copy of `request`. Calls `on_run` after
    /// each run.
    ///
    /// Fails if this process may start no runs, or if the sweep cannot be logged. If the states of the mirrors cannot
    /// be read, or if the check fails for a reason for which each run would fail too, the sweep starts no runs, and its
    /// record has the error.
    pub async fn sweep(
        &self,
        request: &Request,
        on_run: impl FnMut(&TenantMirror, Result<RunReport, Failure>),
    ) -> Result<SweepReport, Failure> {
        self.may_sync()?;
        let mut record = match request.dry_run {
            true => self.unlogged(request),
            false => self.log_start(request, None).await?,
        };
        let counts = &mut record.counts;
        let swept = async {
            let due = self.mirrors_to_run(request, counts).await?;
            Ok(self.run_all(due, request, counts, on_run).await)
        };
        let swept = swept.await;
        self.finish(record, !request.dry_run, swept).await
    }

    /// Checks all mirrors at once, as [`Self::sweep`] does, and runs those that may differ together with all other
    /// processes that have the same settings (see `shared_runs`).
    pub async fn sweep_with_others(&self, trigger: Trigger) -> Result<SweepReport, Failure> {
        self.may_sync()?;
        let request = Request::new(trigger);
        let claimant = Some(self.process.claimant.as_str());
        let mut record = self.log_start(&request, claimant).await?;
        let id = record.sweep_id;
        let counts = &mut record.counts;
        let swept = async {
            let due = self.mirrors_to_run(&request, counts).await?;
            self.run_with_others(OpenSweep { id, trigger }, due, counts)
                .await
        };
        let swept = swept.await;
        self.finish(record, true, swept).await
    }

    /// Records the end of a sweep, in the log if it has a row there (`is_logged`). `swept` has the mirrors whose run did
    /// not succeed, or the error that ended the sweep.
    async fn finish(
        &self,
        mut record: SweepRecord,
        is_logged: bool,
        swept: Result<FailedMirrors, Failure>,
    ) -> Result<SweepReport, Failure> {
        let (failed, error) = match swept {
            Ok(failed) => (failed, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        if let Some(failure) = &error {
            tracing::error!(sweep.id = %record.sweep_id, error = %failure, error.code = %failure.code, "the sweep failed");
        }
        record.error = error;
        record.finished_at = match is_logged {
            true => self.log_end(&record).await?,
            false => Some(self.now()),
        };
        if let Some(remote) = &self.process.remote {
            remote.close_idle();
        }
        self.note_activity();
        Ok(SweepReport { record, failed })
    }

    /// Publishes in the status when the schedule retries a sweep (a check of all mirrors); `None` if no retry is
    /// pending.
    pub fn set_waiting(&self, until: Option<DateTime<Utc>>) {
        self.process.waiting_until.send_replace(until);
        self.note_activity();
    }

    /// Runs these mirrors, whose run in the last sweep failed, once more. Returns those whose run does not succeed,
    /// with the errors.
    pub async fn run_again(
        &self,
        again: Vec<TenantMirror>,
        request: &Request,
    ) -> Result<FailedMirrors, Failure> {
        self.may_sync()?;
        let _only = self.process.shared_runs.lock().await;
        let mut counts = SweepCounts::default();
        Ok(self.run_all(again, request, &mut counts, |_, _| {}).await)
    }

    /// Returns the mirrors that need a run, in the order in which they are to run.
    async fn mirrors_to_run(
        &self,
        request: &Request,
        counts: &mut SweepCounts,
    ) -> Result<Vec<TenantMirror>, Failure> {
        let states = self.states_now().await?;
        counts.mirrors = saturating_i64(states.len());
        let sorted = self.sort(&states).await?;
        self.due(sorted, request.dry_run, counts).await
    }

    /// Divides the mirrors into those that may need no run, because the look (the check of all at once) may find them
    /// unchanged, and those that need a run in any case.
    async fn sort(
        &self,
        states: &[(TenantMirror, Arc<MirrorState>)],
    ) -> Result<SortedMirrors, Failure> {
        let may_be_unchanged = states.iter().filter(|(_, state)| state.was_equal());
        let may_be_unchanged: Vec<&TenantMirror> =
            may_be_unchanged.map(|(known, _)| known).collect();
        let compared = self.recently_compared(&may_be_unchanged).await?;
        let mut sorted = SortedMirrors {
            candidates: Vec::new(),
            due: Vec::new(),
        };
        for (known, state) in states {
            let has_failed = state.last_run.is_some() && !state.was_equal();
            let aged = ((has_failed, state.equal_at()), known.clone());
            match compared.contains(known.id.as_str()) {
                true => sorted.candidates.push(aged),
                false => sorted.due.push(aged),
            }
        }
        Ok(sorted)
    }

    /// Finds out by a look (the check of all at once) which candidates are unchanged and, unless this is a dry run,
    /// records these. Returns the mirrors that need a run, in the order in which they are to run. If the look failed
    /// but single runs may succeed, all candidates need one.
    async fn due(
        &self,
        sorted: SortedMirrors,
        dry_run: bool,
        counts: &mut SweepCounts,
    ) -> Result<Vec<TenantMirror>, Failure> {
        let SortedMirrors {
            candidates,
            mut due,
        } = sorted;
        let looked_at: Vec<&TenantMirror> = candidates.iter().map(|(_, known)| known).collect();
        let looked = match candidates.is_empty() {
            true => None,
            false => Some(self.look(&looked_at, dry_run).await),
        };
        match looked {
            None => {}
            Some(Ok(swept)) => {
                self.publish_remote(None);
                counts.remote_bytes += swept.remote_bytes;
                run_metrics::read(swept.remote_bytes);
                let looked = candidates.into_iter().zip(swept.is_equal);
                let changed = looked.filter(|(_, is_equal)| !is_equal);
                due.extend(changed.map(|(aged, _)| aged));
                counts.unchanged = counts.mirrors - saturating_i64(due.len());
            }
            Some(Err(failure)) => {
                if failure.code.fails_every_tenant() {
                    self.publish_remote(Some(&failure));
                    return Err(failure);
                }
                // One statement over all tenants can fail although a run of each tenant would succeed, for example by
                // a time limit.
                tracing::warn!(error = %failure, "the tenants could not be looked at all at once, so each gets a run");
                due.extend(candidates);
            }
        }
        due.sort_by_key(|(age, _)| *age);
        Ok(due.into_iter().map(|(_, known)| known).collect())
    }

    /// Publishes the state of the remote after the sweep has used it. `failure` is the error of the sweep; `None` if it
    /// had none.
    fn publish_remote(&self, failure: Option<&Failure>) {
        let of_remote = failure.filter(|failure| failure.code.side() == Some(FailedSide::Remote));
        if failure.is_none() || of_remote.is_some() {
            let state = live_state::connection(of_remote.cloned(), self.now());
            self.process.remote_state.send_replace(state);
        }
    }

    /// Runs these mirrors, a few at a time, and adds to `counts` how many succeeded and failed. Returns those whose run
    /// did not succeed, with the errors.
    async fn run_all(
        &self,
        due: Vec<TenantMirror>,
        request: &Request,
        counts: &mut SweepCounts,
        mut on_run: impl FnMut(&TenantMirror, Result<RunReport, Failure>),
    ) -> FailedMirrors {
        let workers = self.config().workers as usize;
        let run = async |known: TenantMirror| {
            let request = Request {
                is_of_sweep: true,
                ..request.clone()
            };
            let report = known.mirror.run_to_end(request, true).await;
            (known, report)
        };
        let mut runs = futures_util::stream::iter(due)
            .map(run)
            .buffer_unordered(workers);
        let mut failed = Vec::new();
        while let Some((known, report)) = runs.next().await {
            let bytes = report.as_ref().map_or(0, |report| report.remote_bytes);
            counts.remote_bytes += bytes;
            let code = error_of(&report);
            on_run(&known, report);
            match code {
                Some(code) => {
                    counts.failed += 1;
                    failed.push((known, code));
                }
                None => counts.succeeded += 1,
            }
        }
        failed
    }

    /// Creates the record of a sweep that starts now, without a log row. A sweep of dry runs is never logged, because
    /// it changes no mirror and does not count for the schedule.
    fn unlogged(&self, request: &Request) -> SweepRecord {
        SweepRecord {
            sweep_id: RunId::at(self.now()),
            trigger: request.trigger,
            started_at: self.now(),
            finished_at: None,
            counts: SweepCounts::default(),
            error: None,
        }
    }

    /// Cancels all runs that are in progress in this process, as [`Mirror::cancel`](super::Mirror::cancel) does. Does
    /// nothing in a process that keeps exactly one mirror.
    pub fn cancel_all(&self) {
        for known in self.last_known().iter() {
            if let Some(running) = &known.mirror.shared.live_state.borrow().running {
                running.cancel.cancel();
            }
        }
    }

    /// Writes the log row of a sweep that starts, and returns its record.
    async fn log_start(
        &self,
        request: &Request,
        claimant: Option<&str>,
    ) -> Result<SweepRecord, Failure> {
        let local = self.local()?;
        migrations::run(&mut local.connect().await?).await?;
        let mut record = self.unlogged(request);
        let start = async |tx: &Tx<'_, Local>| {
            let set = self.swept_set(tx).await?;
            let who = Sweeper {
                actor: request.actor.as_deref(),
                reason: request.reason.as_deref(),
                claimant,
            };
            sweeps::start(tx, record.sweep_id, &set, request.trigger, who).await
        };
        record.started_at = local.write("start a sweep", start).await?;
        Ok(record)
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
    pub(super) async fn swept_set(&self, tx: &Tx<'_, Local>) -> Result<SweptSet, DbError> {
        let Config {
            mapping, tenants, ..
        } = self.config();
        let local_table = match mapping.has_table_per_tenant() {
            true => mapping.local_table.clone(),
            false => {
                let names =
                    local_table::names(tx, iter::once(mapping.local_table.as_str())).await?;
                names.into_iter().next().unwrap_or_default()
            }
        };
        Ok(SweptSet {
            local_table,
            tenants: tenants.digest(),
        })
    }

    /// Returns the ids of the tenants whose contents (all rows) were compared so recently that no comparison is due.
    async fn recently_compared(
        &self,
        mirrors: &[&TenantMirror],
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
