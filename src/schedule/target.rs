//! What a due slot asks for: a run of the only mirror, or a sweep of many.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::{ErrorCode, Failure};
use crate::mirrors::run::report::RunState;
use crate::mirrors::{Claim, KnownMirror, Mirror, Mirrors, Process, Request, Requested, Ticket};
use crate::model::Trigger;

/// What a due slot asks for.
pub(super) enum Target {
    /// A run.
    Run(Mirror),
    /// A sweep, and after it the mirrors whose run is to be tried again.
    Sweep(Mirrors, Vec<KnownMirror>),
}

impl Target {
    pub(super) fn of(mirrors: &Mirrors) -> Self {
        match mirrors.only() {
            Some(mirror) => Self::Run(mirror.clone()),
            None => Self::Sweep(mirrors.clone(), Vec::new()),
        }
    }

    pub(super) fn process(&self) -> &Process {
        match self {
            Self::Run(mirror) => mirror,
            Self::Sweep(mirrors, _) => mirrors,
        }
    }

    /// Publishes until when the schedule waits to try a slot again; `None` if it does not wait.
    pub(super) fn set_waiting(&self, until: Option<DateTime<Utc>>) {
        match self {
            Self::Run(mirror) => mirror.set_waiting(until),
            Self::Sweep(mirrors, _) => mirrors.set_waiting(until),
        }
    }

    /// Claims the slot; with `is_again`, to try it once more.
    pub(super) async fn claim(
        &self,
        slot: DateTime<Utc>,
        is_again: bool,
    ) -> Result<Claim, Failure> {
        match self {
            Self::Run(mirror) if is_again => mirror.claim_slot_again(slot).await,
            Self::Run(mirror) => mirror.claim_slot(slot).await,
            Self::Sweep(mirrors, _) => mirrors.claim_sweep(slot, is_again).await,
        }
    }

    /// Does what the slot asks for and returns the code of its error, if any. Of several, one that is worth another try
    /// is returned. The next attempt in the slot tries only those mirrors again.
    pub(super) async fn attempt(
        &mut self,
        slot: DateTime<Utc>,
        trigger: Trigger,
    ) -> Option<ErrorCode> {
        match self {
            Self::Run(mirror) => run(mirror, trigger).await,
            Self::Sweep(mirrors, again) => {
                let mirrors = mirrors.clone();
                let sweep = Box::pin(sweep(&mirrors, again, trigger));
                mirrors.renewing_claim(slot, sweep).await
            }
        }
    }

    /// Forgets what was to be tried again, at the end of a slot.
    pub(super) fn end_slot(&mut self) {
        match self {
            Self::Run(_) => {}
            Self::Sweep(_, again) => again.clear(),
        }
    }
}

async fn sweep(
    mirrors: &Mirrors,
    again: &mut Vec<KnownMirror>,
    trigger: Trigger,
) -> Option<ErrorCode> {
    let request = Request::new(trigger);
    let failed = match again.is_empty() {
        true => match mirrors.sweep(&request, |_, _| {}).await {
            Ok(report) => match report.record.error {
                Some(error) => return Some(error.code),
                None => report.failed,
            },
            Err(failure) => return Some(failure.code),
        },
        false => match mirrors.run_again(std::mem::take(again), &request).await {
            Ok(failed) => failed,
            Err(failure) => return Some(failure.code),
        },
    };
    let mut transient = failed.into_iter().filter(|(_, code)| code.is_transient());
    let first = transient.next()?;
    let code = first.1;
    again.push(first.0);
    again.extend(transient.map(|(known, _)| known));
    Some(code)
}

/// Waits for one run to end and returns the code of its error, if any. The run itself is logged by `mirrors`.
async fn run(mirror: &Mirror, trigger: Trigger) -> Option<ErrorCode> {
    match mirror.request(Request::new(trigger)).await {
        Ok(Requested::Started(mut ticket)) => outcome(&mut ticket).await,
        Ok(Requested::AlreadyRunning(_)) => Some(ErrorCode::AlreadyRunning),
        Ok(Requested::Finished(report)) => report.error.map(|error| error.code),
        Err(failure) => Some(failure.code),
    }
}

/// How long one wait for a run lasts. Another one follows until the run has ended.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

async fn outcome(ticket: &mut Ticket) -> Option<ErrorCode> {
    loop {
        let report = ticket.wait(LONGEST_WAIT).await;
        match report.state {
            RunState::Running => {}
            RunState::Finished | RunState::AlreadyRunning => {
                let code = report.error.map(|error| error.code);
                // If a run of this process was interrupted, somebody cancelled it on purpose.
                return code.filter(|code| *code != ErrorCode::Interrupted);
            }
        }
    }
}
