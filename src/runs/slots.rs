//! The slots of the schedule: each is claimed once in the local database, whichever process wakes
//! first.
//!
//! A process may die between its claim and the end of its run. A claim that no run has followed to
//! its end is therefore taken over once it is plain that its process is gone: behind the door nobody
//! holds the run lock, and either a run had begun, or none has begun for a while.

use chrono::{DateTime, Utc};

use crate::clock;
use crate::db::param::Param;
use crate::db::{Database, DbError, Local, Tx, migrations, param};
use crate::error::{ErrorCode, Failure};

use super::table::{self, LocalTable, Scope};
use super::tenant::{self, NoTenant};
use super::{Runs, lock, log};

/// Whose a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This process's: it is to run it.
    Ours,
    /// Another process's, which may be gone: no run has ended since the slot began.
    Pending,
    /// Another process's, and a run has ended since the slot began.
    Served,
}

const CLAIM: &str = "\
-- claim a slot
insert into meter_sync.meter_sync_slot (tenant, local_table, slot, claimed_by) values ($1, $2, $3, $4)
on conflict do nothing";

const STANDING: &str = "\
-- look how the slot stands
select s.claimed_by,
       exists (
           select from meter_sync.meter_sync_log l
           where l.local_table = $2 and coalesce(l.tenant, '') = $1 and l.started_at >= $3
             and l.outcome <> 'interrupted' and not l.dry_run
       ),
       exists (
           select from meter_sync.meter_sync_log l
           where l.local_table = $2 and l.tenant = $1 and l.started_at >= $3 and l.outcome is null
       )
from meter_sync.meter_sync_slot s
where s.tenant = $1 and s.local_table = $2 and s.slot = $3";

/// From a claim to the start of its run it takes some milliseconds; a process that is held up longer
/// asks again before it goes on.
const TAKE_OVER: &str = "\
-- take over a slot
update meter_sync.meter_sync_slot s
set claimed_by = $4, claimed_at = now()
where s.tenant = $1 and s.local_table = $2 and s.slot = $3 and s.claimed_by = $5
  and ($6 or s.claimed_at < now() - interval '30 seconds')";

/// Claimed slots are of no use once the next one is claimed; a month of them is kept to look at.
const PRUNE: &str = "\
-- prune old slots
delete from meter_sync.meter_sync_slot
where tenant = $1 and local_table = $2 and slot < $3 - interval '30 days'";

impl Runs {
    /// Takes a slot upon this process, unless another process has it already. Whoever has it may ask
    /// again, as the answer to a claim may be lost.
    pub async fn claim_slot(&self, slot: DateTime<Utc>) -> Result<Claim, Failure> {
        let Some(local) = &self.shared.local else {
            let message = "The local database is not configured.";
            return Err(Failure::new(ErrorCode::ConfigMissing, message));
        };
        claim(local, self, slot).await
    }

    /// Which host and process took the last slot of the schedule; `None` before the first.
    pub async fn schedule_holder(&self) -> Result<Option<String>, Failure> {
        let mut connection = self.local()?.connect().await.map_err(|e| e.failure())?;
        let tx = connection.begin("holder").await.map_err(|e| e.failure())?;
        let asked = async {
            if !migrations::exist(&tx).await? {
                return Ok(None);
            }
            let table = table::find(&tx, &self.config().mapping).await?;
            let row = tx
                .query_opt(HOLDER, &[param::text(table.name.as_str())])
                .await?;
            let claimant = row.map(|row| row.get::<_, String>(0));
            // The id at its end is for programs.
            Ok(claimant.map(|text| {
                text.rsplit_once(' ')
                    .map_or(text.clone(), |(name, _)| name.to_owned())
            }))
        };
        asked.await.map_err(|error: DbError| error.failure())
    }
}

const HOLDER: &str = "\
-- read who took the last slot
select claimed_by from meter_sync.meter_sync_slot where local_table = $1 order by slot desc limit 1";

async fn claim(
    local: &Database<Local>,
    runs: &Runs,
    slot: DateTime<Utc>,
) -> Result<Claim, Failure> {
    let mut connection = local.connect().await.map_err(|e| e.failure())?;
    migrations::run(&mut connection).await?;
    let tx = connection
        .begin("claim a slot")
        .await
        .map_err(|e| e.failure())?;
    let mapping = &runs.config().mapping;
    let table = table::find(&tx, mapping).await.map_err(|e| e.failure())?;
    // Without a tenant the run will fail and say so; one process is enough for that.
    let slot = match tenant::resolve(&tx, mapping, &table).await {
        Ok(tenant) => Slot::Of(Scope { tenant, table }, slot),
        Err(NoTenant::Unknown(_)) => Slot::OfNoTenant(table, slot),
        Err(NoTenant::Database(error)) => return Err(error.failure()),
    };
    let claimed = slot.take(&tx, &runs.shared.claimant).await;
    let claimed = claimed.map_err(|e| e.failure())?;
    tx.commit().await.map_err(|e| e.failure())?;
    Ok(claimed)
}

/// A slot in the local database.
enum Slot {
    Of(Scope, DateTime<Utc>),
    /// While the tenant is not known; no run can then begin.
    OfNoTenant(LocalTable, DateTime<Utc>),
}

impl Slot {
    fn key(&self) -> [Param<'_>; 3] {
        let (tenant, table, slot) = match self {
            Self::Of(scope, slot) => (scope.tenant.id.as_str(), &scope.table, slot),
            Self::OfNoTenant(table, slot) => ("", table, slot),
        };
        [
            param::text(tenant),
            param::text(table.name.as_str()),
            param::timestamptz(*slot),
        ]
    }

    /// Whether no run goes on and, since the door is then ours, none begins.
    async fn is_calm(&self, tx: &Tx<'_, Local>) -> Result<bool, DbError> {
        match self {
            Self::Of(scope, _) => {
                Ok(lock::try_door(tx, scope).await? && !lock::is_held(tx, scope).await?)
            }
            Self::OfNoTenant(..) => Ok(true),
        }
    }

    async fn take(&self, tx: &Tx<'_, Local>, claimant: &str) -> Result<Claim, DbError> {
        let [tenant, table, slot] = self.key();
        let claim = [tenant, table, slot, param::text(claimant)];
        if tx.execute(CLAIM, &claim).await? == 1 {
            tx.execute(PRUNE, &self.key()).await?;
            return Ok(Claim::Ours);
        }
        let is_calm = self.is_calm(tx).await?;
        // Whose claim it is that was waited for, if any, shows only to a statement of its own.
        let standing = tx.query_one(STANDING, &self.key()).await?;
        let (holder, is_served): (String, bool) = (standing.get(0), standing.get(1));
        if holder == claimant {
            Ok(Claim::Ours)
        } else if is_served {
            Ok(Claim::Served)
        } else if is_calm {
            self.take_over(tx, claimant, (&holder, standing.get(2)))
                .await
        } else {
            Ok(Claim::Pending)
        }
    }

    async fn take_over(
        &self,
        tx: &Tx<'_, Local>,
        claimant: &str,
        (holder, had_begun): (&str, bool),
    ) -> Result<Claim, DbError> {
        // Else the next process would take the slot over in its turn.
        if let Self::Of(scope, _) = self {
            log::mark_interrupted(tx, scope, clock::now()).await?;
        }
        let [tenant, table, slot] = self.key();
        let params = [
            tenant,
            table,
            slot,
            param::text(claimant),
            param::text(holder),
            param::boolean(had_begun),
        ];
        let taken = tx.execute(TAKE_OVER, &params).await? == 1;
        Ok(if taken { Claim::Ours } else { Claim::Pending })
    }
}
