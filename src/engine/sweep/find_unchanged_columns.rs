//! Finds the mirrors whose columns are settled: the columns that the last run recorded agree with the current ones,
//! so that a run would record nothing new about them.

use super::SweptMirror;
use crate::db::{DbError, Local, Tx};
use crate::engine::{Relations, column_drift};
use crate::store::recorded_columns;
use crate::store::unchanged_mirrors::MirrorKey;

/// Returns for each mirror whether its columns are settled: a run would record nothing new about them. `relations`
/// returns the relations of the mirror at an index in `mirrors`. A mirror without relations or without recorded columns
/// is not settled. Most mirrors share the same recorded columns, which are read only once.
pub(super) async fn of_mirrors<'r>(
    local: &Tx<'_, Local>,
    mirrors: &[SweptMirror<'_>],
    relations: impl Fn(usize) -> Option<&'r Relations>,
) -> Result<Vec<bool>, DbError> {
    let keys: Vec<&MirrorKey> = mirrors.iter().map(|one| one.key).collect();
    let mut settled = vec![false; mirrors.len()];
    for group in recorded_columns::groups(local, &keys).await? {
        // Mirrors that share their relations follow each other, and are compared once.
        let mut last: Option<(&Relations, bool)> = None;
        for index in group.places {
            let (Some(mirror), Some(relations)) = (mirrors.get(index), relations(index)) else {
                continue;
            };
            let is_settled = match last {
                Some((known, is_settled)) if std::ptr::eq(known, relations) => is_settled,
                _ => !column_drift::compare(&group.known, relations, mirror.mapping).is_changed,
            };
            last = Some((relations, is_settled));
            if let Some(known) = settled.get_mut(index) {
                *known = is_settled;
            }
        }
    }
    Ok(settled)
}
