//! Starts runs and reports what happened in them.
//!
//! [`Mirrors`] holds all mirrors of the process. Every surface finds a mirror there, requests a run with
//! [`Mirror::request`], and reads what happened with [`Mirror::status`]. A run belongs to this module and not to its
//! caller: if the caller goes away, the run continues. A lock in the local database (`run::lock`) allows one run at a
//! time for each mirror. The run log in the same database (`store::log`) keeps what happened.
//!
//! State flows one way: a run writes the log, one caller at a time reads the log and publishes the result
//! (`shared_read`), and every surface uses what was published. What only this process knows is published in one `watch`
//! channel for each mirror (`live_state`).

use std::time::Duration;

use tokio::sync::watch;

use crate::db::ServerClock;
use crate::engine::RowsToCompare;
use crate::error::{ErrorCode, Failure};
use crate::model::{DeactivationApproval, Progress, RunId, Trigger};
use crate::trace_id::TraceId;

pub use mirror::{Mirror, TenantMirror};
pub use process_context::ProcessContext;
pub(crate) use process_context::most_runs;
pub use published_states::StateChanges;
pub use registry::{Mirrors, visible_tenants};
pub use run::progress::{RunFollower, RunProgress};
pub use run_event_listener::RunEventListener;
pub use slots::Claim;
pub use sweep::SweepReport;

pub use crate::store::slots::{ClaimedSlot, ClaimedSlotList};

use crate::store::log::RunRecord;
use mirror::MirrorInner;
use run::report::{RunReport, RunStage};

mod clock_warnings;
mod join_warnings;
mod live_state;
mod meter_count_cache;
mod meter_names;
pub(crate) mod meter_table;
mod mirror;
mod mirror_keys;
mod process_context;
mod publish_states;
mod published_states;
mod registry;
pub mod run;
mod run_event_listener;
pub mod scrape_metrics;
mod shared_read;
mod slots;
pub mod state;
pub mod status_parts;
mod stored_state;
mod sweep;

/// The tracing target of the log line that says how a run ended.
pub const RUN_ENDED: &str = "meter_sync::mirrors::ended";

/// A request to start a run.
#[derive(Clone, Debug)]
pub struct Request {
    /// What asks for the run: the schedule or one of the surfaces.
    pub trigger: Trigger,
    /// The person or program that asks for the run; `None` if the surface does not know.
    pub actor: Option<String>,
    /// Why the run is requested, in the caller's words; `None` if no reason was given.
    pub reason: Option<String>,
    /// Whether only to plan, without changing any meter.
    pub dry_run: bool,
    /// What a person has approved.
    pub allow: Allow,
    /// If a request with the same key and `dry_run` started a run within the last day, that run is the answer, and no
    /// new run starts. A new run starts nevertheless if the earlier one was refused, was interrupted, or failed for a
    /// transient reason. `None` always requests a new run.
    pub idempotency_key: Option<String>,
    /// The trace that the request belongs to, for the logs.
    pub trace: Option<TraceId>,
    /// Which rows are compared value by value.
    pub compare: RowsToCompare,
    /// Whether the run belongs to a sweep. Such a run waits until connections are free, however long runs of other
    /// tenants use them. A request for any other run is refused after the connect timeout.
    pub is_of_sweep: bool,
}

impl Request {
    /// Creates a request for a normal run: not a dry run, and with nothing approved.
    pub fn new(trigger: Trigger) -> Self {
        Self {
            trigger,
            actor: None,
            reason: None,
            dry_run: false,
            allow: Allow::default(),
            idempotency_key: None,
            trace: None,
            compare: RowsToCompare::Differences,
            is_of_sweep: false,
        }
    }
}

/// What a person has approved, so that a run does it although it would otherwise be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Which deactivations are carried out even if the brake would hold them back.
    pub mass_deactivation: DeactivationApproval,
    /// Whether to sync a table that has no tenant column and was last synced for another tenant.
    pub tenant_change: bool,
}

/// Returns the reason to log for a run that carries out the deactivations that the run `shown` held back.
pub fn approval_of(shown: RunId) -> String {
    format!("to carry out the deactivations that run {shown} showed")
}

/// The answer to a [`Request`].
#[derive(Debug)]
pub enum RequestOutcome {
    /// A run was started; it goes on whether or not anyone waits.
    Started(Ticket),
    /// Nothing was started: the run in the report is in progress (`state` is `already_running`).
    AlreadyRunning(Box<RunReport>),
    /// There is nothing to wait for: the run in the report has ended, or failed before it could begin.
    Finished(Box<RunReport>),
}

/// A handle to a run that this process has started. Dropping the handle does not stop the run.
#[derive(Debug)]
pub struct Ticket {
    begun: Box<RunRecord>,
    progress: watch::Receiver<Progress>,
    /// The report, once the run has ended. It is sent again if a comparison of contents adds to it. The channel
    /// closes when no further report can follow.
    end: watch::Receiver<Option<Box<RunReport>>>,
    clock: ServerClock,
}

impl Ticket {
    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.begun.run_id
    }

    /// The progress of the run. The channel closes when the run ends.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Whether no further report can follow.
    pub fn is_over(&self) -> bool {
        self.end.has_changed().is_err()
    }

    /// Waits for the end of the run and of the comparison of contents that may follow it, but at most `limit`. The
    /// `state` of the returned report says whether the run has ended.
    pub async fn wait(&mut self, limit: Duration) -> RunReport {
        let closed = async { while self.end.changed().await.is_ok() {} };
        let is_closed = tokio::time::timeout(limit, closed).await.is_ok();
        if let Some(report) = self.end.borrow().as_deref() {
            return report.clone();
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

/// Returns the error because of which a slot is retried or given up; `None` if the run succeeded or was interrupted.
///
/// A run of this process is interrupted only if somebody cancels it on purpose, so its slot is not retried.
pub fn error_of(report: &Result<RunReport, Failure>) -> Option<ErrorCode> {
    let code = match report {
        Ok(report) if report.state == RunStage::AlreadyRunning => ErrorCode::AlreadyRunning,
        Ok(report) => report.error.as_ref()?.code,
        Err(failure) => failure.code,
    };
    (code != ErrorCode::Interrupted).then_some(code)
}
