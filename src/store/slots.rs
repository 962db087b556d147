//! The table `meter_sync_slot`: which process has claimed which slot of the schedule. A slot is one time at which the
//! schedule fires.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::sweeps::SweptSet;
use crate::clock::set_back;
use crate::db::param::Param;
use crate::db::{DbError, Local, Tx, param};
use crate::model::TenantId;

/// A slot of the schedule, for runs or for sweeps.
#[derive(Clone, Debug)]
pub struct Slot {
    tenant: String,
    local_table: String,
    at: DateTime<Utc>,
    standing: &'static str,
}

/// The prefix that marks the slots of sweeps: it precedes the digest of the tenants in the column `tenant`. No
/// tenant's id begins like this by chance.
const SWEEP: &str = "* ";

impl Slot {
    /// A slot for a run of the tenant in the table. `tenant` is `None` if the tenant is not known; no run can begin
    /// then.
    pub fn of_run(tenant: Option<&TenantId>, local_table: &str, at: DateTime<Utc>) -> Self {
        Self {
            tenant: tenant.map_or("", TenantId::as_str).to_owned(),
            local_table: local_table.to_owned(),
            at,
            standing: RUN_STANDING,
        }
    }

    /// A slot for a sweep of this set of mirrors.
    pub fn of_sweep(set: SweptSet, at: DateTime<Utc>) -> Self {
        Self {
            tenant: format!("{SWEEP}{}", set.tenants),
            local_table: set.local_table,
            at,
            standing: SWEEP_STANDING,
        }
    }

    fn key(&self) -> [Param<'_>; 3] {
        [
            param::text(self.tenant.as_str()),
            param::text(self.local_table.as_str()),
            param::timestamptz(self.at),
        ]
    }

    fn key_and<'a, const N: usize>(&'a self, more: [Param<'a>; N]) -> Vec<Param<'a>> {
        self.key().into_iter().chain(more).collect()
    }
}

/// The state of a slot that a process has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The process that holds the slot.
    pub holder: String,
    /// Whether any process has served the slot. A run serves it if the run started since the slot began, has ended, and
    /// was neither a dry run nor interrupted. A sweep serves it if the sweep started since the slot began and has ended
    /// without an error.
    pub is_served: bool,
    /// Whether the log has a run that started since the slot began and has not ended. Always `false` for a sweep.
    has_begun: bool,
}

/// The slots that processes have claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedSlotList {
    /// The host and process that claimed the last of the slots; `None` if `slots` is empty.
    pub holder: Option<String>,
    /// The claimed slots, oldest first.
    pub slots: Vec<ClaimedSlot>,
}

/// A slot that a process has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedSlot {
    /// When the slot began.
    pub at: DateTime<Utc>,
    /// The schedule of the process that claimed the slot, in its `Display` form; `None` if that process had none, or
    /// if an earlier version claimed the slot.
    pub schedule: Option<String>,
}

/// Deletes claims on slots that are more than an hour ahead of both the slot being claimed and the database's clock. A
/// wrong clock made them, and they would block these slots when their time comes. Claims less far ahead are kept,
/// because the clock may have been set back since.
const LET_GO: &str = concat!(
    "\
-- let go of slots that are far ahead
delete from meter_sync.meter_sync_slot
where tenant = $1 and local_table = $2 and slot > greatest($3, clock_timestamp()) + ",
    set_back!()
);

const CLAIM: &str = "\
-- claim a slot
insert into meter_sync.meter_sync_slot (tenant, local_table, slot, claimed_by, schedule) values ($1, $2, $3, $4, $5)
on conflict do nothing";

/// Deletes claims that are more than 30 days older than the slot being claimed. Only the newest claim is needed; older
/// ones are kept for display.
const PRUNE: &str = "\
-- prune old slots
delete from meter_sync.meter_sync_slot
where tenant = $1 and local_table = $2 and slot < $3 - interval '30 days'";

/// Claims a slot unless it is claimed already. Returns whether this call claimed it.
pub async fn claim(
    tx: &Tx<'_, Local>,
    slot: &Slot,
    claimant: &str,
    schedule: Option<&str>,
) -> Result<bool, DbError> {
    tx.execute(LET_GO, &slot.key()).await?;
    let params = slot.key_and([param::text(claimant), param::text(schedule)]);
    let is_claimed = tx.execute(CLAIM, &params).await? == 1;
    if is_claimed {
        tx.execute(PRUNE, &slot.key()).await?;
    }
    Ok(is_claimed)
}

const RUN_STANDING: &str = concat!(
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

const SWEEP_STANDING: &str = concat!(
    "\
-- look how the slot of a sweep stands
select s.claimed_by,
       exists (
           select from meter_sync.meter_sync_sweep w
           where w.local_table = $2 and '* ' || w.tenants = $1 and w.started_at >= $3 and w.started_at < clock_timestamp() + ",
    set_back!(),
    "
             and w.finished_at is not null and w.error_code is null
       ),
       false
from meter_sync.meter_sync_slot s
where s.tenant = $1 and s.local_table = $2 and s.slot = $3"
);

/// Reads the state of a slot that is claimed already. This must be a separate statement: [`claim`] may have
/// waited until the other claim was committed, and only a later statement sees that claim.
pub async fn standing(tx: &Tx<'_, Local>, slot: &Slot) -> Result<Standing, DbError> {
    let row = tx.query_one(slot.standing, &slot.key()).await?;
    Ok(Standing {
        holder: row.get(0),
        is_served: row.get(1),
        has_begun: row.get(2),
    })
}

/// Replaces the holder of a claim in two cases:
///
/// - The holder's run has begun (`$6`). The caller has made sure that no run is in progress, so the holder has died.
/// - The claim is older than 30 seconds. A run normally starts some milliseconds after its slot is claimed. A process
///   whose run could not start claims the slot again before it retries, and a process that sweeps renews its claim.
const TAKE_OVER: &str = "\
-- take over a slot
update meter_sync.meter_sync_slot s
set claimed_by = $4, claimed_at = now()
where s.tenant = $1 and s.local_table = $2 and s.slot = $3 and s.claimed_by = $5
  and ($6 or s.claimed_at < now() - interval '30 seconds')";

/// Takes a slot over from its holder if the holder appears to have died. Returns whether this call took it over. The
/// caller must be sure that no run of the holder is in progress.
pub async fn take_over(
    tx: &Tx<'_, Local>,
    slot: &Slot,
    claimant: &str,
    standing: &Standing,
) -> Result<bool, DbError> {
    let params = slot.key_and([
        param::text(claimant),
        param::text(standing.holder.as_str()),
        param::boolean(standing.has_begun),
    ]);
    Ok(tx.execute(TAKE_OVER, &params).await? == 1)
}

const RENEW: &str = "\
-- renew the claim on a slot
update meter_sync.meter_sync_slot set claimed_at = now()
where tenant = $1 and local_table = $2 and slot = $3 and claimed_by = $4";

/// Renews a process's claim on a slot, so that no other process takes the slot over. Does nothing if another process
/// has already taken it over.
pub async fn renew(tx: &Tx<'_, Local>, slot: &Slot, claimant: &str) -> Result<(), DbError> {
    let params = slot.key_and([param::text(claimant)]);
    tx.execute(RENEW, &params).await.map(drop)
}

/// The maximum number of slots that one query reads.
const MOST: i64 = 500;

// The query reads `schedule` through JSON, because the table of an earlier version lacks that column until this
// version has run its migrations.
const CLAIMED: &str = "\
-- list the claimed slots
select s.slot, s.claimed_by, to_jsonb(s)->>'schedule'
from meter_sync.meter_sync_slot s
where s.tenant = $1 and s.local_table = $2 and s.slot >= coalesce((
    select max(b.slot) from meter_sync.meter_sync_slot b where b.tenant = $1 and b.local_table = $2 and b.slot <= $3), $3)
order by s.slot desc limit $4";

/// Returns the claimed slots after the given one, and the last claimed slot at or before it. If these are more than
/// `MOST`, returns only the newest.
pub async fn claimed_since(tx: &Tx<'_, Local>, slot: &Slot) -> Result<ClaimedSlotList, DbError> {
    let params = slot.key_and([param::bigint(MOST)]);
    let rows = tx.query(CLAIMED, &params).await?;
    let claimed = |row: &Row| ClaimedSlot {
        at: row.get(0),
        schedule: row.get(2),
    };
    // The stored name of a process ends with a unique id, which means nothing to people.
    let claimant = rows.first().map(|row| row.get::<_, &str>(1));
    let holder = claimant.map(|text| text.rsplit_once(' ').map_or(text, |(name, _)| name));
    Ok(ClaimedSlotList {
        holder: holder.map(str::to_owned),
        slots: rows.iter().rev().map(claimed).collect(),
    })
}
