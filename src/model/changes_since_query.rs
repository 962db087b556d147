//! The query for the changes that all runs have made since a time.

use chrono::{DateTime, Utc};

use super::{ChangeAction, ChangeCursor};

/// The query for one page of the changes that runs have made since a time.
#[derive(Clone, Copy, Debug)]
pub struct ChangesSinceQuery<'a> {
    /// The time.
    pub since: DateTime<Utc>,
    /// The page has only changes of these kinds; empty means of all kinds.
    pub kinds: &'a [ChangeAction],
    /// The last change of the page before; `None` for the first page.
    pub before: Option<ChangeCursor>,
    /// The maximum number of changes to list.
    pub limit: u32,
}
