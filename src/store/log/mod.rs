//! The table `meter_sync_log`: one row for each run.

use crate::db::param::{self, Param};
use crate::model::TenantId;

pub use contents_comparisons::{
    ComparisonAfterRun, LastComparisonTimes, compared_after, compared_mirrors, last_looks,
    was_compared_since,
};
pub use read::{
    LoggedRunDetails, by_id, by_idempotency_key, details, ended_after, last_finished, last_success,
    last_tenant, last_tenants, newest, page, running,
};
pub use request_cancellation::{ask_to_cancel, is_asked_to_cancel};
pub use write::{RunEnd, finish, mark_interrupted, start};

mod contents_comparisons;
mod read;
mod request_cancellation;
mod write;

/// Selects a part of the log: the runs of a table, and of one tenant if the tenant is known.
#[derive(Clone, Copy, Debug)]
pub struct LogFilter<'a> {
    /// The local table, with its schema, quoted where needed.
    pub local_table: &'a str,
    /// The tenant's id, in its canonical spelling; `None` if the tenant is not known.
    pub tenant: Option<&'a TenantId>,
    /// Whether the log has the column `seq`, which numbers the runs. A log that an earlier version created lacks it
    /// until this version has run its migrations.
    pub has_run_numbers: bool,
}

impl LogFilter<'_> {
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
