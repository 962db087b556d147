//! The second way to stage rows, for when a value does not fit its local type: all values as text,
//! converted set by set, the rows at fault set aside.

use crate::db::{DbError, Local, Remote, Tx, quote};
use crate::meter::{Fields, Rejection};

use super::read::{fields, relay};
use super::rejected::{self, Rows, Tried};
use super::{Job, Observer, Shape, SyncError};

/// The column that numbers the rows of the text staging table.
const ROW: &str = "\"meter_sync row\"";

/// Stages the tenant's rows by way of text; gives their number and those that were set aside.
pub(super) async fn stage_as_text(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    observer: &Observer,
) -> Result<(i64, Vec<Rejection>), SyncError> {
    let columns = quote::list(&shape.names, ", ", |name| {
        format!("{} text", quote::identifier(name))
    });
    local
        .batch(&format!(
            "-- create the text staging table
create temp table meter_sync_text ({columns}, {ROW} bigint generated always as identity) on commit drop"
        ))
        .await?;
    let rows = relay(remote, local, shape, "meter_sync_text", observer).await?;
    let columns = quote::columns("", &shape.names);
    let values = casts(shape, &shape.names);
    let limit = job.limits.rejected_limit as usize;
    let all = Rows {
        first: 1,
        last: rows,
    };
    let bad = rejected::all_but_the_bad(local, all, limit, |rows| {
        let sql = format!(
            "-- convert the staged rows
insert into pg_temp.meter_sync_stage ({columns}) select {values} from pg_temp.meter_sync_text t
where t.{ROW} between {} and {}",
            rows.first, rows.last
        );
        async move { local.batch(&sql).await.map(|()| Tried::Taken) }
    })
    .await?
    .map_err(|reason| SyncError::TooManyRejected {
        tenant: job.tenant.clone(),
        limit,
        reason,
    })?;
    let mut rejections = Vec::with_capacity(bad.len());
    for (row, reason) in bad {
        let key = set_aside(local, shape, row).await?;
        rejections.push(Rejection { key, reason });
    }
    Ok((rows, rejections))
}

/// The columns of the text table `t`, each as its local type. The cast is to the bare type; length and
/// precision are left to the assignment, which refuses what an explicit cast would cut off
/// (<https://www.postgresql.org/docs/current/typeconv-query.html>).
fn casts(shape: &Shape, names: &[String]) -> String {
    quote::list(names, ", ", |name| {
        let column = shape.columns.iter().find(|column| column.name == name);
        let base_type = column.map_or("text", |column| column.base_type.as_str());
        format!("t.{}::{base_type}", quote::identifier(name))
    })
}

/// Remembers the key of a row that was set aside, so that its meter does not count as gone.
async fn set_aside(local: &Tx<'_, Local>, shape: &Shape, row: i64) -> Result<Fields, DbError> {
    let key = quote::columns("", &shape.key);
    let values = casts(shape, &shape.key);
    let remember = format!(
        "-- set a row aside
insert into pg_temp.meter_sync_aside as a ({key})
select {values} from pg_temp.meter_sync_text t where t.{ROW} = {row}
returning {}::text",
        shape.key_json("a")
    );
    let mut found = None;
    let tried = rejected::attempt(local, async {
        found = Some(local.query_one(&remember, &[]).await?);
        Ok(Tried::Taken)
    });
    if let (Tried::Taken, Some(key)) = (tried.await?, found) {
        return Ok(fields(key.get(0)));
    }
    // A key that does not convert cannot be the key of any local row; it is named as it came.
    let name = format!(
        "-- name the rejected row
select {}::text from pg_temp.meter_sync_text t where t.{ROW} = {row}",
        shape.key_json("t")
    );
    Ok(fields(local.query_one(&name, &[]).await?.get(0)))
}
