//! Tells which types of key columns are exact, so that keys can be compared without the local table's own operators: by
//! their buckets, or by their texts.

use crate::db::catalog::Column;

/// The types whose equal values are identical and have only one text.
const ONE_TEXT: &[&str] = &["smallint", "integer", "bigint", "uuid", "date", "inet"];
/// More types whose equal values are identical.
const EXACT: &[&str] = &[
    "text",
    "character varying",
    "timestamp without time zone",
    "timestamp with time zone",
];

/// Whether two local values of the key column that compare equal are always stored identically. If not, the key of a
/// local meter may be equal to a remote key that is spelt differently and therefore lies in another bucket.
pub(in crate::engine) fn is_exact(there: &Column, here: &Column) -> bool {
    let type_ = here.base_type.as_str();
    // `varchar(n)` cuts off blanks beyond its length.
    let is_limited = type_ == "character varying" && here.exact_type != type_;
    here.is_deterministic
        && (ONE_TEXT.contains(&type_) || EXACT.contains(&type_))
        && (!is_limited || has_one_text(there, here))
}

/// Whether two remote values of the key column that convert to the same local value always have the same text on the
/// remote, too.
pub(in crate::engine) fn has_one_text(there: &Column, here: &Column) -> bool {
    let is_limited = here.exact_type != here.base_type;
    let is_lossy = match here.base_type.as_str() {
        "real" | "double precision" | "cidr" => true,
        "numeric" => is_limited,
        _ => false,
    };
    there.exact_type == here.exact_type || ONE_TEXT.contains(&there.base_type.as_str()) && !is_lossy
}
