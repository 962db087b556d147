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

/// One run as the log holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// Its id.
    pub run_id: RunId,
    /// What asked for it.
    pub trigger: Trigger,
    /// Who asked for it, as far as the surface knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why, in the words of who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it only planned.
    pub dry_run: bool,
    /// Its place in the order of runs, which the local database gives; `None` where it has none (yet).
    #[serde(skip)]
    pub seq: Option<i64>,
    /// When it started, by the local database's clock.
    pub started_at: DateTime<Utc>,
    /// When it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// How it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What it changed.
    pub counts: Counts,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The run further up whose `error` is this run's, too, and is not repeated. For the status tool alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_error_as: Option<RunId>,
    /// Bytes of row data read from the remote.
    pub remote_bytes: i64,
    /// Whether the log holds fewer changes than were made, by `METER_SYNC_CHANGE_LIMIT` or `METER_SYNC_KEEP_RUNS`.
    pub changes_truncated: bool,
    /// What deserves attention though the run did what it was to do.
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
