//! Reads the run log: runs, their changes and their rejected rows.

use crate::clock;
use crate::db::param::Param;
use crate::db::{DbError, Local, Tx, json, param};
use crate::error::{ErrorCode, Failure, OVERRIDE};
use crate::model::{
    Action, Change, Counts, HeldBack, Outcome, PhaseTime, Rejection, RunId, TenantId, Trigger,
};
use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::local_table::{LocalTable, Scope};
use super::state::status::RunRecord;
use listing::{RunsQuery, Show};

mod active_text;
mod approvable;
pub mod cursor;
mod key_text;
pub mod listing;
pub mod meter_names;
pub mod meters;
pub mod questions;
pub mod search;
pub mod since;

const COLUMNS: &str = "id, trigger, actor, reason, dry_run, started_at, finished_at, outcome,
       inserted, updated, deactivated, reactivated, unchanged, rejected,
       error_code, error_message, error_remedy, remote_bytes, changes_truncated, warning";

/// The `select .. from` of a query for runs. `seq` is null if the runs have no numbers yet.
fn select(table: &LocalTable) -> String {
    let seq = match table.has_run_numbers {
        true => "seq",
        false => "null::bigint as seq",
    };
    format!("select {COLUMNS}, {seq}\nfrom meter_sync.meter_sync_log")
}

/// The `order by` that lists the newest run first.
pub(super) fn newest_first(table: &LocalTable) -> &'static str {
    match table.has_run_numbers {
        true => "seq desc",
        false => "started_at desc, id desc",
    }
}

/// The condition that a run comes after (`is` is `>`) or before (`<`) the run with this id.
fn beside(table: &LocalTable, is: &str, id: &str) -> String {
    let of = |run: &str| match table.has_run_numbers {
        true => format!("{run}.seq"),
        false => format!("({run}.started_at, {run}.id)"),
    };
    let (one, other) = (of("meter_sync_log"), of("b"));
    let other = other.trim_matches(['(', ')']);
    format!("{one} {is} (select {other} from meter_sync.meter_sync_log b where b.id = {id})")
}

/// Builds a query for runs of the table `$1`, newest first, at most `$3`. If the tenant `$2` is known, these are its
/// runs and the runs that ended because no tenant was known. Each part follows an index that begins with the tenant, so
/// it reads no run of another tenant. With `tenant = $2`, or without the tenant in `order by`, Postgres sometimes takes
/// the index of the whole table and reads the runs of all tenants.
fn runs(table: &LocalTable, tenant: Option<&TenantId>, condition: &str) -> String {
    let (select, newest_first) = (select(table), newest_first(table));
    let part = |whose: &str, first: &str| {
        format!(
            "{select} where local_table = $1 {whose} {condition}\norder by {first}{newest_first} limit $3"
        )
    };
    let ours = part("and tenant = any (array[$2])", "tenant, ");
    let of_none = part("and tenant is null", "tenant, ");
    match tenant {
        Some(_) => {
            format!("({ours})\nunion all\n({of_none})\norder by {newest_first} limit $3")
        }
        None => part("", ""),
    }
}

// `PROBLEMS` and `CHANGED` match the conditions of partial indexes.
const PROBLEMS: &str = "and outcome in ('partial', 'failed', 'refused', 'interrupted')";
const CHANGED: &str = "and not dry_run and outcome in ('succeeded', 'partial')
    and inserted + updated + deactivated + reactivated > 0";
const ENDED: &str = "and outcome is not null and not dry_run";

// Read through JSON: a log that no run of this version has written to does not have these columns yet.
const DETAILS: &str = "\
-- read a run's details
select to_jsonb(g.*)->>'phases', to_jsonb(g.*)->>'held_back',
       (select count(*) from meter_sync.meter_sync_change c where c.run_id = g.id)
from meter_sync.meter_sync_log g where g.id = $1";

fn of<'a>(table: &'a LocalTable, tenant: Option<&'a TenantId>) -> [Param<'a>; 2] {
    [
        param::text(table.name.as_str()),
        param::text(tenant.map(TenantId::as_str)),
    ]
}

/// Returns the run with this id, if it is among those that [`newest`] lists.
pub(super) async fn by_id(
    tx: &Tx<'_, Local>,
    (table, tenant): (&LocalTable, Option<&TenantId>),
    id: RunId,
) -> Result<Option<RunRecord>, DbError> {
    let sql = format!(
        "-- read a run\n{} where local_table = $1 and (tenant is null or tenant = coalesce($2, tenant)) and id = $3",
        select(table)
    );
    let [table, tenant] = of(table, tenant);
    let params = [table, tenant, param::uuid(id.as_uuid())];
    Ok(tx.query_opt(&sql, &params).await?.as_ref().map(record))
}

/// Returns the newest runs of the table, newest first: the tenant's runs (those of all tenants if it is not known), and
/// runs that ended because no tenant was known.
pub(super) async fn newest(
    tx: &Tx<'_, Local>,
    table: &LocalTable,
    tenant: Option<&TenantId>,
    limit: u32,
) -> Result<Vec<RunRecord>, DbError> {
    let sql = format!("-- list runs\n{}", runs(table, tenant, ""));
    let [table, tenant] = of(table, tenant);
    let params = [table, tenant, param::bigint(i64::from(limit))];
    Ok(tx.query(&sql, &params).await?.iter().map(record).collect())
}

/// Returns one page of the runs that [`newest`] lists.
pub(super) async fn page(
    tx: &Tx<'_, Local>,
    table: &LocalTable,
    tenant: Option<&TenantId>,
    query: &RunsQuery,
) -> Result<Vec<RunRecord>, DbError> {
    let shown = match query.show {
        Show::All => "",
        Show::Problems => PROBLEMS,
        Show::Changes => CHANGED,
    };
    let before = beside(table, "<", "$4");
    let condition = format!("and ($4::uuid is null or {before}) {shown}");
    let listed = runs(table, tenant, &condition);
    let sql = format!("-- list a page of runs\n{listed}");
    let [table, tenant] = of(table, tenant);
    let params = [
        table,
        tenant,
        param::bigint(i64::from(query.limit)),
        param::uuid(query.before.map(RunId::as_uuid)),
    ];
    Ok(tx.query(&sql, &params).await?.iter().map(record).collect())
}

/// What the log has about a run beyond its [`RunRecord`].
pub(super) struct Details {
    pub(super) phases: Vec<PhaseTime>,
    pub(super) held_back: Option<HeldBack>,
    /// How many changes the log has.
    pub(super) changes: i64,
}

/// Reads the details of a run.
pub(super) async fn details(tx: &Tx<'_, Local>, id: RunId) -> Result<Details, DbError> {
    let row = tx.query_one(DETAILS, &[param::uuid(id.as_uuid())]).await?;
    let text = |column| row.get::<_, Option<&str>>(column);
    // A value that a newer version wrote in another form is left out.
    let phases = text(0).and_then(|text| serde_json::from_str(text).ok());
    let held_back = text(1).and_then(|text| serde_json::from_str(text).ok());
    let held_back = held_back.map(HeldBack::completed);
    Ok(Details {
        phases: phases.unwrap_or_default(),
        held_back,
        changes: row.get(2),
    })
}

/// Returns the newest run that has not ended, if any.
pub(super) async fn running(
    tx: &Tx<'_, Local>,
    scope: &Scope,
) -> Result<Option<RunRecord>, DbError> {
    let sql = format!(
        "-- read the running run\n{} where local_table = $1 and tenant = $2 and outcome is null order by {} limit 1",
        select(&scope.table),
        newest_first(&scope.table)
    );
    let params = of(&scope.table, Some(&scope.tenant.id));
    Ok(tx.query_opt(&sql, &params).await?.as_ref().map(record))
}

/// Returns the last run that ended, without dry runs, among those that [`newest`] lists.
pub(super) async fn last_finished(
    tx: &Tx<'_, Local>,
    table: &LocalTable,
    tenant: Option<&TenantId>,
) -> Result<Option<RunRecord>, DbError> {
    let sql = format!("-- read the last run\n{}", runs(table, tenant, ENDED));
    let [table, tenant] = of(table, tenant);
    let params = [table, tenant, param::bigint(1)];
    Ok(tx.query_opt(&sql, &params).await?.as_ref().map(record))
}

/// Returns the last run with this idempotency key and `dry_run` that started after `since`, if any. Ignores runs that a
/// wrong clock dated in the future.
pub(super) async fn by_idempotency_key(
    tx: &Tx<'_, Local>,
    scope: &Scope,
    (key, dry_run): (&str, bool),
    since: DateTime<Utc>,
) -> Result<Option<RunRecord>, DbError> {
    let sql = format!(
        "-- look for the same request
{} where local_table = $1 and tenant = $2 and idempotency_key = $3 and dry_run = $4 and started_at > $5
  and started_at < clock_timestamp() + {}
order by {} limit 1",
        select(&scope.table),
        clock::set_back!(),
        newest_first(&scope.table)
    );
    let [table, tenant] = of(&scope.table, Some(&scope.tenant.id));
    let key = tx.storable(key).await?;
    let params = [
        table,
        tenant,
        param::text(key.as_ref()),
        param::boolean(dry_run),
        param::timestamptz(since),
    ];
    Ok(tx.query_opt(&sql, &params).await?.as_ref().map(record))
}

/// Returns the last run that succeeded.
pub(super) async fn last_success(
    tx: &Tx<'_, Local>,
    table: &LocalTable,
    tenant: Option<&TenantId>,
) -> Result<Option<RunRecord>, DbError> {
    let sql = format!(
        "-- read the last success
{} where local_table = $1 and tenant = coalesce($2, tenant) and outcome in ('succeeded', 'no_change')
order by {} limit 1",
        select(table),
        newest_first(table)
    );
    let params = of(table, tenant);
    Ok(tx.query_opt(&sql, &params).await?.as_ref().map(record))
}

/// The most failures that are counted. It bounds the query, and nobody needs to tell higher numbers apart.
const MAX_FAILURES: i64 = 1000;

/// Counts the runs that ended after this run, or all if `None`, without dry runs, at most [`MAX_FAILURES`].
pub(super) async fn ended_after(
    tx: &Tx<'_, Local>,
    (table, tenant): (&LocalTable, Option<&TenantId>),
    run: Option<RunId>,
) -> Result<i64, DbError> {
    let after = beside(table, ">", "$4");
    let ended = runs(
        table,
        tenant,
        &format!("{ENDED} and ($4::uuid is null or {after})"),
    );
    let sql = format!(
        "-- count the runs since the last success\nselect least(count(*), $3) from (\n{ended}\n) run"
    );
    let [table, tenant] = of(table, tenant);
    let params = [
        table,
        tenant,
        param::bigint(MAX_FAILURES),
        param::uuid(run.map(RunId::as_uuid)),
    ];
    Ok(tx.query_one(&sql, &params).await?.get(0))
}

/// The columns of the change `c`, in the order in which [`change`] reads them.
pub(super) fn changed(text: fn(&str) -> String) -> String {
    let [key, before, after] = ["c.key", "c.before", "c.after"].map(text);
    format!("c.action, {key}, {before}, {after}")
}

/// Returns the first changes of a run.
pub(super) async fn changes(
    tx: &Tx<'_, Local>,
    id: RunId,
    limit: u32,
) -> Result<Vec<Change>, DbError> {
    let limit = i64::from(limit);
    let params = [param::uuid(id.as_uuid()), param::bigint(limit)];
    let sql = |text| {
        format!(
            "-- list changes
select {} from meter_sync.meter_sync_change c where c.run_id = $1 order by c.n limit $2",
            changed(text)
        )
    };
    let rows = tx.query_json(sql, &params).await?;
    Ok(rows.iter().map(change).collect())
}

pub(super) fn change(row: &Row) -> Change {
    Change {
        action: Action::read(row.get(0)),
        key: json::fields(row.get(1)),
        name: None,
        before: json::fields(row.get(2)),
        after: json::fields(row.get(3)),
    }
}

/// Returns the changes of a run with numbers above `after`, each with its number.
pub(super) async fn changes_after(
    tx: &Tx<'_, Local>,
    id: RunId,
    limit: u32,
    after: i64,
) -> Result<Vec<(i64, Change)>, DbError> {
    let params = [
        param::uuid(id.as_uuid()),
        param::bigint(i64::from(limit)),
        param::bigint(after),
    ];
    let sql = |text| {
        format!(
            "-- list a page of changes
select {}, c.n from meter_sync.meter_sync_change c where c.run_id = $1 and c.n > $3 order by c.n limit $2",
            changed(text)
        )
    };
    let rows = tx.query_json(sql, &params).await?;
    Ok(rows.iter().map(|row| (row.get(4), change(row))).collect())
}

const REJECTED: &str = "\
-- list rejected rows
select key::text, reason from meter_sync.meter_sync_rejected where run_id = $1 order by n limit $2";

/// Returns the first rejected rows of a run.
pub(super) async fn rejected(
    tx: &Tx<'_, Local>,
    id: RunId,
    limit: u32,
) -> Result<Vec<Rejection>, DbError> {
    let limit = i64::from(limit);
    let params = [param::uuid(id.as_uuid()), param::bigint(limit)];
    let rows = tx.query(REJECTED, &params).await?;
    Ok(rows
        .iter()
        .map(|row| Rejection {
            key: json::fields(row.get(0)),
            reason: row.get(1),
        })
        .collect())
}

fn record(row: &Row) -> RunRecord {
    let outcome: Option<String> = row.get("outcome");
    RunRecord {
        run_id: RunId::from(row.get::<_, uuid::Uuid>("id")),
        trigger: Trigger::read(row.get("trigger")),
        actor: row.get("actor"),
        reason: row.get("reason"),
        dry_run: row.get("dry_run"),
        seq: row.get("seq"),
        started_at: row.get("started_at"),
        finished_at: row.get("finished_at"),
        outcome: outcome.map(|text| Outcome::read(&text)),
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
    // Remedies of earlier versions named an option that passes the brake. Only people may use it.
    let remedy = remedy.filter(|remedy| !remedy.contains(OVERRIDE));
    Some(Failure {
        code,
        message: message.unwrap_or_default(),
        remedy: remedy.unwrap_or_else(|| code.remedy().to_owned()),
    })
}
