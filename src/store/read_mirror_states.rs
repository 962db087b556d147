//! Reads the states of many mirrors (each is one tenant's meters in one local table) at once: from the log of runs, and
//! from the table of mirrors that sweeps found unchanged.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::run_lock_key;
use super::unchanged_mirrors::{MirrorKey, MirrorKeys};
use crate::db::{DbError, Local, Tx, param};
use crate::error::ErrorCode;
use crate::machine_clock;
use crate::model::{LastRunSummary, Pause, RunId, RunOutcome};

/// What the local database tells about one mirror.
#[derive(Clone, Debug, Default)]
pub struct MirrorState {
    /// The last run that has ended, other than dry runs; `None` before the first.
    pub last_run: Option<LastRunSummary>,
    /// When the last successful run ended; `None` before the first.
    pub last_success_at: Option<DateTime<Utc>>,
    /// When a sweep (a check of all mirrors) last found the mirror unchanged; `None` before the first.
    pub checked_at: Option<DateTime<Utc>>,
    /// The newest run without an end in the log; `None` if all have ended.
    pub open_run: Option<OpenRun>,
    /// The number (`seq` in the log) of the newest run; 0 before the first.
    pub newest: i64,
    /// The pause; `None` if nobody has paused the mirror. It may have ended by itself.
    pub pause: Option<Pause>,
}

/// A run that has no end in the log.
#[derive(Clone, Copy, Debug)]
pub struct OpenRun {
    /// Whether the run is still in progress: a session holds the run lock. Otherwise, the process of the run has died.
    pub is_in_progress: bool,
    /// Whether it is a dry run, which plans and changes nothing.
    pub is_dry_run: bool,
}

impl MirrorState {
    /// When both sides were last known to be equal: after the last successful run, or when a sweep found the mirror
    /// unchanged. `None` if neither has happened yet.
    pub fn equal_at(&self) -> Option<DateTime<Utc>> {
        latest(self.last_success_at, self.checked_at)
    }

    /// Returns the pause if it has not ended by itself at `now`.
    pub fn pause_at(&self, now: DateTime<Utc>) -> Option<&Pause> {
        self.pause.as_ref().filter(|pause| pause.holds_at(now))
    }

    /// Whether a run is in progress.
    pub fn is_running(&self) -> bool {
        self.open_run.is_some_and(|run| run.is_in_progress)
    }

    /// Whether the last run left both sides equal, according to its outcome in the log. `false` while the log has a run
    /// without an end.
    pub fn was_equal(&self) -> bool {
        let last = self.last_run.as_ref().and_then(|run| run.outcome);
        self.open_run.is_none() && last.is_some_and(RunOutcome::is_success)
    }
}

/// How many numbers below the given one [`changed_since`] also looks at, to find runs that were committed late. A run
/// gets its number before its row is committed, so a row with a lower number can appear after one with a higher number.
/// The two numbers differ by more than this only if that many runs begin at the same time.
const NUMBERS_APART: i64 = 1000;

const SERVER: &str = "\
-- tell the start of the server
select concat_ws(' ', extract(epoch from pg_postmaster_start_time()),
    (select string_agg(b.pid::text, ' ' order by b.pid) from pg_catalog.pg_stat_activity b
     where b.datid is null and b.usesysid is null))";

/// Identifies the start of the server and of its own processes. It differs after a failover, a restore, a restart and a
/// crash: each may lose commits that were read before.
pub async fn server_start(tx: &Tx<'_, Local>) -> Result<String, DbError> {
    Ok(tx.query_one(SERVER, &[]).await?.get(0))
}

const CHANGED: &str = "\
-- find the mirrors with new runs
select l.tenant, l.local_table, max(l.seq)
from meter_sync.meter_sync_log l
where l.local_table = any ($1) and l.seq > $2 and l.tenant is not null
group by l.tenant, l.local_table";

/// Finds the mirrors in these local tables that have runs with numbers above `seq`. Returns each mirror with the number
/// of its newest run, and the highest number of all (`seq` if there is no higher one). Also returns mirrors whose
/// newest run has a slightly lower number, because that run may have been committed late.
pub async fn changed_since(
    tx: &Tx<'_, Local>,
    tables: &[String],
    seq: i64,
) -> Result<(Vec<(MirrorKey, i64)>, i64), DbError> {
    let params = [param::texts(tables), param::bigint(seq - NUMBERS_APART)];
    let rows = tx.query(CHANGED, &params).await?;
    let highest = rows.iter().map(|row| row.get::<_, i64>(2)).max();
    let keys = rows.iter().map(|row| {
        let key = MirrorKey {
            tenant: row.get(0),
            local_table: row.get(1),
        };
        (key, row.get(2))
    });
    Ok((keys.collect(), highest.unwrap_or(seq).max(seq)))
}

// Each subquery follows an index that begins with tenant and table, so the cost depends only on the number of mirrors
// asked for.
const READ: &str = concat!(
    "\
-- read the states of mirrors
select u.n, last.id, last.outcome, last.started_at, last.finished_at, last.changes, last.error_code, last.error_message,
       success.finished_at, m.checked_at, open.dry_run,
       coalesce((select max(l.seq) from meter_sync.meter_sync_log l
                 where l.tenant = u.tenant and l.local_table = u.local_table), 0),
       exists (
           select from pg_catalog.pg_locks k
           join pg_catalog.pg_database d on d.oid = k.database
           where open.dry_run is not null
             and k.locktype = 'advisory' and k.objsubid = 1 and k.granted and d.datname = current_database()
             and k.classid::bigint = (",
    run_lock_key!("u.local_table || ' ' || u.tenant"),
    " >> 32) & 4294967295
             and k.objid::bigint = ",
    run_lock_key!("u.local_table || ' ' || u.tenant"),
    " & 4294967295
       ), last.warning
from unnest($1, $2) with ordinality u (tenant, local_table, n)
left join lateral (
    select l.id, l.outcome, l.started_at, l.finished_at, l.inserted + l.updated + l.deactivated + l.reactivated as changes,
           l.error_code, l.error_message, l.warning
    from meter_sync.meter_sync_log l
    where l.tenant = u.tenant and l.local_table = u.local_table and l.outcome is not null and not l.dry_run
    order by l.seq desc limit 1
) last on true
left join lateral (
    select l.finished_at from meter_sync.meter_sync_log l
    where l.tenant = u.tenant and l.local_table = u.local_table and l.outcome in ('succeeded', 'no_change')
    order by l.seq desc limit 1
) success on true
left join lateral (
    select l.dry_run from meter_sync.meter_sync_log l
    where l.tenant = u.tenant and l.local_table = u.local_table and l.outcome is null
    order by l.seq desc limit 1
) open on true
left join meter_sync.meter_sync_mirror m on m.tenant = u.tenant and m.local_table = u.local_table
order by u.n"
);

/// Reads the states of these mirrors, in the order of `keys`.
pub async fn read(tx: &Tx<'_, Local>, keys: &[MirrorKey]) -> Result<Vec<MirrorState>, DbError> {
    let keys = MirrorKeys::of(keys);
    let params = [
        param::texts(&keys.tenants),
        param::texts(&keys.local_tables),
    ];
    let rows = tx.query(READ, &params).await?;
    Ok(rows.iter().map(state).collect())
}

fn state(row: &Row) -> MirrorState {
    let last_run = row
        .get::<_, Option<uuid::Uuid>>(1)
        .map(|id| LastRunSummary {
            run_id: RunId::from(id),
            outcome: row.get::<_, Option<&str>>(2).map(RunOutcome::read),
            started_at: row.get(3),
            finished_at: row.get(4),
            changes: row.get(5),
            error_code: row.get::<_, Option<&str>>(6).map(ErrorCode::read),
            error_message: row.get(7),
            warning: row.get(13),
        });
    MirrorState {
        last_run,
        last_success_at: row.get(8),
        checked_at: row.get(9),
        open_run: row.get::<_, Option<bool>>(10).map(|is_dry_run| OpenRun {
            is_in_progress: row.get(12),
            is_dry_run,
        }),
        newest: row.get(11),
        // The table of pauses is read on its own.
        pause: None,
    }
}

/// Returns the later of two times: `success`, the end of the last successful run, and `checked`, when a sweep last
/// found the mirror unchanged. Ignores `checked` while it lies more than an hour in the future, because a wrong clock
/// dated it.
pub fn latest(
    success: Option<DateTime<Utc>>,
    checked: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    let now = machine_clock::now();
    checked
        .filter(|at| !machine_clock::lies_ahead(*at, now))
        .max(success)
}
