//! The table `meter_sync_slot`: which process has claimed which slot of the schedule. A slot is one time at which the
//! schedule starts a run or a sweep.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::has_expired;
use super::sweeps::SweptMirrorSet;
use crate::db::param::Param;
use crate::db::{DbError, Local, Tx, param};
use crate::machine_clock::clock_tolerance;
use crate::model::TenantId;

/// A time at which the schedule starts a run of one mirror, or a sweep (a check of all mirrors).
#[derive(Clone, Debug)]
pub struct Slot {
    tenant: String,
    local_table: String,
    at: DateTime<Utc>,
    standing: &'static str,
}

/// The prefix that marks the slots of sweeps in the column `tenant`, where a digest of the tenants follows it. It keeps
/// them apart from the slots of runs, which have the tenant's ID there.
const SWEEP: &str = "* ";

impl Slot {
    /// Returns a slot for a run of the tenant in the table. If the tenant is not known, `tenant` is `None`; a run for
    /// such a slot fails at once.
    pub fn of_run(tenant: Option<&TenantId>, local_table: &str, at: DateTime<Utc>) -> Self {
        Self {
            tenant: tenant.map_or("", TenantId::as_str).to_owned(),
            local_table: local_table.to_owned(),
            at,
            standing: RUN_STANDING,
        }
    }

    /// Returns a slot for a sweep of this set of mirrors.
    pub fn of_sweep(set: SweptMirrorSet, at: DateTime<Utc>) -> Self {
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

/// The state of a slot that a process has claimed: who holds it, and whether its work is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedSlotState {
    /// The name of the process that holds the slot.
    pub holder: String,
    /// Whether any process has served the slot. A run serves it if the run started at the slot's time or later, has
    /// ended, and was neither interrupted nor a dry run, unless the schedule started that dry run because of a pause. A sweep serves it if the sweep started at the slot's time or
    /// later and has ended without an error.
    pub is_served: bool,
    /// Whether the log has a run that started at the slot's time or later and has not ended. Always `false` for a
    /// sweep.
    has_begun: bool,
}

/// Claimed slots, as [`claimed_since`] returns them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedSlotList {
    /// The host and process that claimed the newest of the slots; `None` if `slots` is empty.
    pub holder: Option<String>,
    /// The claimed slots, oldest first.
    pub slots: Vec<ClaimedSlot>,
}

/// A slot that a process has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedSlot {
    /// The time of the slot.
    pub at: DateTime<Utc>,
    /// The schedule of the process that claimed the slot, as text; `None` if that process had none, or if an earlier
    /// version of the program claimed the slot.
    pub schedule: Option<String>,
}

/// SQL that deletes claims on slots in the far future: more than an hour later than both the slot being claimed and the
/// database's clock. Such claims were made under a wrong clock and would block these slots when their time comes.
/// Claims less far ahead are kept, because they may be right and the clock may have been set back since.
const LET_GO: &str = concat!(
    "\
-- let go of slots that are far ahead
delete from meter_sync.meter_sync_slot
where tenant = $1 and local_table = $2 and slot > greatest($3, clock_timestamp()) + ",
    clock_tolerance!()
);

const CLAIM: &str = "\
-- claim a slot
insert into meter_sync.meter_sync_slot (tenant, local_table, slot, claimed_by, schedule) values ($1, $2, $3, $4, $5)
on conflict do nothing";

/// SQL that deletes claims on slots more than 30 days older than the slot being claimed. Only the newest claim is
/// needed; older ones are kept to be shown to people.
const PRUNE: &str = "\
-- prune old slots
delete from meter_sync.meter_sync_slot
where tenant = $1 and local_table = $2 and slot < $3 - interval '30 days'";

/// Claims a slot for the process `claimant`, unless a process has claimed it already. Returns whether this call claimed
/// it. `schedule` is stored with the claim.
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
    clock_tolerance!(),
    "
             and l.outcome <> 'interrupted' and (not l.dry_run or l.trigger in ('schedule', 'startup'))
       ),
       exists (
           select from meter_sync.meter_sync_log l
           where l.local_table = $2 and l.tenant = $1 and l.started_at >= $3
             and l.started_at < clock_timestamp() + ",
    clock_tolerance!(),
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
    clock_tolerance!(),
    "
             and w.finished_at is not null and w.error_code is null
       ),
       false
from meter_sync.meter_sync_slot s
where s.tenant = $1 and s.local_table = $2 and s.slot = $3"
);

/// Reads the state of a claimed slot. This takes a statement of its own after [`claim`]: that one may have waited until
/// another claim was committed, and only a later statement sees that claim.
pub async fn standing(tx: &Tx<'_, Local>, slot: &Slot) -> Result<ClaimedSlotState, DbError> {
    let row = tx.query_one(slot.standing, &slot.key()).await?;
    Ok(ClaimedSlotState {
        holder: row.get(0),
        is_served: row.get(1),
        has_begun: row.get(2),
    })
}

/// SQL that gives a claim to another process in two cases:
///
/// - The holder's run has begun (`$6`). The caller has made sure that no run is in progress, so the holder has died.
/// - The claim is older than 25 seconds. A run normally starts some milliseconds after its slot is claimed. A process
///   whose run could not start claims the slot again before it retries, and a process that sweeps renews its claim.
const TAKE_OVER: &str = concat!(
    "\
-- take over a slot
update meter_sync.meter_sync_slot s
set claimed_by = $4, claimed_at = clock_timestamp()
where s.tenant = $1 and s.local_table = $2 and s.slot = $3 and s.claimed_by = $5
  and ($6 or ",
    has_expired!("s.claimed_at"),
    ")"
);

/// Takes a slot over for the process `claimant` if its holder appears to have died. Returns whether this call took it
/// over. The caller must be sure that no run of the holder is in progress.
pub async fn take_over(
    tx: &Tx<'_, Local>,
    slot: &Slot,
    claimant: &str,
    standing: &ClaimedSlotState,
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
update meter_sync.meter_sync_slot set claimed_at = clock_timestamp()
where tenant = $1 and local_table = $2 and slot = $3 and claimed_by = $4";

/// Renews the claim of the process `claimant` on a slot, so that no other process takes it over. Does nothing if
/// another process already has.
pub async fn renew(tx: &Tx<'_, Local>, slot: &Slot, claimant: &str) -> Result<(), DbError> {
    let params = slot.key_and([param::text(claimant)]);
    tx.execute(RENEW, &params).await.map(drop)
}

const GIVE_UP: &str = concat!(
    "\
-- give up the claims on slots
update meter_sync.meter_sync_slot set claimed_at = '-infinity'
where tenant = $1 and local_table = $2 and claimed_by = $3 and not ",
    has_expired!("claimed_at")
);

/// Gives up the claims of the process `claimant` on slots of the same mirrors as `slot`, so that another process can
/// take over those whose work is not done.
pub async fn give_up(tx: &Tx<'_, Local>, slot: &Slot, claimant: &str) -> Result<(), DbError> {
    let [tenant, table, _] = slot.key();
    tx.execute(GIVE_UP, &[tenant, table, param::text(claimant)])
        .await
        .map(drop)
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

/// Returns the claimed slots after the given one, and the last claimed slot at or before it. Returns at most `MOST`
/// slots, the newest ones.
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
