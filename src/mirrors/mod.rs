//! Starts runs, each of which syncs one mirror (one tenant's meters in one local table), and reports their results.
//!
//! [`Mirrors`] holds all mirrors of the process. The user interfaces (command line, REST, MCP and web page) find a
//! mirror in it, request a run with [`Mirror::request`], and read the result with [`Mirror::status`]. A run belongs to
//! this module and not to its caller: if the caller goes away, the run continues. A lock in the local database
//! (`store::run_lock`) allows one run at a time for each mirror. The run log in the same database (`store::log`)
//! records the runs.
//!
//! State flows one way: a run writes the log, one caller at a time reads the log and publishes the result
//! (`shared_read`), and all callers use what was published. What only this process knows is published in one `watch`
//! channel for each mirror (`in_process_state`).

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::db::ServerClock;
use crate::engine::RowsToCompare;
use crate::error::{ErrorCode, Failure};
use crate::model::{DeactivationApproval, Progress, RunId, RunRecord, RunTrigger};
use crate::trace_id::TraceId;

pub use claim_slots::SlotClaimOutcome;
pub use mirror::{Mirror, TenantAndMirror};
pub use process_context::ProcessContext;
pub(crate) use process_context::most_runs;
pub use published_states::StateChangeListener;
pub use registry::{Mirrors, visible_tenants};
pub use run::follow_progress::RunProgressFollower;
pub use run_event_feed::RunEventFeed;
pub use sweep::{FailedMirrors, SweepReport};
pub use verify::VerifyRequest;

pub use crate::store::claimed_slots::{ClaimedSlot, ClaimedSlotList};

use crate::reports::run_report::{RunReport, RunState};

mod add_meter_names;
mod claim_slots;
pub(crate) mod hide_other_tenants;
mod in_process_state;
mod meter_count_cache;
mod mirror;
mod mirror_keys;
pub(crate) mod open_run_fate;
mod pause;
mod process_context;
mod publish_states;
mod published_states;
mod registry;
pub mod run;
mod run_event_feed;
mod state_read;
pub(crate) mod status;
mod sweep;
mod verify;

/// The target of the `tracing` event that says how a run ended.
pub const RUN_ENDED: &str = "meter_sync::mirrors::ended";

/// A request to start a run.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// What asks for the run: the schedule, the command line, REST, MCP or the web page.
    pub trigger: RunTrigger,
    /// The person or program that asks for the run; `None` if unknown.
    pub actor: Option<String>,
    /// Why the run is requested, in the caller's words; `None` if no reason was given.
    pub reason: Option<String>,
    /// Whether the run only finds out what it would change, and changes no meter.
    pub dry_run: bool,
    /// What a person has approved, so that the run does it although it would otherwise be refused.
    pub allow: RunApprovals,
    /// A key by which a repeated request is recognized; `None` if repeats are not to be recognized. If a request with
    /// the same key and `dry_run` started a run within the last day, that run is the answer, and no new run starts. A
    /// new run starts nevertheless if the earlier one was refused, was interrupted, or failed for a transient reason.
    pub idempotency_key: Option<String>,
    /// The trace id of the request, for the log lines; `None` if it has none.
    pub trace: Option<TraceId>,
    /// Which rows the run compares value by value.
    pub compare: RowsToCompare,
    /// Whether the run belongs to a sweep (a check of all mirrors). Such a run waits for free database connections as
    /// long as runs of other tenants use them. Any other request is refused if it would wait longer than the connect
    /// timeout.
    pub is_of_sweep: bool,
}

impl RunRequest {
    /// Creates a request for a run that is no dry run, with nothing approved and all optional values unset.
    pub fn new(trigger: RunTrigger) -> Self {
        Self {
            trigger,
            actor: None,
            reason: None,
            dry_run: false,
            allow: RunApprovals::default(),
            idempotency_key: None,
            trace: None,
            compare: RowsToCompare::Differences,
            is_of_sweep: false,
        }
    }
}

/// What a run may do because a person has approved it. Without the approval, the run is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunApprovals {
    /// Which deactivations of meters are approved. Otherwise, the brake refuses a plan that would deactivate too many
    /// meters.
    pub mass_deactivation: DeactivationApproval,
    /// Whether to sync a table that has no tenant column and was last synced for another tenant.
    pub tenant_change: bool,
    /// Whether to change meters although the remote was restored or swapped for another and the brake is strict.
    pub remote_change: bool,
}

/// Returns the text to log as the reason of a run that carries out the deactivations that the earlier run `shown` held
/// back.
pub fn approval_of(shown: RunId) -> String {
    format!("to carry out the deactivations that run {shown} showed")
}

/// The answer to a [`RunRequest`].
#[derive(Debug)]
pub enum RunRequestOutcome {
    /// A run was started. It continues whether or not anyone waits for it.
    Started(RunHandle),
    /// No run was started, because the run in the report is in progress. The report's `state` is `already_running`.
    AlreadyRunning(Box<RunReport>),
    /// The run in the report has ended: it failed before it could begin, or it answered an earlier request with the
    /// same idempotency key.
    Finished(Box<RunReport>),
}

impl RunRequestOutcome {
    fn already_running(record: &RunRecord, now: DateTime<Utc>) -> Self {
        Self::AlreadyRunning(Box::new(RunReport::already_running(record, now)))
    }
}

/// A handle to a run that this process has started. Dropping the handle does not stop the run.
#[derive(Debug)]
pub struct RunHandle {
    begun: Box<RunRecord>,
    progress: watch::Receiver<Progress>,
    /// The report of the run; `None` until the run has ended. It is sent again after the comparison of contents (a
    /// check of all rows by hashes) that may follow the run. The channel closes when no further report can follow.
    end: watch::Receiver<Option<Box<RunReport>>>,
    clock: ServerClock,
    /// The mirror of the run, for the caller who requested it.
    mirror: Mirror,
}

impl RunHandle {
    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.begun.run_id
    }

    /// Returns a channel with the progress of the run. It closes when the run ends.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Whether the run has ended, and also the comparison of contents (a check of all rows by hashes) that may follow
    /// it.
    pub fn is_over(&self) -> bool {
        self.end.has_changed().is_err()
    }

    /// Waits, for at most `limit`, until the run and the comparison of contents (a check of all rows by hashes) that
    /// may follow it have ended. The `state` of the returned report says whether the run has ended.
    pub async fn wait(&mut self, limit: Duration) -> RunReport {
        let closed = async { while self.end.changed().await.is_ok() {} };
        let is_closed = tokio::time::timeout(limit, closed).await.is_ok();
        if let Some(report) = self.end.borrow().as_deref() {
            let mut report = report.clone();
            self.mirror.fit_to_caller(&mut report);
            return report;
        }
        // Only a bug ends a run's task without a report.
        if is_closed {
            return RunReport::lost(&self.begun, self.clock.now());
        }
        let report = RunReport::of(&self.begun, Vec::new(), self.clock.now());
        RunReport {
            remote_bytes: self.progress.borrow().remote_bytes,
            ..report
        }
    }
}

/// Returns why a run did not succeed; `None` if it did. A run that was not started because another one is in progress
/// counts as an error.
pub fn error_of(report: &Result<RunReport, Failure>) -> Option<ErrorCode> {
    match report {
        Ok(report) if report.state == RunState::AlreadyRunning => Some(ErrorCode::AlreadyRunning),
        Ok(report) => report.error.as_ref().map(|error| error.code),
        Err(failure) => Some(failure.code),
    }
}
