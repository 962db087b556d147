//! The slots of the schedule: each is claimed once in the local database, whichever process wakes
//! first.
//!
//! A process may die between its claim and the end of its run. A claim that no run has followed to
//! its end is therefore taken over once it is plain that its process is gone: behind the door nobody
//! holds the run lock, and either a run had begun, or none has begun for a while.

use chrono::{DateTime, Utc};

use tokio_postgres::Row;

use crate::clock::set_back;
use crate::db::param::Param;
use crate::db::{Database, DbError, Local, Tx, migrations, param};
use crate::error::Failure;

use super::table::{self, LocalTable, Scope};
use super::tenant::Tenant;
use super::{Runs, lock, log, tenant};

/// Whether a slot is claimed for the first time or once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    First,
    Again,
}

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
insert into meter_sync.meter_sync_slot (tenant, local_table, slot, claimed_by, schedule) values ($1, $2, $3, $4, $5)
on conflict do nothing";

const STANDING: &str = concat!(
    "\
-- look how the slot stands
select s.claimed_by,
       exists (
           select from meter_sync.meter_sync_log l
           where l.local_table = $2 and coalesce(l.tenant, '') = $1 and l.started_at >= $3
             and l.started_at < clock_timestamp() + ",
    set_back!(),
    "
             and l.outcome <> 'interrupted' and not l.dry_run
       ),
       exists (
           select from meter_sync.meter_sync_log l
           where l.local_table = $2 and l.tenant = $1 and l.started_at >= $3
             and l.started_at < clock_timestamp() + ",
    set_back!(),
    " and l.outcome is null
       )
from meter_sync.meter_sync_slot s
where s.tenant = $1 and s.local_table = $2 and s.slot = $3"
);

/// From a claim to the start of its run it takes some milliseconds; a process that is held up longer
/// asks again before it goes on.
const TAKE_OVER: &str = "\
-- take over a slot
update meter_sync.meter_sync_slot s
set claimed_by = $4, claimed_at = now()
where s.tenant = $1 and s.local_table = $2 and s.slot = $3 and s.claimed_by = $5
  and ($6 or s.claimed_at < now() - interval '30 seconds')";

/// What a clock that was ahead claimed is let go, or these slots would be taken for claimed when they come. Of those
/// that are not so far ahead the clock may have been set back.
const LET_GO: &str = concat!(
    "\
-- let go of slots that are far ahead
delete from meter_sync.meter_sync_slot
where tenant = $1 and local_table = $2 and slot > greatest($3, clock_timestamp()) + ",
    set_back!()
);

/// Claimed slots are of no use once the next one is claimed; a month of them is kept to look at.
const PRUNE: &str = "\
-- prune old slots
delete from meter_sync.meter_sync_slot
where tenant = $1 and local_table = $2 and slot < $3 - interval '30 days'";

impl Runs {
    /// Takes a slot upon this process, unless another process has it already, or a run that has ended since it began
    /// serves it, whoever claimed it: so a clock that is set back runs no slot twice.
    pub async fn claim_slot(&self, slot: DateTime<Utc>) -> Result<Claim, Failure> {
        self.claim(slot, Asking::First).await
    }

    /// The same once more: the answer may have been lost, or the run of this process failed and is to be tried again.
    pub async fn claim_slot_again(&self, slot: DateTime<Utc>) -> Result<Claim, Failure> {
        self.claim(slot, Asking::Again).await
    }

    async fn claim(&self, slot: DateTime<Utc>, asking: Asking) -> Result<Claim, Failure> {
        claim(self.local()?, self, (slot, asking)).await
    }

    /// The slots that processes have claimed, of the tenant and table of the settings: those since then, and the one
    /// before.
    pub async fn claimed_slots(&self, since: DateTime<Utc>) -> Result<ClaimedSlots, Failure> {
        let mut connection = self.local()?.connect().await.map_err(|e| e.failure())?;
        let tx = connection.begin("slots").await.map_err(|e| e.failure())?;
        let asked = async {
            if !migrations::exist(&tx).await? {
                return Ok(ClaimedSlots::default());
            }
            let mapping = &self.config().mapping;
            let table = table::find(&tx, mapping).await?;
            let slot = Slot::of(tenant::known(&tx, mapping, &table).await?, table, since);
            slot.claimed_since(&tx).await
        };
        asked.await.map_err(|error: DbError| error.failure())
    }
}

/// Slots of the schedule that processes have claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedSlots {
    /// Which host and process claimed the last one; `None` before the first.
    pub holder: Option<String>,
    /// The slots, oldest first.
    pub slots: Vec<ClaimedSlot>,
}

/// A slot that a process has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedSlot {
    /// When it began.
    pub at: DateTime<Utc>,
    /// The schedule that it was claimed by, as its `Display` has it; `None` where an earlier version claimed it.
    pub schedule: Option<String>,
}

/// So many slots are read at most.
const MOST: i64 = 500;

// By way of JSON, as a table that no process of this version has claimed a slot in does not have the column yet.
const CLAIMED: &str = "\
-- list the claimed slots
select s.slot, s.claimed_by, to_jsonb(s)->>'schedule'
from meter_sync.meter_sync_slot s
where s.tenant = $1 and s.local_table = $2 and s.slot >= coalesce((
    select max(b.slot) from meter_sync.meter_sync_slot b where b.tenant = $1 and b.local_table = $2 and b.slot <= $3), $3)
order by s.slot desc limit $4";

async fn claim(
    local: &Database<Local>,
    runs: &Runs,
    (slot, asking): (DateTime<Utc>, Asking),
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
    let tenant = tenant::known(&tx, mapping, &table).await;
    let slot = Slot::of(tenant.map_err(|e| e.failure())?, table, slot);
    let schedule = runs.config().schedule.as_ref().map(ToString::to_string);
    let claimed = slot
        .take(&tx, (&runs.shared.claimant, asking), schedule.as_deref())
        .await;
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
    fn of(tenant: Option<Tenant>, table: LocalTable, slot: DateTime<Utc>) -> Self {
        match tenant {
            Some(tenant) => Self::Of(Scope { tenant, table }, slot),
            None => Self::OfNoTenant(table, slot),
        }
    }

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

    /// The slots that were claimed since this one began, and the one before.
    async fn claimed_since(&self, tx: &Tx<'_, Local>) -> Result<ClaimedSlots, DbError> {
        let [tenant, table, slot] = self.key();
        let params = [tenant, table, slot, param::bigint(MOST)];
        let rows = tx.query(CLAIMED, &params).await?;
        let claimed = |row: &Row| ClaimedSlot {
            at: row.get(0),
            schedule: row.get(2),
        };
        // The id at the claimant's end is for programs.
        let claimant = rows.first().map(|row| row.get::<_, &str>(1));
        let holder = claimant.map(|text| text.rsplit_once(' ').map_or(text, |(name, _)| name));
        Ok(ClaimedSlots {
            holder: holder.map(str::to_owned),
            slots: rows.iter().rev().map(claimed).collect(),
        })
    }

    async fn take(
        &self,
        tx: &Tx<'_, Local>,
        (claimant, asking): (&str, Asking),
        schedule: Option<&str>,
    ) -> Result<Claim, DbError> {
        tx.execute(LET_GO, &self.key()).await?;
        let [tenant, table, slot] = self.key();
        let claim = [
            tenant,
            table,
            slot,
            param::text(claimant),
            param::text(schedule),
        ];
        if tx.execute(CLAIM, &claim).await? == 1 {
            tx.execute(PRUNE, &self.key()).await?;
            return Ok(Claim::Ours);
        }
        let is_calm = self.is_calm(tx).await?;
        // Whose claim it is that was waited for, if any, shows only to a statement of its own.
        let standing = tx.query_one(STANDING, &self.key()).await?;
        let (holder, is_served): (String, bool) = (standing.get(0), standing.get(1));
        let is_served = match asking {
            Asking::First => is_served,
            Asking::Again => is_served && holder != claimant,
        };
        if is_served {
            Ok(Claim::Served)
        } else if holder == claimant {
            Ok(Claim::Ours)
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
            log::mark_interrupted(tx, scope).await?;
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
