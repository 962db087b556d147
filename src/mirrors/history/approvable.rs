//! Tells whether the deactivations that a run held back can still be approved.

use crate::db::{DbError, Local, Tx, param};
use crate::engine::SET_OF_RUN;
use crate::model::RunId;

const HAS_HELD: &str = "\
-- look for the table of held meters
select pg_catalog.to_regclass('meter_sync.meter_sync_held') is not null";

/// Whether the meters that the run held back are still stored. They are deleted when a later sync succeeds, and when
/// enough later runs held back other meters.
pub(in crate::mirrors) async fn can_be_approved(
    tx: &Tx<'_, Local>,
    id: RunId,
) -> Result<bool, DbError> {
    // The log of an earlier version does not have this table.
    let exists: bool = tx.query_one(HAS_HELD, &[]).await?.get(0);
    let held = format!(
        "-- look for the held meters\nselect exists (select from {SET_OF_RUN} where g.id = $1)"
    );
    let params = [param::uuid(id.as_uuid())];
    Ok(exists && tx.query_one(&held, &params).await?.get(0))
}
