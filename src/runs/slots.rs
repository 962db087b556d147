//! The slots of the schedule: each is claimed once in the local database, whichever process wakes
//! first.

use crate::db::{Database, Local, migrations, param};
use crate::error::{ErrorCode, Failure};
use chrono::{DateTime, Utc};

use super::{Runs, tenant};

const CLAIM: &str = "\
-- claim a slot
insert into meter_sync.meter_sync_slot (tenant, slot, claimed_by)
values ($1, $2, 'pid ' || pg_backend_pid()::text)
on conflict do nothing";

/// Claimed slots are of no use once the next one is claimed; a month of them is kept to look at.
const PRUNE: &str = "\
-- prune old slots
delete from meter_sync.meter_sync_slot where tenant = $1 and slot < $2 - interval '30 days'";

impl Runs {
    /// Takes a slot upon this process; `false` when another process has it already.
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
    let tenant = match tenant::resolve(&tx, &runs.config().mapping).await {
        Ok(tenant) => tenant.id.as_str().to_owned(),
        Err(failure) if failure.code == ErrorCode::TenantNotConfigured => String::new(),
        Err(failure) => return Err(failure),
    };
    let params = [param::text(tenant.as_str()), param::timestamptz(slot)];
    let claimed = tx.execute(CLAIM, &params).await.map_err(|e| e.failure())?;
    if claimed == 1 {
        tx.execute(PRUNE, &params).await.map_err(|e| e.failure())?;
    }
    tx.commit().await.map_err(|e| e.failure())?;
    Ok(claimed == 1)
}
