//! Finds out which value of a row cannot be converted to the type of its column, by converting a part of the columns at
//! a time. The server's error does not tell this in a field: it names the value only in the text of its message.

use crate::db::{DbError, RowFault, param};

use super::conversion_sql::values;
use crate::engine::RunContext;
use crate::engine::why_value_refused;
use crate::engine::write_by_halving::{self, WriteAttemptOutcome};

/// Returns the reason why row number `row` of the text table (`meter_sync_text`) does not convert. Halves the set of
/// columns until only the column that does not convert is left. `fault` is the server's error for the whole row.
pub(in crate::engine) async fn reason(
    run: &RunContext<'_>,
    row: i64,
    fault: RowFault,
) -> Result<String, DbError> {
    let mut names = run.relations.names.as_slice();
    let mut fault = fault;
    while names.len() > 1 {
        let (left, right) = names.split_at(names.len() / 2);
        names = right;
        for half in [left, right] {
            if let Some(found) = tried(run, half, row).await? {
                (names, fault) = (half, found);
                break;
            }
        }
    }
    let Some(name) = names.first() else {
        return Ok(why_value_refused::plain(&fault));
    };
    let sql = format!(
        "-- look up the value that does not fit
select pg_catalog.left({}::text, {} + 1) from pg_temp.meter_sync_text t where t.n = $1",
        run.relations.column("t", name),
        why_value_refused::SHOWN
    );
    let value = run.local.query_one(&sql, &[param::bigint(row)]).await?;
    why_value_refused::of_value(run, &fault, name, value.get(0)).await
}

/// Converts the columns `names` of the row and undoes that. Returns the server's error, or `None` if the columns
/// convert.
async fn tried(
    run: &RunContext<'_>,
    names: &[String],
    row: i64,
) -> Result<Option<RowFault>, DbError> {
    let (columns, values) = (
        run.relations.temp_columns(names),
        values(run.relations, names),
    );
    let sql = format!(
        "-- try some values
insert into pg_temp.meter_sync_stage ({columns}) select {} from {} where t.n = $1",
        values.list, values.from
    );
    let tried = write_by_halving::attempt(run.local, async {
        run.local.execute(&sql, &[param::bigint(row)]).await?;
        Ok(WriteAttemptOutcome::NotWritten(Box::new(
            RowFault::skipped(),
        )))
    });
    Ok(match tried.await? {
        WriteAttemptOutcome::NotWritten(fault) if !fault.is_skip() => Some(*fault),
        WriteAttemptOutcome::NotWritten(_) | WriteAttemptOutcome::Written => None,
    })
}
