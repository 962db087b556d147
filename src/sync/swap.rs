//! Rows that wait for each other's unique values: A is to get B's serial number and B A's.
//!
//! Postgres checks a unique index row by row, so no order of updates gets there. The rows concerned
//! give up their unique values for a moment, inside the transaction, and then take the new ones.

use crate::db::{DbError, Local, Tx, param, quote};

use super::Shape;
use super::apply::write;
use super::plan::Step;
use super::rejected::{self, Rows, Tried};

/// How often rows that are at fault by themselves are left out and the others tried again.
const ATTEMPTS: usize = 5;

/// Tries to update the plan's rows `waiting` together; gives back those that are in.
pub(super) async fn untangle(
    local: &Tx<'_, Local>,
    shape: &Shape,
    mut waiting: Vec<i64>,
) -> Result<Vec<i64>, DbError> {
    for _ in 0..ATTEMPTS {
        if shape.vacatable.is_empty() || waiting.len() < 2 {
            break;
        }
        let mut at_fault = Vec::new();
        let tried = rejected::attempt(local, exchange(local, shape, &waiting, &mut at_fault));
        match tried.await? {
            Tried::Taken => return Ok(waiting),
            Tried::NotTaken(_) if at_fault.is_empty() => break,
            Tried::NotTaken(_) => waiting.retain(|n| !at_fault.contains(n)),
        }
    }
    Ok(Vec::new())
}

/// Takes the rows' unique values away and writes each row anew; unless all are taken, `at_fault` names
/// those that are not and the caller undoes it.
async fn exchange(
    local: &Tx<'_, Local>,
    shape: &Shape,
    waiting: &[i64],
    at_fault: &mut Vec<i64>,
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
where {local_row} and {local_filter} and p.n = any ($1)"
    );
    local.execute(&vacate, &[param::bigints(waiting)]).await?;
    let write = write(shape, Step::Change);
    let mut tried = Tried::Taken;
    for &n in waiting {
        let row = write.run(local, Rows { first: n, last: n });
        if let Tried::NotTaken(reason) = rejected::attempt(local, row).await? {
            at_fault.push(n);
            tried = Tried::NotTaken(reason);
        }
    }
    Ok(tried)
}
