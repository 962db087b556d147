//! Which rows a sync compares value by value.

/// Which rows a sync is to compare value by value.
#[derive(Clone, Debug, Default)]
pub enum RowsToCompare {
    /// Rows whose row versions or hashes differ. All rows if such rows cannot be found or are too many, or if a column
    /// of a small table is synced for the first time.
    #[default]
    Differences,
    /// The rows of `Differences`, and also these rows, which [`compare`](super::compare) found to differ.
    Also(RowSelection),
    /// All rows.
    Everything,
}

/// The rows to stage and compare value by value. All other rows are known to be equal.
#[derive(Clone, Debug)]
pub struct RowSelection {
    /// How many rows of the tenant the remote has, selected or not. `None` if all rows are selected: they are counted
    /// while they are read.
    pub(crate) remote_rows: Option<i64>,
    /// The SQL condition that selects remote rows, with the alias `r`.
    pub(crate) remote: String,
    /// The SQL condition that selects local rows, with the alias `l`.
    pub(crate) local: String,
    /// Whether both sides have the same keys, except for inactive local rows with a tombstone (known to be gone from
    /// the remote). No meter is then to be inserted or deactivated because the other side lacks it, and no remote key
    /// occurs twice. If false, it is not known. Known from sums of hashes, so it is wrong with a probability of 2^-64.
    pub(crate) has_same_keys: bool,
}

impl RowSelection {
    pub(super) fn everything() -> Self {
        Self {
            remote_rows: None,
            remote: "true".to_owned(),
            local: "true".to_owned(),
            has_same_keys: false,
        }
    }

    /// Whether the selection has no local rows, so that the plan cannot deactivate any meter.
    pub(super) fn has_no_local_rows(&self) -> bool {
        self.local == "false"
    }

    pub(super) fn nothing(remote_rows: i64) -> Self {
        Self {
            remote_rows: Some(remote_rows),
            remote: "false".to_owned(),
            local: "false".to_owned(),
            has_same_keys: false,
        }
    }

    /// Returns the union of both selections.
    pub(super) fn or(self, other: &Self) -> Self {
        Self {
            remote_rows: self.remote_rows,
            remote: format!("({} or {})", self.remote, other.remote),
            local: format!("({} or {})", self.local, other.local),
            has_same_keys: self.has_same_keys,
        }
    }
}
