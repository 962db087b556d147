//! The result of a sweep (a check of all mirrors).

use crate::error::ErrorCode;
use crate::mirrors::mirror::TenantAndMirror;
use crate::store::sweeps::{SweepCounts, SweepRecord};

/// The result of a sweep.
#[derive(Debug)]
pub struct SweepReport {
    /// The record of the sweep, as in the log.
    pub record: SweepRecord,
    /// The mirrors whose run did not succeed, with the errors.
    pub failed: FailedMirrors,
}

/// The mirrors whose run did not succeed, with the errors.
pub type FailedMirrors = Vec<(TenantAndMirror, ErrorCode)>;

impl SweepReport {
    /// Whether all mirrors are in sync, apart from those that a person has paused.
    pub(super) fn is_success(&self) -> bool {
        let mut failed = self.failed.iter();
        self.record.error.is_none() && failed.all(|(_, code)| *code == ErrorCode::Paused)
    }

    /// Says in one sentence how the sweep ended.
    pub(super) fn summary(&self) -> String {
        let SweepCounts {
            mirrors,
            unchanged,
            succeeded,
            failed,
            ..
        } = self.record.counts;
        match &self.record.error {
            Some(error) => format!("The sweep failed: {}", error.message),
            None => format!(
                "{mirrors} tenants: {unchanged} unchanged, {succeeded} with a run that succeeded, {failed} without."
            ),
        }
    }

    /// Adds a run that has ended. `error` says why it did not succeed. `known` is its mirror, `None` if this process no
    /// longer keeps it.
    pub(super) fn add_run(
        &mut self,
        known: Option<TenantAndMirror>,
        error: Option<ErrorCode>,
        remote_bytes: i64,
    ) {
        let counts = &mut self.record.counts;
        counts.remote_bytes += remote_bytes;
        match error {
            Some(code) => {
                counts.failed += 1;
                self.failed.extend(known.map(|known| (known, code)));
            }
            None => counts.succeeded += 1,
        }
    }
}
