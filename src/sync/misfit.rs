//! Says which value of a row does not fit its column. The server names it only in words.

use crate::db::{DbError, Local, RowFault, Tx, param};

use super::convert::values;
use super::rejected::{self, Tried};
use super::{Shape, reasons};

/// The reason of a row of the text staging table: the columns are halved until the one at fault stands alone.
pub(super) async fn reason(
    local: &Tx<'_, Local>,
    shape: &Shape,
    (row, fault): (i64, RowFault),
) -> Result<String, DbError> {
    let mut names = shape.names.as_slice();
    let mut fault = fault;
    while names.len() > 1 {
        let (left, right) = names.split_at(names.len() / 2);
        names = right;
        for half in [left, right] {
            if let Some(found) = tried(local, shape, half, row).await? {
                (names, fault) = (half, found);
                break;
            }
        }
    }
    let Some(name) = names.first() else {
        return Ok(reasons::plain(&fault));
    };
    let sql = format!(
        "-- look up the value that does not fit
select pg_catalog.left({}::text, {} + 1) from pg_temp.meter_sync_text t where t.n = $1",
        shape.column("t", name),
        reasons::SHOWN
    );
    let value = local.query_one(&sql, &[param::bigint(row)]).await?;
    reasons::of_value(local, shape, &fault, (name, value.get(0))).await
}

/// What keeps these values of the row out, if anything does.
async fn tried(
    local: &Tx<'_, Local>,
    shape: &Shape,
    names: &[String],
    row: i64,
) -> Result<Option<RowFault>, DbError> {
    let (columns, values) = (shape.places(names), values(shape, names));
    let sql = format!(
        "-- try some values
insert into pg_temp.meter_sync_stage ({columns}) select {} from {} where t.n = $1",
        values.list, values.from
    );
    let tried = rejected::attempt(local, async {
        local.execute(&sql, &[param::bigint(row)]).await?;
        Ok(Tried::NotTaken(Box::new(RowFault::skipped())))
    });
    Ok(match tried.await? {
        Tried::NotTaken(fault) if !fault.is_skip() => Some(*fault),
        Tried::NotTaken(_) | Tried::Taken => None,
    })
}
