//! Asks the process that runs a sync to end it, by the run's row in the log.

use crate::db::{DbError, Local, Tx, param};
use crate::model::RunId;

const ASK: &str = "\
-- ask for the end of a run
update meter_sync.meter_sync_log set cancel_asked_at = coalesce(cancel_asked_at, clock_timestamp())
where id = $1 and outcome is null";

/// Asks for the end of a run that is in progress in another process, which looks for this every few seconds. Returns
/// `false` if the run has ended.
pub async fn ask_to_cancel(tx: &Tx<'_, Local>, id: RunId) -> Result<bool, DbError> {
    Ok(tx.execute(ASK, &[param::uuid(id.as_uuid())]).await? == 1)
}

const IS_ASKED: &str = "\
-- look whether the run is to end
select exists (select from meter_sync.meter_sync_log where id = $1 and cancel_asked_at is not null)";

/// Whether another process has asked for the end of this run.
pub async fn is_asked_to_cancel(tx: &Tx<'_, Local>, id: RunId) -> Result<bool, DbError> {
    let row = tx.query_one(IS_ASKED, &[param::uuid(id.as_uuid())]).await?;
    Ok(row.get(0))
}
