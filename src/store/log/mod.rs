//! The table `meter_sync_log`: one row for each run.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::db::param::{self, Param};
use crate::error::Failure;
use crate::model::{Counts, Outcome, RunId, TenantId, Trigger};

pub use cancellation::{ask_to_cancel, is_asked_to_cancel};
pub use comparisons::{
    LastLooks, compared_after, compared_mirrors, last_looks, was_compared_since,
};
pub use read::{
    LoggedDetails, RunFilter, RunsQuery, by_id, by_idempotency_key, details, ended_after,
    last_finished, last_success, last_tenant, last_tenants, newest, page, running,
};
pub use write::{RunEnd, finish, interrupt, mark_interrupted, start};

mod cancellation;
mod comparisons;
mod read;
mod write;

/// One run: a sync of one tenant's meters, or a dry run of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The run's id.
    pub run_id: RunId,
    /// What requested the run.
    pub trigger: Trigger,
    /// Who requested the run, such as the name of a token, a client or an account; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why the run was requested, in the words of the requester; absent if no reason was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the run only found out what a sync would change, and changed no meter.
    pub dry_run: bool,
    /// The run's number in the order of runs, which the local database assigns; `None` if it has none (yet).
    #[serde(skip)]
    pub seq: Option<i64>,
    /// When the run started, by the local database's clock.
    pub started_at: DateTime<Utc>,
    /// When the run ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// How the run ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// How many meters the run changed (a dry run: would change).
    pub counts: Counts,
    /// Why the run did not succeed, or why a dry run's changes would be refused; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The id of a newer run in this list with the same `error`, which is then absent here (status tool only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_error_as: Option<RunId>,
    /// How many bytes of row data the remote sent.
    pub remote_bytes: i64,
    /// Whether the log has only some of the changes (see `METER_SYNC_CHANGE_LIMIT`, `METER_SYNC_KEEP_RUNS`).
    pub changes_truncated: bool,
    /// What else deserves attention about the run; absent if nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl RunRecord {
    /// Whether this run comes after the other. Compares `seq`, or the start times if one of them has no `seq`.
    pub fn is_after(&self, other: &Self) -> bool {
        match (self.seq, other.seq) {
            (Some(ours), Some(theirs)) => ours > theirs,
            (_, _) => self.started_at > other.started_at,
        }
    }

    /// How long the run took, or has taken at the time `now`, in milliseconds. 0 if a clock was set back meanwhile.
    pub fn duration_ms(&self, now: DateTime<Utc>) -> i64 {
        let duration = self.finished_at.unwrap_or(now) - self.started_at;
        duration.num_milliseconds().max(0)
    }
}

/// Selects a part of the log: the runs of a table, and of one tenant if the tenant is known.
#[derive(Clone, Copy, Debug)]
pub struct LogKey<'a> {
    /// The local table, with its schema, quoted where needed.
    pub local_table: &'a str,
    /// The tenant's id, in its canonical spelling; `None` if the tenant is not known.
    pub tenant: Option<&'a TenantId>,
    /// Whether the log has the column `seq`, which numbers the runs. A log that an earlier version created lacks it
    /// until this version has run its migrations.
    pub has_run_numbers: bool,
}

impl LogKey<'_> {
    pub(super) fn params(&self) -> [Param<'_>; 2] {
        [
            param::text(self.local_table),
            param::text(self.tenant.map(TenantId::as_str)),
        ]
    }

    /// Returns the parameters of a statement: `$1` is the local table, `$2` is the tenant, and `more` follows from `$3`
    /// on.
    pub(super) fn with<'a, const N: usize>(&'a self, more: [Param<'a>; N]) -> Vec<Param<'a>> {
        self.params().into_iter().chain(more).collect()
    }

    /// Returns the `order by` expression that lists the newest run first.
    fn newest_first(self) -> &'static str {
        match self.has_run_numbers {
            true => "seq desc",
            false => "started_at desc, id desc",
        }
    }
}
