//! What may be concluded from keys that are compared without asking the local table.

use crate::db::catalog::Column;

/// Types whose values are equal only if they are the same, and are written in one way.
const ONE_TEXT: &[&str] = &["smallint", "integer", "bigint", "uuid", "date", "inet"];
/// Further types whose values are equal only if they are the same.
const EXACT: &[&str] = &[
    "text",
    "character varying",
    "timestamp without time zone",
    "timestamp with time zone",
];

/// Whether keys of the column that are equal here are the same: else a meter may be found under another key
/// than the remote's, in another bucket.
pub(super) fn is_exact(there: &Column, here: &Column) -> bool {
    let type_ = here.base_type.as_str();
    // With a limit, blanks beyond it are cut off.
    let is_limited = type_ == "character varying" && here.exact_type != type_;
    here.is_deterministic
        && (ONE_TEXT.contains(&type_) || EXACT.contains(&type_))
        && (!is_limited || has_one_text(there, here))
}

/// Whether remote keys of the column that become the same here are written in the same way there.
pub(super) fn has_one_text(there: &Column, here: &Column) -> bool {
    let is_limited = here.exact_type != here.base_type;
    let is_lossy = match here.base_type.as_str() {
        "real" | "double precision" | "cidr" => true,
        "numeric" => is_limited,
        _ => false,
    };
    there.exact_type == here.exact_type || ONE_TEXT.contains(&there.base_type.as_str()) && !is_lossy
}
