//! Tells which types of key columns are exact: they always store equal values identically. Keys of such types can be
//! compared by hashes or by their texts, without the equality operator of the local type.

use crate::db::catalog::Column;

/// The types in which equal values are always stored identically and written as the same text.
const ONE_TEXT: &[&str] = &["smallint", "integer", "bigint", "uuid", "date", "inet"];
/// Further types in which equal values are always stored identically.
const EXACT: &[&str] = &[
    "text",
    "character varying",
    "timestamp without time zone",
    "timestamp with time zone",
];

/// Whether two local values of the key column that compare equal are always stored identically. If they are not, the
/// two sides may store equal keys in different forms, which have different hashes. `there` is the remote column, `here`
/// the local one.
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
