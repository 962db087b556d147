//! Finds chains of foreign keys that lead to a table. An update of a value in this table may change rows of other
//! tables through such a chain.

use super::incoming_foreign_keys::{IncomingForeignKey, references};
use super::{DbError, Side, Tx};

/// A chain of foreign keys that leads to a table. The first foreign key refers to that table. Each further one refers
/// to the table that has the previous foreign key.
pub type ForeignKeyChain = Vec<IncomingForeignKey>;

/// The maximum number of foreign keys in a chain. Longer chains are not looked for.
const LONGEST: usize = 8;

/// Finds the chains of two or more foreign keys through which a change of a value in a table makes rows of other tables
/// lose their reference, even if the value changes back. In such a chain, at least one foreign key sets null or a
/// default. `direct` lists the foreign keys that refer to the table. The caller must have pinned the search path (see
/// [`Tx::pin_path`]).
pub async fn losing<S: Side>(
    tx: &Tx<'_, S>,
    direct: &[IncomingForeignKey],
) -> Result<Vec<ForeignKeyChain>, DbError> {
    let mut losing = Vec::new();
    let others = direct.iter().filter(|reference| !reference.is_own);
    let mut open: Vec<ForeignKeyChain> = others
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
            if longer.iter().any(IncomingForeignKey::clears_reference) {
                losing.push(longer.clone());
            }
            open.push(longer);
        }
    }
    Ok(losing)
}

/// Whether a change of the referenced value changes the referring rows instead of being refused.
fn passes_on(reference: &IncomingForeignKey) -> bool {
    reference.on_update == "c" || reference.clears_reference()
}
