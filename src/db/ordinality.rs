//! Reads the numbers of rows from `unnest(..) with ordinality`.

/// The place, counted from 0, of the array element with the number `n`, which Postgres counts from 1. A number below 1 is
/// the place of no element.
pub fn place(n: i64) -> usize {
    usize::try_from(n - 1).unwrap_or(usize::MAX)
}
