//! Rows that wait for each other's unique values: A is to get B's serial number and B A's.
//!
//! Postgres checks a unique index row by row, so no order of updates gets there. The rows concerned
//! give up their unique values for a moment, inside the transaction, and then take the new ones.

use crate::db::{DbError, Local, Tx, param, quote};

use super::Shape;
use super::apply::Write;
use super::plan::Step;
use super::rejected::{self, Rows, Tried};

/// A ring of more rows than this is left rejected; a real exchange of devices has two or three.
const LONGEST: usize = 50;

/// Tries to update the plan's rows `waiting` together; gives back those that are in. A row that is
/// at fault by itself is left out and the others tried again.
pub(super) async fn untangle(
    local: &Tx<'_, Local>,
    shape: &Shape,
    mut waiting: Vec<i64>,
) -> Result<Vec<i64>, DbError> {
    if shape.vacatable.is_empty() || waiting.len() > LONGEST {
        return Ok(Vec::new());
    }
    while waiting.len() > 1 {
        let mut at_fault = None;
        let tried = rejected::attempt(local, exchange(local, shape, &waiting, &mut at_fault));
        match (tried.await?, at_fault) {
            (Tried::Taken, _) => return Ok(waiting),
            (Tried::NotTaken(_), Some(n)) => waiting.retain(|row| *row != n),
            (Tried::NotTaken(_), None) => break,
        }
    }
    Ok(Vec::new())
}

async fn exchange(
    local: &Tx<'_, Local>,
    shape: &Shape,
    waiting: &[i64],
    at_fault: &mut Option<i64>,
) -> Result<Tried, DbError> {
    let Shape {
        local: table,
        local_filter,
        ..
    } = shape;
    let local_row = shape.same_key("l", "p");
    let empty = quote::list(&shape.vacatable, ", ", |name| {
        format!("{} = null", quote::identifier(name))
    });
    let vacate = format!(
        "-- give up unique values
update {table} l set {empty} from pg_temp.meter_sync_plan p
where {local_row} and {local_filter} and p.\"meter_sync n\" = any ($1)"
    );
    local.execute(&vacate, &[param::bigints(waiting)]).await?;
    let write = Write::new(shape, Step::Change);
    for &n in waiting {
        *at_fault = Some(n);
        if let Tried::NotTaken(reason) = write.run(local, Rows { first: n, last: n }).await? {
            return Ok(Tried::NotTaken(reason));
        }
    }
    Ok(Tried::Taken)
}
