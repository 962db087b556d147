//! The report of a verification, which compares all meters of both sides and changes none.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{ProofMethod, RunId};
use crate::store::proofs::StoredComparison;

/// Whether both sides hold the same meters, and how that was found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyReport {
    /// The result in one sentence.
    pub summary: String,
    /// What to do next, in one sentence.
    pub next_step: String,
    /// Whether both sides hold the same meters.
    pub are_equal: bool,
    /// What was compared.
    pub verified_by: ProofMethod,
    /// When the comparison began, by the local database's clock.
    pub verified_at: DateTime<Utc>,
    /// The remote meters.
    pub remote: SideReport,
    /// The local meters, without inactive ones that the remote no longer has.
    pub local: SideReport,
    /// How many meters differ; absent if they were not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differing: Option<i64>,
    /// Whether the sides differ although no row has changed since the last sync, so that a sync has made an error.
    pub is_unexplained: bool,
    /// The dry run that compared every value; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// How long the verification took, in milliseconds.
    pub duration_ms: i64,
}

/// How many meters one side has, and the digest of their contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SideReport {
    /// The number of the tenant's meters.
    pub meters: i64,
    /// The digest of their contents; equal on both sides if all values are.
    pub digest: String,
}

/// What a verification found, before it is put into words.
pub(crate) struct VerifyFinding {
    pub(crate) comparison: StoredComparison,
    pub(crate) at: DateTime<Utc>,
    pub(crate) differing: Option<i64>,
    /// Whether syncs ended during each attempt, so that the two sides may have been read at different moments.
    pub(crate) was_disturbed: bool,
    pub(crate) run_id: Option<RunId>,
    pub(crate) duration_ms: i64,
}

impl VerifyReport {
    pub(crate) fn of(found: VerifyFinding) -> Self {
        let (summary, next_step) = (summary(&found), next_step(&found).to_owned());
        let comparison = found.comparison;
        let side = |(meters, digest): (i64, String)| SideReport { meters, digest };
        Self {
            summary,
            next_step,
            are_equal: comparison.are_equal,
            verified_by: comparison.method,
            verified_at: found.at,
            remote: side(comparison.remote),
            local: side(comparison.local),
            differing: found.differing,
            is_unexplained: comparison.is_unexplained,
            run_id: found.run_id,
            duration_ms: found.duration_ms,
        }
    }
}

fn summary(found: &VerifyFinding) -> String {
    let comparison = &found.comparison;
    let (there, here) = (comparison.remote.0, comparison.local.0);
    let by = comparison.method.in_words();
    if comparison.are_equal {
        return match there {
            1 => format!("Both sides hold the same meter, verified by {by}."),
            _ => format!("Both sides hold the same {there} meters, verified by {by}."),
        };
    }
    let differing = match found.differing {
        Some(1) => " in 1 meter".to_owned(),
        Some(meters) => format!(" in {meters} meters"),
        None => String::new(),
    };
    let why = match comparison.is_unexplained {
        true => ", although no row has changed since the last sync",
        false => "",
    };
    format!(
        "Both sides differ{differing}{why}: the remote has {there} meters and the local side {here}, verified by {by}."
    )
}

fn next_step(found: &VerifyFinding) -> &'static str {
    match found {
        VerifyFinding { comparison, .. } if comparison.are_equal => "Nothing to do.",
        VerifyFinding { comparison, .. } if comparison.is_unexplained => CORRECT,
        VerifyFinding {
            was_disturbed: true,
            ..
        } => "Syncs ended during the verification. Verify again while none is running.",
        VerifyFinding { .. } => {
            "What has changed since the last sync may explain it. A dry run shows what differs. Sync, then verify again."
        }
    }
}

/// What to do about a difference that no change explains.
const CORRECT: &str = "\
The next sync compares contents and corrects the meters. Sync, verify again, and report this error of meter-sync.";

/// The message about a difference that no change explains, for the log and for the status.
pub(crate) const UNEXPLAINED: &str = "\
A comparison found that both sides differ although no row had changed since the last sync: an error of meter-sync. Sync, \
run `meter-sync verify`, and report it.";

/// The message about contents of which no digest can be computed.
pub(crate) const INCOMPARABLE: &str = "\
The contents of both sides cannot be compared by digests: a remote value does not become a value of its local column's \
type. Mend the remote row or the type, or leave the column out of METER_SYNC_COLUMNS.";

/// The message about differing contents whose differing rows were not found.
pub(crate) const UNFOUND: &str = "\
The contents of both sides differ, and in which rows could not be found out in time. Raise METER_SYNC_STATEMENT_TIMEOUT; \
a later run tries again.";
