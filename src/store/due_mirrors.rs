//! The table `meter_sync_due`: the mirrors that a sweep (a check of all mirrors) gives a run. Several processes take
//! mirrors from it, each the next one that no living process has claimed.
//!
//! A claim holds for 25 s and is renewed while its process works. The claim only divides the work: if a process is
//! delayed and loses its claim, the run lock still allows one run of a mirror at a time.

use tokio_postgres::Row;

use super::has_expired;
use super::sweeps::SweptMirrorSet;
use super::unchanged_mirrors::{MirrorKey, MirrorKeys};
use crate::db::{DbError, Local, Tx, param};
use crate::error::ErrorCode;
use crate::model::{RunId, RunTrigger};

/// A sweep that has mirrors left in the table `meter_sync_due`, whose runs processes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSweep {
    /// The id of the sweep.
    pub id: RunId,
    /// What asked for the sweep.
    pub trigger: RunTrigger,
}

/// The end of a run whose mirror a process had taken from the table `meter_sync_due`.
#[derive(Clone, Debug)]
pub struct EndedDueRun {
    /// The mirror of the run.
    pub mirror: MirrorKey,
    /// Why the run did not succeed; `None` if it did.
    pub error: Option<ErrorCode>,
    /// How many bytes the remote sent.
    pub remote_bytes: i64,
}

const LOCK: &str = "\
-- list the due mirrors of one sweep at a time
select pg_advisory_xact_lock(hashtextextended('meter_sync due ' || $1 || ' ' || $2, 0))";

const FORGET: &str = "\
-- forget the due mirrors of earlier sweeps
delete from meter_sync.meter_sync_due d using meter_sync.meter_sync_sweep w
where w.id = d.sweep and w.seq < (select seq from meter_sync.meter_sync_sweep where id = $3)
  and (w.local_table = $1 and w.tenants = $2 or w.started_at < now() - interval '1 day')";

const IS_REPLACED: &str = "\
-- look for the due mirrors of a later sweep
select exists (
    select from meter_sync.meter_sync_due d join meter_sync.meter_sync_sweep w on w.id = d.sweep
    where w.local_table = $1 and w.tenants = $2 and w.id <> $3)";

const ADD: &str = "\
-- list the mirrors that are due
insert into meter_sync.meter_sync_due (sweep, tenant, local_table, place)
select $1, u.tenant, u.local_table, u.place from unnest($2, $3) with ordinality u (tenant, local_table, place)";

/// Lists the mirrors to which a sweep gives a run, in this order. Deletes the lists of earlier sweeps of the same set
/// of mirrors, and of sweeps of other sets that began more than a day before. Does nothing and returns `false` if a
/// later sweep of the same set has listed mirrors: it has taken the work over.
pub async fn add(
    tx: &Tx<'_, Local>,
    sweep: RunId,
    set: &SweptMirrorSet,
    mirrors: &[MirrorKey],
) -> Result<bool, DbError> {
    let [table, tenants] = set.key();
    let of_others = [table, tenants, param::uuid(sweep.as_uuid())];
    tx.execute(LOCK, &set.key()).await?;
    tx.execute(FORGET, &of_others).await?;
    if tx.query_one(IS_REPLACED, &of_others).await?.get(0) {
        return Ok(false);
    }
    let keys = MirrorKeys::of(mirrors);
    let params = [
        param::uuid(sweep.as_uuid()),
        param::texts(&keys.tenants),
        param::texts(&keys.local_tables),
    ];
    tx.execute(ADD, &params).await?;
    Ok(true)
}

// The mirror is selected in a part of its own. In a join, the server may select again and again, and each time skip
// what it has locked.
const TAKE: &str = concat!(
    "\
-- take the next mirror that is due
with n as materialized (
    select n.tenant, n.local_table from meter_sync.meter_sync_due n
    where n.sweep = $1 and n.ended_at is null
      and (n.claimed_at is null or ",
    has_expired!("n.claimed_at"),
    ")
    order by n.place limit 1 for update skip locked
)
update meter_sync.meter_sync_due d set claimed_by = $2, claimed_at = clock_timestamp()
from n
where d.sweep = $1 and d.tenant = n.tenant and d.local_table = n.local_table
returning d.tenant, d.local_table"
);

/// Claims the next mirror of the sweep for the process `claimant`. Returns `None` if each mirror has had its run or is
/// claimed.
pub async fn take(
    tx: &Tx<'_, Local>,
    sweep: RunId,
    claimant: &str,
) -> Result<Option<MirrorKey>, DbError> {
    let params = [param::uuid(sweep.as_uuid()), param::text(claimant)];
    let row = tx.query_opt(TAKE, &params).await?;
    Ok(row.as_ref().map(key))
}

const END: &str = "\
-- note the end of a run that was due
update meter_sync.meter_sync_due d set ended_at = now(), error_code = $5, remote_bytes = $6
where d.sweep = $1 and d.tenant = $2 and d.local_table = $3
  and (d.claimed_by = $4 or d.error_code = 'ALREADY_RUNNING')";

/// Records the end of a run of the process `claimant`. Does nothing if another process has taken the mirror over,
/// unless that process recorded `ALREADY_RUNNING`, because it found this run still in progress.
pub async fn end(
    tx: &Tx<'_, Local>,
    sweep: RunId,
    claimant: &str,
    ended: &EndedDueRun,
) -> Result<(), DbError> {
    let params = [
        param::uuid(sweep.as_uuid()),
        param::text(ended.mirror.tenant.as_str()),
        param::text(ended.mirror.local_table.as_str()),
        param::text(claimant),
        param::text(ended.error.map(ErrorCode::as_str)),
        param::bigint(ended.remote_bytes),
    ];
    tx.execute(END, &params).await.map(drop)
}

const RENEW: &str = "\
-- renew the claims on due mirrors
update meter_sync.meter_sync_due set claimed_at = clock_timestamp()
where sweep = $1 and claimed_by = $2 and ended_at is null";

/// Renews all claims of the process `claimant` on mirrors of the sweep.
pub async fn renew(tx: &Tx<'_, Local>, sweep: RunId, claimant: &str) -> Result<(), DbError> {
    let params = [param::uuid(sweep.as_uuid()), param::text(claimant)];
    tx.execute(RENEW, &params).await.map(drop)
}

const OPEN: &str = concat!(
    "\
-- look for a sweep with mirrors to take
select w.id, w.trigger from meter_sync.meter_sync_sweep w
where w.local_table = $1 and w.tenants = $2 and w.finished_at is null
  and exists (select from meter_sync.meter_sync_due d
              where d.sweep = w.id and d.ended_at is null
                and (d.claimed_at is null or ",
    has_expired!("d.claimed_at"),
    "))
order by w.seq desc limit 1"
);

/// Returns the latest sweep of this set of mirrors that has not ended and has mirrors to take; `None` if there is no
/// such sweep.
pub async fn open_sweep(
    tx: &Tx<'_, Local>,
    set: &SweptMirrorSet,
) -> Result<Option<OpenSweep>, DbError> {
    let row = tx.query_opt(OPEN, &set.key()).await?;
    let open = |row: Row| {
        let id: uuid::Uuid = row.get(0);
        OpenSweep {
            id: RunId::from(id),
            trigger: RunTrigger::read(row.get(1)),
        }
    };
    Ok(row.map(open))
}

/// How far the runs of a sweep have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepRunsProgress {
    /// There are mirrors to take.
    HasDue,
    /// All mirrors are taken, and some runs are still in progress.
    InProgress,
    /// All runs have ended.
    Ended,
}

const STANDING: &str = concat!(
    "\
-- look how far the runs of a sweep have come
select count(*), count(*) filter (where claimed_at is null or ",
    has_expired!("claimed_at"),
    ")
from meter_sync.meter_sync_due where sweep = $1 and ended_at is null"
);

/// Returns how far the runs of the sweep have come.
pub async fn standing(tx: &Tx<'_, Local>, sweep: RunId) -> Result<SweepRunsProgress, DbError> {
    let row = tx
        .query_one(STANDING, &[param::uuid(sweep.as_uuid())])
        .await?;
    let (open, to_take): (i64, i64) = (row.get(0), row.get(1));
    Ok(match (open, to_take) {
        (0, _) => SweepRunsProgress::Ended,
        (_, 0) => SweepRunsProgress::InProgress,
        _ => SweepRunsProgress::HasDue,
    })
}

const ENDED: &str = "\
-- read how the runs of a sweep ended
delete from meter_sync.meter_sync_due where sweep = $1 and ended_at is not null
returning tenant, local_table, error_code, remote_bytes";

/// Returns how the runs of the sweep ended, in no order, and deletes their rows. Some are missing if another sweep of
/// the same mirrors has begun since.
pub async fn take_ended(tx: &Tx<'_, Local>, sweep: RunId) -> Result<Vec<EndedDueRun>, DbError> {
    let rows = tx.query(ENDED, &[param::uuid(sweep.as_uuid())]).await?;
    let ended = |row: &Row| EndedDueRun {
        mirror: key(row),
        error: row.get::<_, Option<&str>>(2).map(ErrorCode::read),
        remote_bytes: row.get(3),
    };
    Ok(rows.iter().map(ended).collect())
}

const DROP: &str = "\
-- forget the due mirrors of a sweep
delete from meter_sync.meter_sync_due where sweep = $1";

/// Deletes what the sweep has listed, because the sweep has ended.
pub async fn drop_all(tx: &Tx<'_, Local>, sweep: RunId) -> Result<(), DbError> {
    let params = [param::uuid(sweep.as_uuid())];
    tx.execute(DROP, &params).await.map(drop)
}

fn key(row: &Row) -> MirrorKey {
    MirrorKey {
        tenant: row.get(0),
        local_table: row.get(1),
    }
}
