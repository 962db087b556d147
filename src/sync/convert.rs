//! The second way to stage rows, for when a value does not fit its local type: all values as text,
//! converted set by set, the rows at fault set aside.

use crate::db::{DbError, Local, Remote, Tx, json, param, quote};
use crate::meter::{Fields, Rejection};

use super::format::Format;
use super::read::{Staged, Target, relay};
use super::rejected::{self, PerRow, Rows, Tried};
use super::{Extent, Job, Observer, Shape, SyncError, misfit, reasons};

/// Stages the tenant's rows by way of text.
pub(super) async fn stage_as_text(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    (shape, extent): (&Shape, &Extent),
    job: &Job<'_>,
    observer: &Observer,
) -> Result<Staged, SyncError> {
    let columns = quote::list(&shape.names, ", ", |name| {
        format!("{} text", shape.place(name))
    });
    local
        .batch(&format!(
            "-- create the text staging table
create temp table meter_sync_text ({columns}, n bigint generated always as identity) on commit drop"
        ))
        .await?;
    let to = (Target::Temporary("pg_temp.meter_sync_text"), Format::Text);
    let rows = relay((remote, local), (shape, extent), to, job, observer).await?;
    let columns = shape.places(&shape.names);
    let values = casts(shape, &shape.names);
    let limit = job.limits.rejected_limit as usize;
    let convert = PerRow {
        sql: format!(
            "-- convert the staged rows
insert into pg_temp.meter_sync_stage ({columns}) select {values} from pg_temp.meter_sync_text t
where t.n >= $1 and t.n <= $2"
        ),
    };
    let all = Rows {
        first: 1,
        last: rows,
    };
    let bad = rejected::all_but_the_bad(local, vec![all], limit, INDEX, &convert);
    let bad = bad.await?.map_err(|fault| SyncError::TooManyRejected {
        tenant: job.tenant.clone(),
        limit,
        reason: reasons::plain(&fault),
    })?;
    let mut staged = Staged {
        rows: extent.remote_rows.unwrap_or(rows),
        rejected: Vec::with_capacity(bad.len()),
        unidentified: 0,
        may_be_hidden: false,
    };
    for (row, fault) in bad {
        let reason = misfit::reason(local, shape, (row, fault)).await?;
        let (key, is_known) = set_aside(local, shape, row).await?;
        staged.rejected.push(Rejection { key, reason });
        staged.unidentified += i64::from(!is_known);
    }
    Ok(staged)
}

/// Rows are looked up by their number once and again while those at fault are found.
const INDEX: &str = "\
-- index the text staging table
create index on pg_temp.meter_sync_text (n);
analyze pg_temp.meter_sync_text (n)";

/// The columns of the text table `t`, each as its local type. The cast is to the bare type; length and
/// precision are left to the assignment, which refuses what an explicit cast would cut off
/// (<https://www.postgresql.org/docs/current/typeconv-query.html>).
pub(super) fn casts(shape: &Shape, names: &[String]) -> String {
    quote::list(names, ", ", |name| {
        let column = shape.columns.iter().find(|column| column.name == name);
        let base_type = column.map_or("text", |column| column.base_type.as_str());
        format!("{}::{base_type}", shape.column("t", name))
    })
}

/// Remembers the key of a row that was set aside, so that its meter does not count as gone; gives the
/// key, and whether a local row could have it.
async fn set_aside(
    local: &Tx<'_, Local>,
    shape: &Shape,
    row: i64,
) -> Result<(Fields, bool), DbError> {
    let key = shape.places(&shape.key);
    let values = casts(shape, &shape.key);
    let remember = format!(
        "-- set a row aside
insert into pg_temp.meter_sync_aside as a ({key})
select {values} from pg_temp.meter_sync_text t where t.n = $1
returning {}::text, {}",
        shape.key_json("a"),
        shape.has_key("a")
    );
    let mut found = None;
    let tried = rejected::attempt(local, async {
        found = Some(local.query_one(&remember, &[param::bigint(row)]).await?);
        Ok(Tried::Taken)
    });
    if let (Tried::Taken, Some(key)) = (tried.await?, found) {
        return Ok((json::fields(key.get(0)), key.get(1)));
    }
    // A key that does not convert cannot be the key of any local row; it is named as it came.
    let name = format!(
        "-- name the rejected row
select {}::text from pg_temp.meter_sync_text t where t.n = $1",
        shape.key_json("t")
    );
    let named = local.query_one(&name, &[param::bigint(row)]).await?;
    Ok((json::fields(named.get(0)), false))
}
