//! Converts the element numbers that `unnest(..) with ordinality` returns to array indexes.

/// Converts the number of an array element, which Postgres counts from 1, to an index, counted from 0. A number below 1
/// gives `usize::MAX`, which is never a valid index.
pub fn index(n: i64) -> usize {
    usize::try_from(n - 1).unwrap_or(usize::MAX)
}
