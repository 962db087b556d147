//! The slots of the schedule: each is claimed once in the local database, whichever process wakes
//! first.

use crate::db::{Database, DbError, Local, Tx, migrations, param};
use crate::error::{ErrorCode, Failure};
use chrono::{DateTime, Utc};

use super::Runs;
use super::table::{self, LocalTable};
use super::tenant::{self, NoTenant};

const CLAIM: &str = "\
-- claim a slot
insert into meter_sync.meter_sync_slot (tenant, local_table, slot, claimed_by) values ($1, $2, $3, $4)
on conflict do nothing";

const CLAIMANT: &str = "\
-- look who has the slot
select claimed_by from meter_sync.meter_sync_slot where tenant = $1 and local_table = $2 and slot = $3";

/// Claimed slots are of no use once the next one is claimed; a month of them is kept to look at.
const PRUNE: &str = "\
-- prune old slots
delete from meter_sync.meter_sync_slot
where tenant = $1 and local_table = $2 and slot < $3 - interval '30 days'";

impl Runs {
    /// Takes a slot upon this process; `false` when another process has it already. Whoever has it
    /// may ask again, as the answer to a claim may be lost.
    pub async fn claim_slot(&self, slot: DateTime<Utc>) -> Result<bool, Failure> {
        let Some(local) = &self.shared.local else {
            let message = "The local database is not configured.";
            return Err(Failure::new(ErrorCode::ConfigMissing, message));
        };
        claim(local, self, slot).await
    }
}

async fn claim(local: &Database<Local>, runs: &Runs, slot: DateTime<Utc>) -> Result<bool, Failure> {
    let mut connection = local.connect().await.map_err(|e| e.failure())?;
    migrations::run(&mut connection).await?;
    let tx = connection
        .begin("claim a slot")
        .await
        .map_err(|e| e.failure())?;
    // Without a tenant the run will fail and say so; one process is enough for that.
    let mapping = &runs.config().mapping;
    let table = table::find(&tx, mapping).await.map_err(|e| e.failure())?;
    let tenant = match tenant::resolve(&tx, mapping, &table).await {
        Ok(tenant) => tenant.id.as_str().to_owned(),
        Err(NoTenant::Unknown(_)) => String::new(),
        Err(NoTenant::Database(error)) => return Err(error.failure()),
    };
    let claimed = take(&tx, (&tenant, &table), slot, &runs.shared.claimant).await;
    let claimed = claimed.map_err(|e| e.failure())?;
    tx.commit().await.map_err(|e| e.failure())?;
    Ok(claimed)
}

async fn take(
    tx: &Tx<'_, Local>,
    (tenant, table): (&str, &LocalTable),
    slot: DateTime<Utc>,
    claimant: &str,
) -> Result<bool, DbError> {
    let key = || {
        [
            param::text(tenant),
            param::text(table.name.as_str()),
            param::timestamptz(slot),
        ]
    };
    let [tenant, name, slot] = key();
    let claim = [tenant, name, slot, param::text(claimant)];
    if tx.execute(CLAIM, &claim).await? == 1 {
        tx.execute(PRUNE, &key()).await?;
        return Ok(true);
    }
    // Whose claim it is that was waited for, if any, shows only to a statement of its own.
    let found: String = tx.query_one(CLAIMANT, &key()).await?.get(0);
    Ok(found == claimant)
}
