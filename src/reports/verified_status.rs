//! What a status tells of the last proof that both sides are equal.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::ProofMethod;
use crate::store::proofs::LatestProofs;

/// The last proof that both sides hold the same meters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifiedStatus {
    /// When the run or sweep ended, or the comparison began.
    pub at: DateTime<Utc>,
    /// What was compared.
    pub by: ProofMethod,
    /// How many meters the remote had.
    pub meters: i64,
    /// The digest of all contents, equal on both sides; absent unless one was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl VerifiedStatus {
    /// Returns the newest of the proofs. `checked_at` is when a sweep last found the mirror unchanged. A sweep compares
    /// as the runs of the mirror do: by versions, or by contents where versions prove nothing.
    pub(crate) fn newest(proofs: &LatestProofs, checked_at: Option<DateTime<Utc>>) -> Option<Self> {
        let run = proofs.run.map(|run| Self {
            at: run.at,
            by: run.method,
            meters: run.meters,
            digest: None,
        });
        let swept = run.as_ref().zip(checked_at);
        let swept = swept.filter(|(run, at)| run.by != ProofMethod::EveryValue && run.at < *at);
        let swept = swept.map(|(run, at)| Self { at, ..run.clone() });
        let comparison = proofs.comparison.as_ref();
        let compared = comparison.filter(|(_, comparison)| comparison.are_equal);
        let compared = compared.map(|(at, comparison)| Self {
            at: *at,
            by: comparison.method,
            meters: comparison.remote.0,
            digest: Some(comparison.remote.1.clone()),
        });
        [run, swept, compared]
            .into_iter()
            .flatten()
            .max_by_key(|proof| proof.at)
    }
}
