//! Claims the slots of the schedule in the local database, so that each slot is run by one process.
//!
//! A process may die between its claim and the end of its run. Another process takes the claim over when the
//! first appears to have died. For that it must hold the door and find the run lock free. In addition, the log
//! must have a run that began after the slot did and has no end, or the claim must be 30 seconds old.

use chrono::{DateTime, Utc};

use tokio_postgres::Row;

use crate::clock::set_back;
use crate::db::param::Param;
use crate::db::{Database, DbError, Local, Tx, param};
use crate::error::Failure;
use crate::store::migrations;

use super::local_table::{self, LocalTable, Scope};
use super::run::{lock, log};
use super::tenant::Tenant;
use super::{Mirror, tenant};

/// Whether a process claims a slot for the first time or again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClaimAttempt {
    First,
    Retry,
}

/// The answer to a claim on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This process holds the slot and is to run it.
    Ours,
    /// Another process holds the slot and may have died: no run that started since the slot began has ended.
    Pending,
    /// The slot needs no run of this process: a run that started since the slot began has ended.
    Served,
}

pub(super) const CLAIM: &str = "\
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

/// A run normally starts some milliseconds after its slot is claimed, so a claim without a run is given up
/// after 30 seconds. A process whose run could not start claims the slot again before it retries.
pub(super) const TAKE_OVER: &str = "\
-- take over a slot
update meter_sync.meter_sync_slot s
set claimed_by = $4, claimed_at = now()
where s.tenant = $1 and s.local_table = $2 and s.slot = $3 and s.claimed_by = $5
  and ($6 or s.claimed_at < now() - interval '30 seconds')";

/// Deletes claims on slots that are more than an hour ahead. A wrong clock made them, and they would block
/// these slots when their time comes. Claims less far ahead are kept, because the clock may have been set back
/// since.
pub(super) const LET_GO: &str = concat!(
    "\
-- let go of slots that are far ahead
delete from meter_sync.meter_sync_slot
where tenant = $1 and local_table = $2 and slot > greatest($3, clock_timestamp()) + ",
    set_back!()
);

/// Deletes claims that are more than 30 days older than the slot being claimed. Only the newest claim is
/// needed; the others are kept for display.
pub(super) const PRUNE: &str = "\
-- prune old slots
delete from meter_sync.meter_sync_slot
where tenant = $1 and local_table = $2 and slot < $3 - interval '30 days'";

impl Mirror {
    /// Claims a slot for this process, unless another process holds it or a run has already served it. Any run
    /// that started since the slot began and has ended serves the slot, whoever claimed it, but not a dry run
    /// or an interrupted run. So no slot runs twice after a clock is set back.
    pub async fn claim_slot(&self, slot: DateTime<Utc>) -> Result<Claim, Failure> {
        self.claim(slot, ClaimAttempt::First).await
    }

    /// Claims a slot again, if the first answer may have been lost, or if the run of this process failed and is
    /// to be retried. Unlike [`Self::claim_slot`], it returns [`Claim::Ours`] for a slot of this process even
    /// if a run has ended.
    pub async fn claim_slot_again(&self, slot: DateTime<Utc>) -> Result<Claim, Failure> {
        self.claim(slot, ClaimAttempt::Retry).await
    }

    async fn claim(&self, slot: DateTime<Utc>, attempt: ClaimAttempt) -> Result<Claim, Failure> {
        claim(self.local()?, self, (slot, attempt)).await
    }

    /// The slots that any process has claimed for the tenant and table of the settings: those after `since`,
    /// and the last one at or before it.
    pub async fn claimed_slots(&self, since: DateTime<Utc>) -> Result<ClaimedSlots, Failure> {
        let mut connection = self.local()?.connect().await?;
        let tx = connection.begin("slots").await?;
        let asked = async {
            if !migrations::exist(&tx).await? {
                return Ok(ClaimedSlots::default());
            }
            let mapping = self.mapping();
            let table = local_table::find(&tx, mapping).await?;
            let slot = Slot::of(tenant::known(&tx, mapping, &table).await?, table, since);
            slot.claimed_since(&tx).await
        };
        asked.await.map_err(|error: DbError| error.into())
    }
}

/// Slots of the schedule that processes have claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedSlots {
    /// The host and process that claimed the last slot; `None` if there is no slot.
    pub holder: Option<String>,
    /// The slots, oldest first.
    pub slots: Vec<ClaimedSlot>,
}

/// A slot that a process has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedSlot {
    /// When the slot began.
    pub at: DateTime<Utc>,
    /// The schedule of the process that claimed it, in its `Display` form; `None` if an earlier version claimed
    /// it.
    pub schedule: Option<String>,
}

/// The most slots that one query reads.
const MOST: i64 = 500;

// The query reads `schedule` through JSON, because the column is missing until a process of this version has
// claimed a slot.
const CLAIMED: &str = "\
-- list the claimed slots
select s.slot, s.claimed_by, to_jsonb(s)->>'schedule'
from meter_sync.meter_sync_slot s
where s.tenant = $1 and s.local_table = $2 and s.slot >= coalesce((
    select max(b.slot) from meter_sync.meter_sync_slot b where b.tenant = $1 and b.local_table = $2 and b.slot <= $3), $3)
order by s.slot desc limit $4";

async fn claim(
    local: &Database<Local>,
    mirror: &Mirror,
    (slot, attempt): (DateTime<Utc>, ClaimAttempt),
) -> Result<Claim, Failure> {
    let mut connection = local.connect().await?;
    migrations::run(&mut connection).await?;
    let tx = connection.begin("claim a slot").await?;
    let mapping = mirror.mapping();
    let table = local_table::find(&tx, mapping).await?;
    // An unknown tenant does not prevent the claim: the run fails and says why, and one process is enough for
    // that.
    let tenant = tenant::known(&tx, mapping, &table).await;
    let slot = Slot::of(tenant?, table, slot);
    let schedule = mirror.config().schedule.as_ref().map(ToString::to_string);
    let claimed = slot
        .take(
            &tx,
            (&mirror.shared.process.claimant, attempt),
            schedule.as_deref(),
        )
        .await;
    let claimed = claimed?;
    tx.commit().await?;
    Ok(claimed)
}

/// A slot of a tenant and a table.
enum Slot {
    Of(Scope, DateTime<Utc>),
    /// The tenant is not known, so no run can begin.
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

    /// Whether no run is in progress and none can begin before `tx` ends. Takes the door if it is free.
    async fn can_have_no_run(&self, tx: &Tx<'_, Local>) -> Result<bool, DbError> {
        match self {
            Self::Of(scope, _) => {
                Ok(lock::try_door(tx, scope).await? && !lock::is_held(tx, scope).await?)
            }
            Self::OfNoTenant(..) => Ok(true),
        }
    }

    /// The claimed slots after this one, and the last one at or before it.
    async fn claimed_since(&self, tx: &Tx<'_, Local>) -> Result<ClaimedSlots, DbError> {
        let [tenant, table, slot] = self.key();
        let params = [tenant, table, slot, param::bigint(MOST)];
        let rows = tx.query(CLAIMED, &params).await?;
        let claimed = |row: &Row| ClaimedSlot {
            at: row.get(0),
            schedule: row.get(2),
        };
        // The claimant ends with a unique id, which means nothing to people.
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
        (claimant, attempt): (&str, ClaimAttempt),
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
        let can_have_no_run = self.can_have_no_run(tx).await?;
        // This is a statement of its own, because the insert may have waited for another process to commit its
        // claim. Only a later statement sees that claim.
        let standing = tx.query_one(STANDING, &self.key()).await?;
        let (holder, is_served): (String, bool) = (standing.get(0), standing.get(1));
        let is_served = match attempt {
            ClaimAttempt::First => is_served,
            ClaimAttempt::Retry => is_served && holder != claimant,
        };
        if is_served {
            Ok(Claim::Served)
        } else if holder == claimant {
            Ok(Claim::Ours)
        } else if can_have_no_run {
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
        // If the dead run kept its open row, the next process would take the slot over from this one.
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
