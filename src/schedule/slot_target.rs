//! What a due slot asks for: a run of the only mirror, or a sweep of many.

use chrono::{DateTime, Utc};

use crate::error::{ErrorCode, Failure};
use crate::mirrors::{Claim, Mirror, Mirrors, Process, Request, TenantMirror, error_of};
use crate::model::Trigger;

/// What a due slot asks for.
pub(super) enum SlotTarget {
    /// A run.
    Run(Mirror),
    /// A sweep, and after it the mirrors whose run is to be tried again.
    Sweep(Mirrors, Vec<TenantMirror>),
}

impl SlotTarget {
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
            Self::Run(mirror) => error_of(&mirror.run_to_end(Request::new(trigger), false).await),
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
    again: &mut Vec<TenantMirror>,
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
