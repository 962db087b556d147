//! Foreign keys to tables that themselves refer to a table: how far a change of a value reaches.

use super::exclusive::{Reference, references};
use super::{DbError, Side, Tx};

/// Foreign keys one behind the other; the first refers to the table itself.
pub type Path = Vec<Reference>;

/// Longer paths are not followed.
const LONGEST: usize = 8;

/// The paths of two and more foreign keys at whose end rows lose what they refer to when a value of the table changes for a
/// moment: somewhere on the way null or a default is set. The path must be pinned.
pub async fn losing<S: Side>(tx: &Tx<'_, S>, direct: &[Reference]) -> Result<Vec<Path>, DbError> {
    let mut losing = Vec::new();
    let others = direct.iter().filter(|reference| !reference.is_own);
    let mut open: Vec<Path> = others
        .filter(|first| passes_on(first))
        .map(|first| vec![first.clone()])
        .collect();
    while let Some(path) = open.pop() {
        let Some(last) = path.last().filter(|_| path.len() < LONGEST) else {
            continue;
        };
        for next in references(tx, last.table_oid).await? {
            let is_reached = next
                .columns
                .iter()
                .any(|(_, to)| last.columns.iter().any(|(from, _)| from == to));
            let is_known = path.iter().any(|known| known.name == next.name);
            if !is_reached || is_known || !passes_on(&next) {
                continue;
            }
            let mut longer = path.clone();
            longer.push(next);
            if longer.iter().any(Reference::forgets) {
                losing.push(longer.clone());
            }
            open.push(longer);
        }
    }
    Ok(losing)
}

/// Whether a change reaches the rows that refer, and is not refused.
fn passes_on(reference: &Reference) -> bool {
    reference.on_update == "c" || reference.forgets()
}
