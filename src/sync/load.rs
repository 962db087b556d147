//! The first load: where the tenant has no meters here yet, the remote rows are relayed straight into
//! the local table.
//!
//! What comes out is what staging and planning would have come to, at half the cost. Where a row is not
//! taken, or the table might change what it is given, nothing was written and the long way finds out
//! which row it is and why.

use crate::db::{DbError, Local, Remote, SideName, Tx};
use crate::meter::{Counts, Phase};

use super::format::Format;
use super::{Extent, Job, Observer, Shape, SyncError, Synced, enter, read, record};

/// Loads the meters, if they can be loaded so; `None` if not, with nothing changed.
pub(super) async fn load(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    observer: &Observer,
) -> Result<Option<Synced>, SyncError> {
    if !shape.takes_copies || !is_empty(local, shape).await? {
        return Ok(None);
    }
    local.hold_rows().await?;
    local.savepoint("load").await?;
    // A constraint checked only at commit could not be traced to a row.
    local
        .batch("-- check constraints at once\nset constraints all immediate")
        .await?;
    let everything = Extent::everything();
    let rows = read::relay(
        (remote, local),
        (shape, &everything),
        (read::Target::Meters, Format::quickest(remote, shape)),
        job,
        observer,
    );
    let rows = match rows.await {
        Ok(rows) => rows,
        Err(error) if error.is_about_a_row() && error.side() == SideName::Local => {
            local.back_to("load").await?;
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    local.release("load").await?;
    let mut synced = Synced {
        counts: Counts {
            inserted: rows,
            ..Counts::default()
        },
        ..Synced::default()
    };
    if rows > 0 {
        enter(observer, Phase::Apply);
        let limit = i64::from(job.limits.change_limit);
        synced.changes_truncated = rows > limit;
        record::load(local, shape, job.run_id.as_uuid(), limit).await?;
    }
    Ok(Some(synced))
}

async fn is_empty(local: &Tx<'_, Local>, shape: &Shape) -> Result<bool, DbError> {
    let sql = format!(
        "-- look for meters\nselect not exists (select from {} l where {})",
        shape.local, shape.local_filter
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}
