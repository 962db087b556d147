//! What the log cannot tell: which runs it may have lost, and which values it has only in part.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::mirrors::Mirror;
use crate::model::{LONGEST_RECORDED, MeterFields};

/// The sentence about values that the log has cut.
pub(super) const CUT: &str = " Values of more than 10,000 characters are cut in the log.";

/// The sentence about changes that the log no longer has.
pub(super) const LOST: &str =
    " The log no longer has each change (METER_SYNC_CHANGE_LIMIT, METER_SYNC_KEEP_RUNS).";

impl Mirror {
    /// The time since which the log has all runs. It may have lost earlier ones. `None` if no run is ever deleted.
    pub(super) fn kept_since(&self) -> Option<DateTime<Utc>> {
        let keep = TimeDelta::from_std(self.config().limits.keep_runs?).ok()?;
        self.now().checked_sub_signed(keep)
    }
}

/// Whether the log has cut a value of these fields.
pub(super) fn has_cut_value(fields: &MeterFields) -> bool {
    fields.values().any(is_cut)
}

/// Whether the log has cut the value.
pub(super) fn is_cut(value: &Value) -> bool {
    let kept = value.as_str().and_then(|text| text.strip_suffix("..."));
    kept.is_some_and(|kept| kept.chars().count() == LONGEST_RECORDED as usize)
}
