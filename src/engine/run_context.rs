//! Defines [`RunContext`], the data that the steps of a sync share.

use crate::db::{Local, Tx};

use super::{ProgressSender, Relations, SyncJob, TenantFilters};

/// The data that the steps of a sync share: the local transaction, what to sync, and the channel for progress.
///
/// The remote transaction is not part of the context, because it ends before the plan is made. Steps that read from the
/// remote take it as an argument of their own.
#[derive(Clone, Copy)]
pub(in crate::engine) struct RunContext<'a> {
    /// The local transaction.
    pub(in crate::engine) local: &'a Tx<'a, Local>,
    /// The remote and the local table, their synced columns and the key.
    pub(in crate::engine) relations: &'a Relations,
    /// The conditions that select the tenant's rows in both tables.
    pub(in crate::engine) scope: &'a TenantFilters,
    /// The settings and limits of the run.
    pub(in crate::engine) job: &'a SyncJob<'a>,
    /// The channel on which progress is published.
    pub(in crate::engine) observer: &'a ProgressSender,
}

impl<'a> RunContext<'a> {
    /// Returns a copy of this context with these `relations` instead. Used after facts about the tables were looked up
    /// again.
    pub(in crate::engine) fn with_relations(&self, relations: &'a Relations) -> Self {
        Self { relations, ..*self }
    }
}
