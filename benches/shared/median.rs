//! The middle of what was measured.

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let middle = (sorted.get(last / 2)?, sorted.get(last.div_ceil(2))?);
    Some((middle.0 + middle.1) / 2.0)
}
