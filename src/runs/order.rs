//! A request on its way to becoming a run, and the records that the log and the reports take of it.

use std::time::Instant;

use chrono::{DateTime, Utc};
use tracing::Level;

use crate::db::{Database, Local};
use crate::error::Failure;
use crate::meter::{Counts, Outcome, Progress, RunId, TenantId};

use super::log::{Beginning, Ending};
use super::status::RunRecord;
use super::table::LocalTable;
use super::{RUN_ENDED, Request, Shared, clocks, measures, report};

/// A request on its way.
pub(super) struct Order<'a> {
    pub(super) shared: &'a Shared,
    pub(super) local: &'a Database<Local>,
    pub(super) request: &'a Request,
    pub(super) run_id: RunId,
    /// Its place in the order of runs, once it has one.
    pub(super) seq: Option<i64>,
    /// When it was asked for; when it started, once it has.
    pub(super) started_at: DateTime<Utc>,
}

impl<'a> Order<'a> {
    /// A request that comes now.
    pub(super) fn new(
        shared: &'a Shared,
        local: &'a Database<Local>,
        request: &'a Request,
    ) -> Self {
        let started_at = shared.clock.now();
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

impl Order<'_> {
    pub(super) fn beginning<'b>(
        &'b self,
        table: &'b LocalTable,
        tenant: Option<&'b TenantId>,
    ) -> Beginning<'b> {
        Beginning {
            run_id: self.run_id,
            tenant,
            table,
            request: self.request,
        }
    }

    /// The end of a run that got so far, or not even begun.
    pub(super) fn failed(
        &self,
        failure: Failure,
        refused: bool,
        reached: Option<&Progress>,
    ) -> Ending {
        Ending {
            outcome: if refused {
                Outcome::Refused
            } else {
                Outcome::Failed
            },
            finished_at: self.shared.clock.now(),
            counts: Counts::default(),
            error: Some(failure),
            remote_bytes: reached.map_or(0, |progress| progress.remote_bytes),
            changes_truncated: false,
            compared: None,
            warning: clocks::warning(self.shared.clock.ahead()),
            phases: reached.map_or_else(Vec::new, |progress| progress.times(Instant::now())),
            held_back: None,
        }
    }

    pub(super) fn record(&self) -> RunRecord {
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

    pub(super) fn ended(&self, ending: Ending) -> RunRecord {
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

    /// Logs the end of a run once, as loud as it went badly, and publishes it to the status.
    pub(super) fn publish_ended(&self, record: &RunRecord) {
        let code = record.error.as_ref().map(|error| error.code.as_str());
        let duration = record
            .finished_at
            .map(|finished| finished - record.started_at);
        // The level of an event is a constant.
        macro_rules! log {
            ($level:ident) => {
                tracing::event!(
                    target: RUN_ENDED,
                    Level::$level,
                    run.id = %record.run_id,
                    run.trigger = %record.trigger,
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
        measures::ended(record);
        self.shared.here.send_modify(|here| here.ended(record));
    }
}
