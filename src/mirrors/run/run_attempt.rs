//! Holds a request until its run ends, and builds the records of the run for the log and the reports.

use std::time::Instant;

use chrono::{DateTime, Utc};
use tracing::Level;

use crate::db::{Database, Local};
use crate::error::Failure;
use crate::model::{Counts, Outcome, Progress, RunId};

use super::{report, run_metrics};
use crate::mirrors::clock_warnings;
use crate::mirrors::{MirrorInner, RUN_ENDED, Request};
use crate::store::log::RunEnd;
use crate::store::log::RunRecord;

/// A request that becomes a run, with the id and the times of that run.
pub(crate) struct RunAttempt<'a> {
    pub(crate) shared: &'a MirrorInner,
    pub(crate) local: &'a Database<Local>,
    pub(crate) request: &'a Request,
    pub(crate) run_id: RunId,
    /// The place of the run in the order of runs; `None` until the run is logged.
    pub(crate) seq: Option<i64>,
    /// When the run was requested or, once it is logged, when it started.
    pub(crate) started_at: DateTime<Utc>,
}

impl<'a> RunAttempt<'a> {
    /// Creates the context of a request that arrives now.
    pub(crate) fn new(
        shared: &'a MirrorInner,
        local: &'a Database<Local>,
        request: &'a Request,
    ) -> Self {
        let started_at = shared.process.clock.now();
        Self {
            shared,
            local,
            request,
            run_id: RunId::at(started_at),
            seq: None,
            started_at,
        }
    }
}

impl RunAttempt<'_> {
    /// Builds the end of a run that failed or was refused. `reached` is how far the run came; `None` if it did not
    /// begin.
    pub(crate) fn failed(
        &self,
        failure: Failure,
        refused: bool,
        reached: Option<&Progress>,
    ) -> RunEnd {
        RunEnd {
            outcome: if refused {
                Outcome::Refused
            } else {
                Outcome::Failed
            },
            finished_at: self.shared.process.clock.now(),
            counts: Counts::default(),
            error: Some(failure),
            remote_bytes: reached.map_or(0, |progress| progress.remote_bytes),
            changes_truncated: false,
            compared: None,
            warning: clock_warnings::warning(self.shared.process.clock.ahead()),
            phases: reached.map_or_else(Vec::new, |progress| progress.times(Instant::now())),
            held_back: None,
        }
    }

    pub(crate) fn record(&self) -> RunRecord {
        RunRecord {
            run_id: self.run_id,
            trigger: self.request.trigger,
            actor: self.request.actor.clone(),
            reason: self.request.reason.clone(),
            dry_run: self.request.dry_run,
            seq: self.seq,
            started_at: self.started_at,
            finished_at: None,
            outcome: None,
            counts: Counts::default(),
            error: None,
            same_error_as: None,
            remote_bytes: 0,
            changes_truncated: false,
            warning: None,
        }
    }

    pub(crate) fn ended(&self, ending: RunEnd) -> RunRecord {
        RunRecord {
            finished_at: Some(ending.finished_at),
            outcome: Some(ending.outcome),
            counts: ending.counts,
            error: ending.error,
            same_error_as: None,
            remote_bytes: ending.remote_bytes,
            changes_truncated: ending.changes_truncated,
            warning: ending.warning,
            ..self.record()
        }
    }

    /// Writes the end of a run to the process's own log output, at a level that fits the outcome, and publishes it to
    /// the metrics and the status. Called once for each run.
    pub(crate) fn publish_ended(&self, record: &RunRecord) {
        let code = record.error.as_ref().map(|error| error.code.as_str());
        let duration = record
            .finished_at
            .map(|finished| finished - record.started_at);
        // If the process keeps one tenant, its id would be the same in each line, so it is left out.
        let process = &self.shared.process;
        let tenant = self.shared.mapping.tenant.as_ref();
        let tenant = tenant.filter(|_| !process.config.tenants.is_one());
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
                    run.outcome = record.outcome.map(Outcome::as_str),
                    error.code = code,
                    duration_ms = duration.map(|duration| duration.num_milliseconds()),
                    remote_bytes = record.remote_bytes,
                    run.warning = record.warning,
                    "{}",
                    report::summary(record)
                )
            };
        }
        match record.outcome {
            Some(Outcome::Failed | Outcome::Unknown) => log!(ERROR),
            Some(Outcome::Partial | Outcome::Refused | Outcome::Interrupted) => log!(WARN),
            Some(Outcome::Succeeded | Outcome::NoChange | Outcome::DryRun) | None => log!(INFO),
        }
        run_metrics::ended(record);
        self.shared.process.note_activity();
        self.shared
            .live_state
            .send_modify(|live_state| live_state.ended(record));
    }
}
