//! Defines and updates the metrics about runs.
//!
//! The counters and the histogram are updated when a run ends in this process. Without a metrics recorder, as in a
//! single command or in MCP over stdio, they cost nothing. Values that can be read at any time, such as the usage of a
//! connection pool, have no counter here: they are read when the metrics are requested (`http::metrics`).
//! Each label has a fixed set of values, and never contains text from a user or a database.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use crate::model::{ChangeAction, Counts, RunOutcome, RunRecord, RunTrigger};

const RUNS: &str = "meter_sync_runs_total";
const CHANGES: &str = "meter_sync_changes_total";
const REJECTED: &str = "meter_sync_rejected_total";
const REMOTE_BYTES: &str = "meter_sync_remote_bytes_total";
/// The name of the metric that is a histogram of run durations.
pub(super) const DURATION: &str = "meter_sync_run_duration_seconds";
/// The upper bounds of the buckets of [`DURATION`], in seconds. A run that finds no change takes some ten
/// milliseconds. No run takes longer than `METER_SYNC_RUN_TIMEOUT`, which is 15 minutes by default.
pub(super) const DURATION_BUCKETS: [f64; 14] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 180.0, 450.0, 900.0,
];

/// Registers the descriptions of the metrics with a new recorder, and sets each counter to 0. Otherwise the first
/// failure would not count as an increase of its counter, because the counter would appear with the value 1.
pub(super) fn begin() {
    describe_counter!(
        RUNS,
        "Runs that ended in this process, by outcome and by what asked for them."
    );
    describe_counter!(
        CHANGES,
        "Meters that runs of this process changed, by action."
    );
    describe_counter!(
        REJECTED,
        "Rows that runs of this process rejected, each run's anew."
    );
    describe_counter!(
        REMOTE_BYTES,
        Unit::Bytes,
        "Bytes of row data read from the remote."
    );
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "How long runs of this process took, by outcome."
    );
    for outcome in RunOutcome::ALL {
        for trigger in RunTrigger::ALL {
            runs(*outcome, *trigger).absolute(0);
        }
    }
    count(&Counts::default(), 0);
}

/// Adds a run that has ended to the counters and the histogram.
pub(crate) fn ended(record: &RunRecord) {
    let Some(outcome) = record.outcome else {
        return;
    };
    runs(outcome, record.trigger).increment(1);
    let finished_at = record.finished_at.unwrap_or(record.started_at);
    let duration = (finished_at - record.started_at).to_std();
    // If the clock was set back during the run, the duration is negative, and is not recorded.
    if let Ok(duration) = duration {
        histogram!(DURATION, "outcome" => outcome.as_str()).record(duration);
    }
    let changed = if record.dry_run {
        Counts::default()
    } else {
        record.counts
    };
    count(&changed, record.remote_bytes);
}

/// Adds the bytes that the remote sent for a sweep, or for the comparison of contents after a run, to the byte counter.
/// The bytes of a run itself are added by [`ended`].
pub(crate) fn read(remote_bytes: i64) {
    counter!(REMOTE_BYTES).increment(remote_bytes.unsigned_abs());
}

fn runs(outcome: RunOutcome, trigger: RunTrigger) -> metrics::Counter {
    counter!(RUNS, "outcome" => outcome.as_str(), "trigger" => trigger.as_str())
}

fn count(counts: &Counts, remote_bytes: i64) {
    for action in ChangeAction::ALL {
        let changed = match action {
            ChangeAction::Insert => counts.inserted,
            ChangeAction::Update => counts.updated,
            ChangeAction::Deactivate => counts.deactivated,
            ChangeAction::Reactivate => counts.reactivated,
            ChangeAction::Unknown => 0,
        };
        counter!(CHANGES, "action" => action.as_str()).increment(changed.unsigned_abs());
    }
    counter!(REJECTED).increment(counts.rejected.unsigned_abs());
    counter!(REMOTE_BYTES).increment(remote_bytes.unsigned_abs());
}
