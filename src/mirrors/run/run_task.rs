//! A request for a run, with the record of the run for the log and the reports.

use std::time::Instant;

use chrono::{DateTime, Utc};
use tracing::Level;

use crate::db::{Database, Local, Remote};
use crate::error::Failure;
use crate::heartbeat::Heartbeat;
use crate::model::{Counts, Progress, RunId, RunOutcome, RunRecord};

use crate::mirrors::{Mirror, RUN_ENDED, RunRequest};
use crate::reports::clock_warnings;
use crate::reports::run_report;
use crate::store::log::RunEnd;
use crate::telemetry::run_metrics;

/// A request for a run, from its arrival to the end of the run.
pub(crate) struct RunTask<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) remote: &'a Database<Remote>,
    pub(crate) local: &'a Database<Local>,
    pub(crate) request: &'a RunRequest,
    /// The record of the run, which does not say yet how it ended. Until the run is logged, it has no `seq`, and
    /// `started_at` is when it was requested.
    pub(crate) record: RunRecord,
}

impl<'a> RunTask<'a> {
    /// Creates the request, with a new record for its run. The current time becomes its start time. Returns `None` if a
    /// database URL is not set.
    pub(crate) fn new(mirror: &'a Mirror, request: &'a RunRequest) -> Option<Self> {
        let started_at = mirror.now();
        let record = RunRecord {
            run_id: RunId::at(started_at),
            trigger: request.trigger,
            actor: request.actor.clone(),
            reason: request.reason.clone(),
            dry_run: request.dry_run,
            seq: None,
            started_at,
            finished_at: None,
            outcome: None,
            counts: Counts::default(),
            error: None,
            same_error_as: None,
            remote_bytes: 0,
            changes_truncated: false,
            warning: None,
        };
        Some(Self {
            mirror,
            remote: mirror.remote.as_ref()?,
            local: mirror.local.as_ref()?,
            request,
            record,
        })
    }

    /// Returns the current time by the local database's clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.mirror.now()
    }

    /// Returns what tells a monitoring service of this run; `None` if it is not to know: the run is a dry run, or the process
    /// keeps many mirrors, whose sweeps it is told of.
    pub(crate) fn heartbeat(&self) -> Option<&Heartbeat> {
        let is_told = !self.record.dry_run && self.mirror.config().tenants.is_one();
        self.mirror.heartbeat.as_ref().filter(|_| is_told)
    }

    /// Builds the logged end of a run that did not succeed. `reached` is the progress that the run had made; `None` if
    /// it never started.
    pub(crate) fn failed(
        &self,
        failure: Failure,
        outcome: RunOutcome,
        reached: Option<&Progress>,
    ) -> RunEnd {
        RunEnd {
            record: RunRecord {
                outcome: Some(outcome),
                finished_at: Some(self.now()),
                error: Some(failure),
                remote_bytes: reached.map_or(0, |progress| progress.remote_bytes),
                warning: clock_warnings::warning(self.mirror.clock.ahead()),
                ..self.record.clone()
            },
            compared: None,
            proved: None,
            phases: reached.map_or_else(Vec::new, |progress| progress.times(Instant::now())),
            held_back: None,
        }
    }

    /// Reports the end of a run, once for each run: writes a line to the process's own log output, at a level that fits
    /// the outcome, and updates the metrics and the status.
    pub(crate) fn publish_ended(&self, record: &RunRecord) {
        let code = record.error.as_ref().map(|error| error.code.as_str());
        let duration = record
            .finished_at
            .map(|finished| finished - record.started_at);
        // If the process keeps one tenant, its id would be the same in each line, so it is left out.
        let tenant = self.mirror.mapping().tenant.as_ref();
        let tenant = tenant.filter(|_| !self.mirror.config().tenants.is_one());
        // This is a macro because `tracing` takes the level of an event only as a constant.
        macro_rules! log {
            ($level:ident) => {
                tracing::event!(
                    target: RUN_ENDED,
                    Level::$level,
                    run.id = %record.run_id,
                    run.trigger = %record.trigger,
                    tenant.id = tenant.map(tracing::field::display),
                    trace.id = self.request.trace.map(tracing::field::display),
                    run.outcome = record.outcome.map(RunOutcome::as_str),
                    error.code = code,
                    duration_ms = duration.map(|duration| duration.num_milliseconds()),
                    remote_bytes = record.remote_bytes,
                    run.warning = record.warning,
                    "{}",
                    run_report::summary(record)
                )
            };
        }
        match record.outcome {
            Some(RunOutcome::Failed | RunOutcome::Unknown) => log!(ERROR),
            Some(RunOutcome::Partial | RunOutcome::Refused | RunOutcome::Interrupted) => log!(WARN),
            Some(RunOutcome::Succeeded | RunOutcome::NoChange | RunOutcome::DryRun) | None
                if record.warning.is_some() =>
            {
                log!(WARN);
            }
            Some(RunOutcome::Succeeded | RunOutcome::NoChange | RunOutcome::DryRun) | None => {
                log!(INFO);
            }
        }
        run_metrics::ended(record);
        if let Some(heartbeat) = self.heartbeat() {
            let is_success = record.outcome.is_some_and(RunOutcome::is_success);
            heartbeat.ended(is_success, run_report::summary(record));
        }
        self.mirror.note_activity();
        self.mirror
            .change_in_process_state(|in_process_state| in_process_state.ended(record));
    }
}
