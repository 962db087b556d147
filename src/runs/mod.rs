//! One run at a time, and what happened.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::error::Failure;
use crate::meter::{Phase, RunId, Trigger};
use report::RunReport;
use status::{Status, StatusQuery};

pub mod report;
pub mod status;

/// A wish for a run.
#[derive(Clone, Debug)]
pub struct Request {
    /// What asks.
    pub trigger: Trigger,
    /// Who asks, as far as the surface knows.
    pub actor: Option<String>,
    /// Why, in the words of who asks.
    pub reason: Option<String>,
    /// Whether to plan only.
    pub dry_run: bool,
    /// What a person has allowed.
    pub allow: Allow,
    /// A second request with the same key within a day is answered with the first one's run.
    pub idempotency_key: Option<String>,
}

impl Request {
    /// A request for a full run, with nothing extraordinary allowed.
    pub fn new(trigger: Trigger) -> Self {
        Self {
            trigger,
            actor: None,
            reason: None,
            dry_run: false,
            allow: Allow::default(),
            idempotency_key: None,
        }
    }
}

/// What a person has allowed beyond the brake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// To deactivate more meters than the brake lets pass.
    pub mass_deactivation: bool,
    /// To sync a table that was last synced for another tenant.
    pub tenant_change: bool,
}

/// The answer to a [`Request`].
#[derive(Debug)]
pub enum Requested {
    /// A run was started; it goes on whether or not anyone waits.
    Started(Ticket),
    /// Nothing was started: the run in the report is in progress (`state` is `already_running`).
    AlreadyRunning(Box<RunReport>),
    /// Nothing was started: the run in the report answers this request already.
    Finished(Box<RunReport>),
}

/// Where a run in this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it does now.
    pub phase: Phase,
    /// Remote rows read so far.
    pub rows: i64,
}

/// A run that was started here, to wait for or to leave alone.
#[derive(Debug)]
pub struct Ticket {}

impl Ticket {
    /// The run's id.
    pub fn run_id(&self) -> RunId {
        todo!()
    }

    /// Where the run is, as it goes; the sender is dropped when it ends.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        todo!()
    }

    /// Waits for the end, at most `limit`; the report's `state` says whether it has come.
    pub async fn wait(&mut self, _limit: Duration) -> RunReport {
        todo!()
    }
}

/// The one way to start a run and to learn what happened. Clones share one state.
#[derive(Clone, Debug)]
pub struct Runs {}

impl Runs {
    /// Whether both database URLs are set.
    pub fn is_configured(&self) -> bool {
        todo!()
    }

    /// Whether triggers are refused.
    pub fn is_read_only(&self) -> bool {
        todo!()
    }

    /// Starts a run unless one is in progress. Errors: `CONFIG_MISSING`, `READ_ONLY`.
    pub async fn request(&self, _request: Request) -> Result<Requested, Failure> {
        todo!()
    }

    /// Claims a schedule slot in the local database; false when it was claimed before.
    pub async fn claim_slot(&self, _slot: DateTime<Utc>) -> Result<bool, Failure> {
        todo!()
    }

    /// Says in the status until when a failed scheduled run waits for its retry.
    pub fn set_waiting(&self, _until: Option<DateTime<Utc>>) {
        todo!()
    }

    /// The status now. An error only when `run_id` names no run.
    pub async fn status(&self, _query: &StatusQuery) -> Result<Status, Failure> {
        todo!()
    }
}
