//! Finds the mirrors whose recorded columns agree with the columns of today, so that a run would record nothing new about
//! them.

use super::SweptMirror;
use crate::db::{DbError, Local, Tx};
use crate::engine::{Relations, drift};
use crate::store::columns;
use crate::store::unchanged_mirrors::MirrorKey;

/// Tells of each mirror whether its recorded columns agree with its relations, which `relations` returns by the mirror's
/// place. A mirror without relations or without recorded columns is not settled. Most mirrors have equal recorded columns,
/// so few are read.
pub(super) async fn of_mirrors<'r>(
    local: &Tx<'_, Local>,
    mirrors: &[SweptMirror<'_>],
    relations: impl Fn(usize) -> Option<&'r Relations>,
) -> Result<Vec<bool>, DbError> {
    let keys: Vec<MirrorKey> = mirrors.iter().map(|one| one.key.clone()).collect();
    let mut settled = vec![false; mirrors.len()];
    for group in columns::groups(local, &keys).await? {
        // Mirrors that share their relations follow each other, and are compared once.
        let mut last: Option<(&Relations, bool)> = None;
        for place in group.places {
            let (Some(mirror), Some(relations)) = (mirrors.get(place), relations(place)) else {
                continue;
            };
            let is_settled = match last {
                Some((known, is_settled)) if std::ptr::eq(known, relations) => is_settled,
                _ => !drift::compare(&group.known, relations, mirror.mapping).is_changed,
            };
            last = Some((relations, is_settled));
            if let Some(known) = settled.get_mut(place) {
                *known = is_settled;
            }
        }
    }
    Ok(settled)
}
