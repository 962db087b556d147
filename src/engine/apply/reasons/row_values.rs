//! Formats the values of rejected rows for people to read.

use std::collections::HashMap;

use crate::db::{DbError, param, quote};

use crate::engine::why_value_refused::{SHOWN, quoted};
use crate::engine::{RunContext, copy_distributed_rows};

/// Returns a text for each of these planned rows: `name "value", ...`, with the values that the row was to get in these
/// columns. Columns that are not synced are left out. If none is left, the text is `the row`.
pub(in crate::engine) async fn named(
    run: &RunContext<'_>,
    rows: &[i64],
    columns: &[String],
) -> Result<HashMap<i64, String>, DbError> {
    let relations = run.relations;
    let known = columns.iter().filter(|name| relations.names.contains(name));
    let known: Vec<&String> = known.collect();
    if known.is_empty() {
        return Ok(rows.iter().map(|n| (*n, "the row".to_owned())).collect());
    }
    let texts = quote::list(known.iter().copied(), ", ", |name| {
        let here = match *name == relations.active {
            true => "false".to_owned(),
            false => relations.column("l", name),
        };
        let staged = relations.column("s", name);
        let text = format!("case when p.step = 0 then {here}::text else {staged}::text end");
        format!("pg_catalog.left({text}, {SHOWN} + 1)")
    });
    let (staged_row, local_row) = (relations.same_key("s", "p"), relations.same_key("l", "p"));
    let (local_rows, filter) = (run.relations.local_rows(), &run.scope.local_filter);
    let sql = format!(
        "-- look up the values of rejected rows
select p.n, array[{texts}] from pg_temp.meter_sync_plan p
left join pg_temp.meter_sync_stage s on {staged_row}
left join {local_rows} on {local_row} and {filter} where p.n {} any ($1)",
        quote::EQUALS
    );
    copy_distributed_rows::copy_planned(run).await?;
    let found = run.local.query(&sql, &[param::bigints(rows)]).await?;
    let named = found.iter().map(|row| {
        let texts: Vec<Option<String>> = row.get(1);
        let pairs = known.iter().zip(&texts);
        let pairs = pairs.map(|(name, text)| format!("{name} {}", quoted(text.as_deref())));
        let pairs: Vec<String> = pairs.collect();
        (row.get(0), pairs.join(", "))
    });
    Ok(named.collect())
}

/// Returns the text that [`named`] makes, for one row.
pub(in crate::engine) async fn of_one(
    run: &RunContext<'_>,
    n: i64,
    columns: &[String],
) -> Result<String, DbError> {
    let mut named = named(run, &[n], columns).await?;
    Ok(named.remove(&n).unwrap_or_else(|| "the row".to_owned()))
}
