//! Builds the report of one run: the object that `sync --json`, the trigger tool and REST share.

use std::fmt::Display;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorCode, Failure};
use crate::model::{Change, Counts, HeldDeactivations, RunId, RunOutcome, RunRecord};

/// Whether a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// The run has ended; `outcome` says how.
    Finished,
    /// The run is in progress; ask for the status to follow it.
    Running,
    /// No run was started, because the run `run_id` was in progress already.
    AlreadyRunning,
}

/// The run that was requested, or that was in progress already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunReport {
    /// The result in one sentence.
    pub summary: String,
    /// What to do next, in one sentence.
    pub next_step: String,
    /// The run's id; with `already_running`, that of the run in progress.
    pub run_id: RunId,
    /// Whether the run has ended.
    pub state: RunState,
    /// How the run ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RunOutcome>,
    /// Whether the run only finds out what a sync would change, and changes no meter.
    pub dry_run: bool,
    /// How many meters the run changed (a dry run: would change); all 0 while it runs or if it failed.
    pub counts: Counts,
    /// The first changes, at most 20: deactivations, then updates and reactivations, then inserts.
    pub changes: Vec<Change>,
    /// How many changes the run made (a dry run: would make) in all.
    pub changes_total: i64,
    /// Whether `changes` has fewer entries than `changes_total`.
    pub truncated: bool,
    /// When the run started, by the local database's clock.
    pub started_at: DateTime<Utc>,
    /// When the run ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// How long the run took, or has taken so far, in milliseconds.
    pub duration_ms: i64,
    /// How many bytes of row data the remote sent.
    pub remote_bytes: i64,
    /// Why the run did not succeed, or why a dry run's changes would be refused; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What else deserves attention about the run; absent if nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The current time by the local database's clock.
    pub now: DateTime<Utc>,
    /// What was left out to keep the answer short, and how to get it; absent if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// The deactivations because of which the run was refused; `None` if there are none. Not part of the JSON; used to
    /// ask a person for approval.
    #[serde(skip)]
    pub held_back: Option<HeldDeactivations>,
}

/// The maximum number of changes that the report of a run lists.
pub(crate) const SAMPLE: u32 = 20;

impl RunReport {
    /// Builds the report of a run from its log record and its first changes.
    pub(crate) fn of(record: &RunRecord, changes: Vec<Change>, now: DateTime<Utc>) -> Self {
        let state = match record.outcome {
            Some(_) => RunState::Finished,
            None => RunState::Running,
        };
        let total = record.counts.changes_to_list(changes.len());
        Self {
            run_id: record.run_id,
            state,
            outcome: record.outcome,
            dry_run: record.dry_run,
            counts: record.counts,
            changes_total: total,
            truncated: i64::try_from(changes.len()).is_ok_and(|listed| listed < total),
            changes,
            started_at: record.started_at,
            finished_at: record.finished_at,
            duration_ms: record.duration_ms(now),
            remote_bytes: record.remote_bytes,
            error: record.error.clone(),
            warning: record.warning.clone(),
            summary: summary(record),
            next_step: next_step(record),
            now,
            left_out: None,
            held_back: None,
        }
    }

    /// Builds the answer to a request that arrived while this run was in progress.
    pub(crate) fn already_running(record: &RunRecord, now: DateTime<Utc>) -> Self {
        let report = Self::of(record, Vec::new(), now);
        Self {
            state: RunState::AlreadyRunning,
            summary: format!(
                "Nothing was started: run {} is in progress already.",
                record.run_id
            ),
            ..report
        }
    }

    /// Builds the report of a run whose task ended without a report, which only a bug causes.
    pub(crate) fn lost(record: &RunRecord, now: DateTime<Utc>) -> Self {
        let message = "The run broke off without a report; the log tells how it ended.";
        let lost = RunRecord {
            outcome: Some(RunOutcome::Failed),
            finished_at: Some(now),
            error: Some(Failure::new(ErrorCode::Internal, message)),
            ..record.clone()
        };
        Self::of(&lost, Vec::new(), now)
    }

    /// Whether there is nothing to wait for: the run has ended, or no run was started.
    pub fn is_over(&self) -> bool {
        match self.state {
            RunState::Finished | RunState::AlreadyRunning => true,
            RunState::Running => false,
        }
    }

    /// Returns the error of a run that failed, was refused, was interrupted, or ended in an unknown way. Returns `None`
    /// for any other outcome, even if the report has an error.
    pub fn failure(&self) -> Option<&Failure> {
        match self.outcome {
            Some(
                RunOutcome::Failed
                | RunOutcome::Refused
                | RunOutcome::Interrupted
                | RunOutcome::Unknown,
            ) => self.error.as_ref(),
            Some(
                RunOutcome::Succeeded
                | RunOutcome::NoChange
                | RunOutcome::Partial
                | RunOutcome::DryRun,
            )
            | None => None,
        }
    }
}

/// Describes the result of a run in one sentence.
pub(crate) fn summary(record: &RunRecord) -> String {
    let counts = &record.counts;
    let error = || {
        record
            .error
            .as_ref()
            .map_or_else(String::new, |e| e.message.clone())
    };
    match record.outcome {
        None => "The sync is running.".to_owned(),
        Some(RunOutcome::NoChange) if counts.unchanged == 0 => {
            "Nothing to change: the remote has no meters of this tenant, and no meter here is active.".to_owned()
        }
        Some(RunOutcome::NoChange) => {
            format!(
                "Nothing to change: all {} meters were equal on both sides.",
                counts.unchanged
            )
        }
        Some(RunOutcome::Succeeded) => format!("Synced: {}.", changed(counts)),
        Some(RunOutcome::Partial) => format!("Synced in part: {}.", changed(counts)),
        Some(RunOutcome::DryRun) if record.error.is_some() => format!(
            "A sync would give: {}. Nothing was written, and a sync would be refused: {}",
            changed(counts),
            error()
        ),
        Some(RunOutcome::DryRun) => format!(
            "A sync would give: {}. Nothing was written.",
            changed(counts)
        ),
        Some(RunOutcome::Failed) => format!("The sync failed: {}", error()),
        Some(RunOutcome::Refused) => format!("The sync was refused: {}", error()),
        Some(RunOutcome::Interrupted) => format!("The sync was interrupted: {}", error()),
        Some(RunOutcome::Unknown) if record.error.is_some() => {
            format!("How the sync ended is unknown: {}", error())
        }
        Some(RunOutcome::Unknown) => {
            "How the sync ended is unknown: a newer version of meter-sync logged it.".to_owned()
        }
    }
}

fn changed(counts: &Counts) -> String {
    let mut parts = counted([
        (counts.inserted, "inserted"),
        (counts.updated, "updated"),
        (counts.deactivated, "deactivated"),
        (counts.reactivated, "reactivated"),
        (
            counts.rejected,
            "rejected, as the change could not be written",
        ),
    ]);
    parts.push(format!("{} unchanged", counts.unchanged));
    parts.join(", ")
}

/// Says how many there are of each kind, as in `2 inserted`. Leaves out kinds of which there are none.
pub(crate) fn counted<K: Display>(counts: impl IntoIterator<Item = (i64, K)>) -> Vec<String> {
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    counts
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect()
}

/// Describes what to do after a run, in one sentence.
pub(crate) fn next_step(record: &RunRecord) -> String {
    match record.outcome {
        None => format!("Ask for the status with run_id {} to follow it.", record.run_id),
        Some(RunOutcome::Succeeded | RunOutcome::NoChange) => {
            record.warning.clone().unwrap_or_else(|| "Nothing to do.".to_owned())
        }
        Some(RunOutcome::Partial) => {
            "Read why rows were rejected (status with include_changes), then mend the meters on the remote, or the local constraint or \
             trigger that refuses the change.".to_owned()
        }
        Some(RunOutcome::DryRun) => match &record.error {
            Some(refusal) => refusal.remedy.clone(),
            None if record.counts.changes() == 0 => "Nothing to do.".to_owned(),
            None => "This was a dry run: tell what a sync would change, and leave it at that unless the user asks for a sync.".to_owned(),
        },
        Some(RunOutcome::Failed | RunOutcome::Refused | RunOutcome::Interrupted) => {
            record.error.as_ref().map_or_else(String::new, |error| error.remedy.clone())
        }
        Some(RunOutcome::Unknown) => match &record.error {
            Some(error) => error.remedy.clone(),
            None => ErrorCode::Unknown.remedy().to_owned(),
        },
    }
}
