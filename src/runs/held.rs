//! Whether what a run held back can still be approved.

use crate::db::{DbError, Local, Tx, param};
use crate::meter::RunId;
use crate::sync::SET_OF_RUN;

const HAS_HELD: &str = "\
-- look for the table of held meters
select pg_catalog.to_regclass('meter_sync.meter_sync_held') is not null";

/// Whether the meters are still listed that the run held back: no sync has succeeded since, and few runs that held others.
pub(super) async fn can_be_approved(tx: &Tx<'_, Local>, id: RunId) -> Result<bool, DbError> {
    // An earlier version's log does not have the table yet.
    let exists: bool = tx.query_one(HAS_HELD, &[]).await?.get(0);
    let held = format!(
        "-- look for the held meters\nselect exists (select from {SET_OF_RUN} where g.id = $1)"
    );
    let params = [param::uuid(id.as_uuid())];
    Ok(exists && tx.query_one(&held, &params).await?.get(0))
}
