//! The context that every step of a sync works with.

use crate::db::{Local, Tx};

use super::{Job, Observer, Relations, Scope};

/// The local transaction of a sync, the tables and rows that are synced, and the channel for progress.
///
/// The remote transaction is not part of the context, because it ends before the plan is made. Steps that read from the
/// remote take it as an argument of their own.
#[derive(Clone, Copy)]
pub(in crate::engine) struct RunContext<'a> {
    /// The local transaction.
    pub(in crate::engine) local: &'a Tx<'a, Local>,
    /// The two tables.
    pub(in crate::engine) relations: &'a Relations,
    /// The tenant's rows in the two tables.
    pub(in crate::engine) scope: &'a Scope,
    /// The settings and limits of the run.
    pub(in crate::engine) job: &'a Job<'a>,
    /// The channel on which progress is published.
    pub(in crate::engine) observer: &'a Observer,
}

impl<'a> RunContext<'a> {
    /// Returns a copy of this context with other relations, for instance because more is known about the tables now.
    pub(in crate::engine) fn with_relations(&self, relations: &'a Relations) -> Self {
        Self { relations, ..*self }
    }
}
