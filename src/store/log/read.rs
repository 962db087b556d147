//! Reads runs from the table `meter_sync_log`.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::LogFilter;
use crate::db::param::Param;
use crate::db::{DbError, Local, Tx, param};
use crate::error::{ErrorCode, Failure, OVERRIDE};
use crate::machine_clock;
use crate::model::{
    Counts, HeldDeactivations, PhaseTime, RunFilter, RunId, RunOutcome, RunRecord, RunTrigger,
    RunsQuery,
};

const COLUMNS: &str = "id, trigger, actor, reason, dry_run, started_at, finished_at, outcome,
       inserted, updated, deactivated, reactivated, unchanged, rejected,
       error_code, error_message, error_remedy, remote_bytes, changes_truncated, warning";

/// Returns the `select .. from` part of a query for runs. `seq` is null if the log does not have that column yet.
fn select(log: LogFilter<'_>) -> String {
    let seq = match log.has_run_numbers {
        true => "seq",
        false => "null::bigint as seq",
    };
    format!("select {COLUMNS}, {seq}\nfrom meter_sync.meter_sync_log")
}

/// Returns the SQL condition that a run is newer (`is` is `>`) or older (`is` is `<`) than another run. `id` is the SQL
/// parameter with the ID of that other run.
fn beside(log: LogFilter<'_>, is: &str, id: &str) -> String {
    let of = |run: &str| match log.has_run_numbers {
        true => format!("{run}.seq"),
        false => format!("({run}.started_at, {run}.id)"),
    };
    let (one, other) = (of("meter_sync_log"), of("b"));
    let other = other.trim_matches(['(', ')']);
    format!("{one} {is} (select {other} from meter_sync.meter_sync_log b where b.id = {id})")
}

/// Returns a query for at most `$3` runs of the table `$1` that match `condition`, newest first. If the tenant `$2` is
/// known, these are the tenant's runs and the runs that failed because no tenant was known; otherwise, the runs of all
/// tenants.
///
/// Each of these two parts follows an index that begins with the tenant, so it reads no run of another tenant. That is
/// why the query has `any (array[$2])`, and the tenant in `order by`. Otherwise, Postgres sometimes chooses the index
/// of the whole table and reads the runs of all tenants.
fn runs(log: LogFilter<'_>, condition: &str) -> String {
    let (select, newest_first) = (select(log), log.newest_first());
    let part = |whose: &str, first: &str| {
        format!(
            "{select} where local_table = $1 {whose} {condition}\norder by {first}{newest_first} limit $3"
        )
    };
    let ours = part("and tenant = any (array[$2])", "tenant, ");
    let of_none = part("and tenant is null", "tenant, ");
    match log.tenant {
        Some(_) => {
            format!("({ours})\nunion all\n({of_none})\norder by {newest_first} limit $3")
        }
        None => part("", ""),
    }
}

// `PROBLEMS` and `CHANGED` repeat the conditions of partial indexes, so that Postgres can use these.
const PROBLEMS: &str = "and outcome in ('partial', 'failed', 'refused', 'interrupted')";
const CHANGED: &str = "and not dry_run and outcome in ('succeeded', 'partial')
    and inserted + updated + deactivated + reactivated > 0";
const ENDED: &str = "and outcome is not null and not dry_run";

// The columns `phases` and `held_back` are read through JSON, because the log of an earlier version lacks them until
// this version has run its migrations.
const DETAILS: &str = "\
-- read a run's details
select to_jsonb(g.*)->>'phases', to_jsonb(g.*)->>'held_back',
       (select count(*) from meter_sync.meter_sync_change c where c.run_id = g.id)
from meter_sync.meter_sync_log g where g.id = $1";

/// Returns the run with this ID; `None` if there is none, or if it is of another table or tenant than `log` names. A
/// run that failed because no tenant was known is returned for every tenant. If `log` names no tenant, any tenant's run
/// is returned.
pub async fn by_id(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    id: RunId,
) -> Result<Option<RunRecord>, DbError> {
    let sql = format!(
        "-- read a run\n{} where local_table = $1 and (tenant is null or tenant = coalesce($2, tenant)) and id = $3",
        select(log)
    );
    let params = log.with([param::uuid(id.as_uuid())]);
    one(tx, &sql, &params).await
}

/// Returns at most `limit` runs of the table, newest first: the tenant's runs, and runs that failed because no tenant
/// was known. If `log` names no tenant, returns the runs of all tenants.
pub async fn newest(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    limit: u32,
) -> Result<Vec<RunRecord>, DbError> {
    let sql = format!("-- list runs\n{}", runs(log, ""));
    let params = log.with([param::bigint(i64::from(limit))]);
    Ok(tx.query(&sql, &params).await?.iter().map(record).collect())
}

/// Returns one page of the runs that [`newest`] lists. `query` selects the page and the kind of runs.
pub async fn page(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    query: &RunsQuery,
) -> Result<Vec<RunRecord>, DbError> {
    let shown = match query.show {
        RunFilter::All => "",
        RunFilter::Problems => PROBLEMS,
        RunFilter::Changes => CHANGED,
    };
    let before = beside(log, "<", "$4");
    let condition = format!("and ($4::uuid is null or {before}) {shown}");
    let listed = runs(log, &condition);
    let sql = format!("-- list a page of runs\n{listed}");
    let params = log.with([
        param::bigint(i64::from(query.limit)),
        param::uuid(query.before.map(RunId::as_uuid)),
    ]);
    Ok(tx.query(&sql, &params).await?.iter().map(record).collect())
}

/// What the log holds about a run beyond its [`RunRecord`].
pub struct LoggedRunDetails {
    /// How long the run spent in each phase; empty while it runs.
    pub phases: Vec<PhaseTime>,
    /// The deactivations that the brake held back; `None` if it held none back.
    pub held_back: Option<HeldDeactivations>,
    /// How many changes of the run the log holds.
    pub changes: i64,
}

/// Reads what the log holds about a run beyond its [`RunRecord`].
pub async fn details(tx: &Tx<'_, Local>, id: RunId) -> Result<LoggedRunDetails, DbError> {
    let row = tx.query_one(DETAILS, &[param::uuid(id.as_uuid())]).await?;
    let text = |column| row.get::<_, Option<&str>>(column);
    // A value that a newer version wrote in another format is left out.
    let phases = text(0).and_then(|text| serde_json::from_str(text).ok());
    let held_back = text(1).and_then(|text| serde_json::from_str(text).ok());
    let held_back = held_back.map(HeldDeactivations::completed);
    Ok(LoggedRunDetails {
        phases: phases.unwrap_or_default(),
        held_back,
        changes: row.get(2),
    })
}

/// Returns the tenant's newest run that has not ended; `None` if all have ended.
pub async fn running(tx: &Tx<'_, Local>, log: LogFilter<'_>) -> Result<Option<RunRecord>, DbError> {
    let sql = format!(
        "-- read the running run\n{} where local_table = $1 and tenant = $2 and outcome is null order by {} limit 1",
        select(log),
        log.newest_first()
    );
    one(tx, &sql, &log.params()).await
}

/// Returns the newest run that has ended and is no dry run, from the runs that [`newest`] lists; `None` if there is
/// none.
pub async fn last_finished(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
) -> Result<Option<RunRecord>, DbError> {
    let sql = format!("-- read the last run\n{}", runs(log, ENDED));
    let params = log.with([param::bigint(1)]);
    one(tx, &sql, &params).await
}

/// Returns the tenant's last run with this idempotency key and this `dry_run` that started after `since`; `None` if
/// there is none. Ignores runs that start more than an hour in the future, because a wrong clock dated them.
pub async fn by_idempotency_key(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    key: &str,
    dry_run: bool,
    since: DateTime<Utc>,
) -> Result<Option<RunRecord>, DbError> {
    let sql = format!(
        "-- look for the same request
{} where local_table = $1 and tenant = $2 and idempotency_key = $3 and dry_run = $4 and started_at > $5
  and started_at < clock_timestamp() + {}
order by {} limit 1",
        select(log),
        machine_clock::clock_tolerance!(),
        log.newest_first()
    );
    let key = tx.storable(key).await?;
    let params = log.with([
        param::text(key.as_ref()),
        param::boolean(dry_run),
        param::timestamptz(since),
    ]);
    one(tx, &sql, &params).await
}

/// Returns the tenant's newest run that succeeded completely; `None` if there is none. If `log` names no tenant, the
/// run may be of any tenant.
pub async fn last_success(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
) -> Result<Option<RunRecord>, DbError> {
    let sql = format!(
        "-- read the last success
{} where local_table = $1 and tenant = coalesce($2, tenant) and outcome in ('succeeded', 'no_change')
order by {} limit 1",
        select(log),
        log.newest_first()
    );
    one(tx, &sql, &log.params()).await
}

/// The highest number that [`ended_after`] returns. It limits how many rows the query reads; nobody needs to
/// distinguish higher numbers.
const MAX_FAILURES: i64 = 1000;

/// Counts the runs that are newer than `run` and have ended; dry runs do not count. If `run` is `None`, counts all runs
/// that have ended. Returns at most `MAX_FAILURES`.
pub async fn ended_after(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    run: Option<RunId>,
) -> Result<i64, DbError> {
    let after = beside(log, ">", "$4");
    let ended = runs(log, &format!("{ENDED} and ($4::uuid is null or {after})"));
    let sql = format!(
        "-- count the runs since the last success\nselect least(count(*), $3) from (\n{ended}\n) run"
    );
    let params = log.with([
        param::bigint(MAX_FAILURES),
        param::uuid(run.map(RunId::as_uuid)),
    ]);
    Ok(tx.query_one(&sql, &params).await?.get(0))
}

async fn one(
    tx: &Tx<'_, Local>,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Option<RunRecord>, DbError> {
    Ok(tx.query_opt(sql, params).await?.as_ref().map(record))
}

fn record(row: &Row) -> RunRecord {
    let outcome: Option<String> = row.get("outcome");
    RunRecord {
        run_id: RunId::from(row.get::<_, uuid::Uuid>("id")),
        trigger: RunTrigger::read(row.get("trigger")),
        actor: row.get("actor"),
        reason: row.get("reason"),
        dry_run: row.get("dry_run"),
        seq: row.get("seq"),
        started_at: row.get("started_at"),
        finished_at: row.get("finished_at"),
        outcome: outcome.map(|text| RunOutcome::read(&text)),
        counts: Counts {
            inserted: row.get("inserted"),
            updated: row.get("updated"),
            deactivated: row.get("deactivated"),
            reactivated: row.get("reactivated"),
            unchanged: row.get("unchanged"),
            rejected: row.get("rejected"),
        },
        error: failure(row),
        same_error_as: None,
        remote_bytes: row.get("remote_bytes"),
        changes_truncated: row.get("changes_truncated"),
        warning: row.get("warning"),
    }
}

fn failure(row: &Row) -> Option<Failure> {
    let code: String = row.get::<_, Option<String>>("error_code")?;
    let code = ErrorCode::read(&code);
    let message: Option<String> = row.get("error_message");
    let remedy: Option<String> = row.get("error_remedy");
    // Remedies that earlier versions logged may name an option that overrides the brake. Only people may use that
    // option, so such a remedy is replaced.
    let remedy = remedy.filter(|remedy| !remedy.contains(OVERRIDE));
    Some(Failure {
        code,
        message: message.unwrap_or_default(),
        remedy: remedy.unwrap_or_else(|| code.remedy().to_owned()),
    })
}

const LAST_TENANTS: &str = "\
-- read whose meters tables hold
select (
    select l.tenant from meter_sync.meter_sync_log l
    where l.local_table = u.local_table and l.outcome in ('succeeded', 'no_change', 'partial')
    order by l.seq desc limit 1
)
from unnest($1) with ordinality u (local_table, n)
order by u.n";

/// Returns the tenant for which each local table was last synced, in the order of `local_tables`; `None` for a table
/// that was never synced.
pub async fn last_tenants(
    tx: &Tx<'_, Local>,
    local_tables: &[String],
) -> Result<Vec<Option<String>>, DbError> {
    let rows = tx
        .query(LAST_TENANTS, &[param::texts(local_tables)])
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Returns the tenant for which the local table was last synced; `None` if it was never synced.
pub async fn last_tenant(tx: &Tx<'_, Local>, local_table: &str) -> Result<Option<String>, DbError> {
    let last = last_tenants(tx, &[local_table.to_owned()]).await?;
    Ok(last.into_iter().next().flatten())
}
