//! Whether what a run held back can still be approved.

use crate::db::{DbError, Local, Tx, param};
use crate::meter::RunId;

const HAS_HELD: &str = "\
-- look for the table of held meters
select pg_catalog.to_regclass('meter_sync.meter_sync_held') is not null";

const HELD: &str = "\
-- look for the held meters
select exists (select from meter_sync.meter_sync_held h where h.run_id = $1)";

/// Whether the meters are still listed that the run held back: no sync has succeeded since.
pub(super) async fn can_be_approved(tx: &Tx<'_, Local>, id: RunId) -> Result<bool, DbError> {
    // An earlier version's log does not have the table yet.
    let exists: bool = tx.query_one(HAS_HELD, &[]).await?.get(0);
    let params = [param::uuid(id.as_uuid())];
    Ok(exists && tx.query_one(HELD, &params).await?.get(0))
}
