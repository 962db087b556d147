//! What the schedule starts at a slot (scheduled time): a run of the only mirror, or a sweep (a check) of many mirrors.

use chrono::{DateTime, Utc};

use crate::error::{ErrorCode, Failure};
use crate::mirrors::{
    Mirror, Mirrors, ProcessContext, RunRequest, SlotClaimOutcome, TenantAndMirror, error_of,
};
use crate::model::RunTrigger;

/// What the schedule starts at a slot (scheduled time).
pub(super) enum SlotTarget {
    /// A run of the mirror, in a process that keeps exactly one.
    Run(Mirror),
    /// A sweep, which checks all mirrors and runs those that may differ. The list has the mirrors whose run failed in
    /// the sweep and is to be retried in the same slot.
    Sweep(Mirrors, Vec<TenantAndMirror>),
}

impl SlotTarget {
    pub(super) fn of(mirrors: &Mirrors) -> Self {
        match mirrors.only() {
            Some(mirror) => Self::Run(mirror.clone()),
            None => Self::Sweep(mirrors.clone(), Vec::new()),
        }
    }

    pub(super) fn process(&self) -> &ProcessContext {
        match self {
            Self::Run(mirror) => mirror,
            Self::Sweep(mirrors, _) => mirrors,
        }
    }

    /// Publishes in the status when the schedule will retry the slot (scheduled time); `None` if no retry is pending.
    pub(super) fn set_waiting(&self, until: Option<DateTime<Utc>>) {
        match self {
            Self::Run(mirror) => mirror.set_waiting(until),
            Self::Sweep(mirrors, _) => mirrors.set_waiting(until),
        }
    }

    /// Claims the slot (scheduled time) in the local database for this process. `is_again` says that this process may
    /// have claimed it before, and claims it again for a retry.
    pub(super) async fn claim(
        &self,
        slot: DateTime<Utc>,
        is_again: bool,
    ) -> Result<SlotClaimOutcome, Failure> {
        match self {
            Self::Run(mirror) => mirror.claim_slot(slot, is_again).await,
            Self::Sweep(mirrors, _) => mirrors.claim_sweep(slot, is_again).await,
        }
    }

    /// Carries out the run or the sweep. Returns the error code if the run, or the sweep as a whole, failed; `None` if
    /// it succeeded or was cancelled.
    ///
    /// If a sweep succeeded except for the runs of some mirrors, returns the code of the first transient error, or
    /// `None` if no error is transient. The next call in the same slot then runs only the mirrors with transient
    /// errors.
    pub(super) async fn attempt(
        &mut self,
        slot: DateTime<Utc>,
        trigger: RunTrigger,
    ) -> Option<ErrorCode> {
        match self {
            Self::Run(mirror) => {
                let report = mirror.run_to_end(RunRequest::new(trigger), false).await;
                error_of(&report).filter(|code| !is_cancelled(*code))
            }
            Self::Sweep(mirrors, again) => {
                let mirrors = mirrors.clone();
                let sweep = Box::pin(sweep(&mirrors, again, trigger));
                mirrors.renewing_claim(slot, sweep).await
            }
        }
    }

    /// Lets another process go on with the sweep that this one may have begun.
    pub(super) async fn give_up_claims(&self) {
        match self {
            Self::Run(_) => {}
            Self::Sweep(mirrors, _) => mirrors.give_up_claims().await,
        }
    }

    /// Clears the list of mirrors to retry, because the slot has ended.
    pub(super) fn end_slot(&mut self) {
        match self {
            Self::Run(_) => {}
            Self::Sweep(_, again) => again.clear(),
        }
    }
}

async fn sweep(
    mirrors: &Mirrors,
    again: &mut Vec<TenantAndMirror>,
    trigger: RunTrigger,
) -> Option<ErrorCode> {
    let failed = match again.is_empty() {
        true => match mirrors.sweep_with_others(trigger).await {
            Ok(report) => match report.record.error {
                Some(error) => return Some(error.code),
                None => report.failed,
            },
            Err(failure) => return Some(failure.code),
        },
        false => match mirrors
            .run_again(std::mem::take(again), &RunRequest::new(trigger))
            .await
        {
            Ok(failed) => failed,
            Err(failure) => return Some(failure.code),
        },
    };
    let mut transient = failed
        .into_iter()
        .filter(|(_, code)| code.is_transient() && !is_cancelled(*code));
    let first = transient.next()?;
    let code = first.1;
    again.push(first.0);
    again.extend(transient.map(|(known, _)| known));
    Some(code)
}

/// Whether a run with this error was cancelled. It is not retried, because somebody cancelled it on purpose.
fn is_cancelled(code: ErrorCode) -> bool {
    code == ErrorCode::Interrupted
}
