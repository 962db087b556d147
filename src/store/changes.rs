//! The table `meter_sync_change`: the changes that runs made to meters. The number of rows kept for each run is
//! limited.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::log::LogFilter;
use crate::db::{DbError, Local, Tx, param, read_lossless_json};
use crate::model::{
    Change, ChangeAction, ChangeCursor, ChangesSinceQuery, MeterDestination, MeterFields, RunId,
    RunTrigger,
};

/// What runs changed since a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ChangesSince")]
pub struct ChangesSinceReport {
    /// The time since which changes are counted and listed.
    pub since: DateTime<Utc>,
    /// How many runs changed meters since then.
    pub runs: i64,
    /// How many times these runs inserted a meter.
    pub inserted: i64,
    /// How many times they changed fields of a meter; excludes `reactivated`.
    pub updated: i64,
    /// How many times they deactivated a meter that the remote no longer had.
    pub deactivated: i64,
    /// How many times they made an inactive meter active.
    pub reactivated: i64,
    /// Whether the log still has all of these changes.
    pub is_complete: bool,
    /// One page of the changes, those of the newest run first.
    pub changes: Vec<DatedChange>,
    /// Whether there are older changes than those in `changes`.
    #[serde(skip)]
    pub has_more: bool,
    /// When the log begins, if that is later than `since`; `None` otherwise.
    #[serde(skip)]
    pub begins: Option<DateTime<Utc>>,
}

impl ChangesSinceReport {
    /// Returns the cursor for the next page; `None` on the last page.
    pub(crate) fn next_before(&self) -> Option<ChangeCursor> {
        let last = self.changes.last().filter(|_| self.has_more)?;
        Some(ChangeCursor {
            run: last.run_id,
            n: Some(last.n),
        })
    }
}

/// A change of a meter, with its run and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DatedChange {
    /// The id of the run that made the change.
    pub run_id: RunId,
    /// When the change became visible: at the end of the run.
    pub at: DateTime<Utc>,
    /// What was changed.
    #[serde(flatten)]
    pub change: Change,
    /// The number of the change among those of its run.
    #[serde(skip)]
    pub n: i64,
}

/// What one run changed of a meter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterChange {
    /// The id of the run.
    pub run_id: RunId,
    /// The number of the change among those of its run.
    #[serde(skip)]
    pub n: i64,
    /// When the change became visible: at the end of the run.
    pub at: DateTime<Utc>,
    /// What requested the run.
    pub trigger: RunTrigger,
    /// The person or program that requested the run; absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What the run did to the meter.
    pub action: ChangeAction,
    /// The old values of the changed fields; empty for an insert.
    pub before: MeterFields,
    /// The new values of the changed fields; for an insert, all that are not NULL.
    pub after: MeterFields,
    /// Where the meter went on the remote, if it was deactivated; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_to: Option<MeterDestination>,
}

/// Returns the list of columns that a query selects for a change (the row `c`), in the order in which [`change`] reads
/// them: [`CHANGED`] in number. `text` turns an SQL expression for a JSON value into one for its text.
pub(super) fn changed(text: fn(&str) -> String) -> String {
    let [key, before, after] = ["c.key", "c.before", "c.after"].map(text);
    format!("c.action, {key}, {before}, {after}, {GONE_TO}")
}

/// How many columns [`changed`] selects.
pub(super) const CHANGED: usize = 5;

/// SQL: where the meter of a change `c` went. It is read through JSON, because the table of an earlier version does not
/// have that column. Only deactivations have a value, and they have few other values.
const GONE_TO: &str = "case when c.action = 'deactivate' then to_jsonb(c.*)->>'gone_to' end";

/// Returns the first changes of a run in the order of their numbers, at most `limit`.
pub async fn changes(tx: &Tx<'_, Local>, id: RunId, limit: u32) -> Result<Vec<Change>, DbError> {
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
        action: ChangeAction::read(row.get(0)),
        key: read_lossless_json::fields(row.get(1)),
        name: None,
        before: read_lossless_json::fields(row.get(2)),
        after: read_lossless_json::fields(row.get(3)),
        gone_to: gone_to(row, CHANGED - 1),
    }
}

fn gone_to(row: &Row, place: usize) -> Option<MeterDestination> {
    let stored: Option<&str> = row.get(place);
    stored.and_then(MeterDestination::parse)
}

/// Returns the first changes of a run whose numbers are above `after`, at most `limit`, each with its number.
pub async fn changes_after(
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
    Ok(rows
        .iter()
        .map(|row| (row.get(CHANGED), change(row)))
        .collect())
}

/// SQL condition that selects the runs `g` that changed meters of the tenant `$2` in the table `$1` and ended at `$3`
/// or later. No run takes longer than a day, so the condition on `started_at` excludes none of these. The conditions on
/// `dry_run`, `outcome` and the counts repeat those of a partial index, so that Postgres can use the index.
const RUNS: &str = "g.local_table = $1 and g.tenant = $2 and not g.dry_run and g.outcome in ('succeeded', 'partial')
    and g.inserted + g.updated + g.deactivated + g.reactivated > 0
    and g.started_at >= $3::timestamptz - interval '1 day' and g.finished_at >= $3";

/// Counts the changes that runs have made since a time, and lists one page of them, those of newer runs first. `log`
/// must name a tenant. See [`count_since`] for `kept_since`.
pub async fn since(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    query: &ChangesSinceQuery<'_>,
    kept_since: Option<DateTime<Utc>>,
) -> Result<ChangesSinceReport, DbError> {
    let counted = count_since(tx, log, query.since, kept_since).await?;
    let listed = list_since(tx, log, query).await?;
    Ok(ChangesSinceReport {
        changes: listed.changes,
        has_more: listed.has_more,
        ..counted
    })
}

/// Counts the changes that runs have made since a time, and lists none of them. `log` must name a tenant. The log has
/// all runs since `kept_since`, and may have lost earlier ones; `None` if it loses none.
pub async fn count_since(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    since: DateTime<Utc>,
    kept_since: Option<DateTime<Utc>>,
) -> Result<ChangesSinceReport, DbError> {
    let params = log.with([param::timestamptz(since)]);
    // `is_pruned` is read through JSON, because the log table of an earlier version does not have that column.
    let tally = format!(
        "-- count changes since a time
select count(*), coalesce(sum(g.inserted), 0)::bigint, coalesce(sum(g.updated), 0)::bigint,
       coalesce(sum(g.deactivated), 0)::bigint, coalesce(sum(g.reactivated), 0)::bigint,
       coalesce(bool_and(not g.changes_truncated and (to_jsonb(g.*)->>'is_pruned') is distinct from 'true'), true),
       (select min(b.started_at) from meter_sync.meter_sync_log b where b.local_table = $1 and b.tenant = $2)
from meter_sync.meter_sync_log g where {RUNS}"
    );
    let row = tx.query_one(&tally, &params).await?;
    let begins: Option<DateTime<Utc>> = row.get(6);
    // Runs of before that time are kept only if they have the last change of a meter, or had a problem.
    let may_lack_runs = kept_since
        .filter(|kept| *kept > since)
        .is_some_and(|kept| begins.is_some_and(|begins| begins < kept));
    let are_whole: bool = row.get(5);
    Ok(ChangesSinceReport {
        since,
        runs: row.get(0),
        inserted: row.get(1),
        updated: row.get(2),
        deactivated: row.get(3),
        reactivated: row.get(4),
        is_complete: are_whole && !may_lack_runs,
        begins: begins.filter(|begins| *begins > since),
        changes: Vec::new(),
        has_more: false,
    })
}

/// A page of changes.
#[derive(Debug, Default)]
pub struct ListedChanges {
    /// The changes, those of the newest run first.
    pub changes: Vec<DatedChange>,
    /// Whether there are older ones.
    pub has_more: bool,
}

/// Lists one page of the changes that [`since`] lists, and counts nothing.
pub async fn list_since(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    query: &ChangesSinceQuery<'_>,
) -> Result<ListedChanges, DbError> {
    let (run, n) = place(query.before);
    let kinds = query.kinds.iter().map(|kind| kind.as_str().to_owned());
    let kinds: Vec<String> = kinds.collect();
    let params = log.with([
        param::timestamptz(query.since),
        param::bigint(i64::from(query.limit) + 1),
        param::uuid(run),
        param::bigint(n),
        param::texts(&kinds),
    ]);
    let (order, is_before) = (order(log), is_before(log, "$5", "$6"));
    let sql = |text: fn(&str) -> String| {
        format!(
            "-- list changes since a time
select {}, g.id, g.finished_at, c.n
from meter_sync.meter_sync_log g join meter_sync.meter_sync_change c on c.run_id = g.id
where {RUNS} and {is_before} and ($7 = '{{}}' or c.action = any ($7))
order by {order} desc, c.n limit $4",
            changed(text)
        )
    };
    let rows = tx.query_json(sql, &params).await?;
    let mut changes: Vec<DatedChange> = rows.iter().map(dated).collect();
    let has_more = changes.len() > query.limit as usize;
    changes.truncate(query.limit as usize);
    Ok(ListedChanges { changes, has_more })
}

fn dated(row: &Row) -> DatedChange {
    DatedChange {
        run_id: RunId::from(row.get::<_, uuid::Uuid>(CHANGED)),
        at: row.get(CHANGED + 1),
        change: change(row),
        n: row.get(CHANGED + 2),
    }
}

/// The query for one page of the changes of a meter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterChangesQuery {
    /// The page has only changes made since this time; `None` means since any time.
    pub since: Option<DateTime<Utc>>,
    /// The page has only changes that follow this one in the listing; `None` starts with the newest change.
    pub before: Option<ChangeCursor>,
    /// The maximum number of changes to return.
    pub limit: i64,
}

/// Lists changes of one meter, newest first. `key` is the meter's key as the log stores it.
pub async fn of_meter(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    key: &str,
    query: &MeterChangesQuery,
) -> Result<Vec<MeterChange>, DbError> {
    let [table, tenant] = log.params();
    let (run, n) = place(query.before);
    let params = [
        param::text(key),
        table,
        tenant,
        param::bigint(query.limit),
        param::uuid(run),
        param::bigint(n),
        param::timestamptz(query.since.unwrap_or(DateTime::UNIX_EPOCH)),
    ];
    let (order, is_before) = (order(log), is_before(log, "$5", "$6"));
    let sql = format!(
        "-- list a meter's changes
select c.run_id, g.finished_at, c.action, c.before::text, c.after::text, c.n, g.trigger, g.actor, {GONE_TO}
from meter_sync.meter_sync_change c
join meter_sync.meter_sync_log g on g.id = c.run_id
where c.key = $1::jsonb and g.local_table = $2 and g.tenant = $3
  and not g.dry_run and g.outcome in ('succeeded', 'partial') and g.finished_at >= $7 and {is_before}
order by {order} desc, c.n limit $4"
    );
    let change = |row: &Row| MeterChange {
        run_id: RunId::from(row.get::<_, uuid::Uuid>(0)),
        at: row.get(1),
        action: ChangeAction::read(row.get(2)),
        before: read_lossless_json::fields(row.get(3)),
        after: read_lossless_json::fields(row.get(4)),
        n: row.get(5),
        trigger: RunTrigger::read(row.get(6)),
        actor: row.get(7),
        gone_to: gone_to(row, 8),
    };
    let rows = tx.query(&sql, &params).await?;
    Ok(rows.iter().map(change).collect())
}

/// Returns the SQL parameters of a cursor, which is the last change that was listed: its run, and its number in that
/// run. If the cursor has no number, returns the highest possible number, so that the listing continues after all
/// changes of that run. Without a cursor, the run is null.
fn place(before: Option<ChangeCursor>) -> (Option<uuid::Uuid>, i64) {
    match before {
        Some(place) => (Some(place.run.as_uuid()), place.n.unwrap_or(i64::MAX)),
        None => (None, 0),
    }
}

/// Returns the SQL expression by which runs `g` are ordered. Newer runs have higher values.
pub(super) fn order(log: LogFilter<'_>) -> &'static str {
    match log.has_run_numbers {
        true => "g.seq",
        false => "g.id",
    }
}

/// Returns the SQL expression for the value of [`order`] of a run. `run` is the SQL parameter with its ID.
pub(super) fn order_of(log: LogFilter<'_>, run: &str) -> String {
    match log.has_run_numbers {
        true => format!("(select b.seq from meter_sync.meter_sync_log b where b.id = {run})"),
        false => run.to_owned(),
    }
}

/// Returns the SQL condition that a change `c` of a run `g` is listed after the cursor (the last change that was
/// listed). Newer runs are listed first, so the run is older than the cursor's run, or it is the same run and the
/// change has a higher number. `run` and `n` are the SQL parameters of the cursor. If `run` is null, the condition is
/// true for every change.
fn is_before(log: LogFilter<'_>, run: &str, n: &str) -> String {
    let (order, of_run) = (order(log), order_of(log, run));
    format!("({run}::uuid is null or {order} < {of_run} or (g.id = {run} and c.n > {n}))")
}
