//! Reads what all runs changed since a time.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::db::{DbError, Local, Tx, param};
use crate::model::{Change, RunId, TenantId};

use super::cursor::{self, ChangeCursor};
use crate::mirrors::local_table::LocalTable;
use crate::mirrors::state::words::moment;

/// What syncs changed since a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangesSince {
    /// The time.
    pub since: DateTime<Utc>,
    /// How many runs changed meters since then.
    pub runs: i64,
    /// Meters that were inserted.
    pub inserted: i64,
    /// Meters whose fields changed.
    pub updated: i64,
    /// Meters that were deactivated, as the remote has them no more.
    pub deactivated: i64,
    /// Meters that became active again.
    pub reactivated: i64,
    /// Whether the log still has each of these changes.
    pub is_complete: bool,
    /// The changes, those of the latest run first.
    pub changes: Vec<DatedChange>,
    /// Whether there are changes before these.
    #[serde(skip)]
    pub has_more: bool,
    /// When the log begins, where that is later.
    #[serde(skip)]
    pub begins: Option<DateTime<Utc>>,
}

/// A change, and when it became visible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DatedChange {
    /// The run.
    pub run_id: RunId,
    /// When the change became visible.
    pub at: DateTime<Utc>,
    /// What was changed.
    #[serde(flatten)]
    pub change: Change,
    /// Its number among the run's changes.
    #[serde(skip)]
    pub n: i64,
}

impl ChangesSince {
    /// The answer while there is no log yet.
    pub(in crate::mirrors) fn nothing(since: DateTime<Utc>) -> Self {
        Self {
            since,
            runs: 0,
            inserted: 0,
            updated: 0,
            deactivated: 0,
            reactivated: 0,
            is_complete: true,
            changes: Vec::new(),
            has_more: false,
            begins: None,
        }
    }

    /// Describes the changes in words.
    pub(in crate::mirrors) fn in_words(&self, now: DateTime<Utc>) -> String {
        let since = moment(self.since, now);
        let counted = [
            (self.inserted, "inserted"),
            (self.updated, "updated"),
            (self.deactivated, "deactivated"),
            (self.reactivated, "reactivated"),
        ];
        let counted = counted.iter().filter(|(count, _)| *count > 0);
        let counted: Vec<String> = counted
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let said = match (self.runs, counted.is_empty()) {
            (_, true) => format!("No sync has changed a meter since {since}."),
            (1, false) => format!(
                "Since {since} one sync changed meters: {}.",
                counted.join(", ")
            ),
            (runs, false) => {
                format!(
                    "Since {since} {runs} syncs changed meters: {}.",
                    counted.join(", ")
                )
            }
        };
        let begins = self.begins.map_or_else(String::new, |begins| {
            format!(" The log begins at {}.", moment(begins, now))
        });
        let gaps = match self.is_complete {
            true => "",
            false => {
                " The log no longer has each change (METER_SYNC_CHANGE_LIMIT, METER_SYNC_KEEP_RUNS)."
            }
        };
        format!("{said}{begins}{gaps}")
    }
}

/// Selects the runs `g` since `$3` that changed meters of the tenant `$2` in the table `$1`. A run that ended since
/// then started at most a day earlier. The other conditions are those of a partial index.
const RUNS: &str = "g.local_table = $1 and g.tenant = $2 and not g.dry_run and g.outcome in ('succeeded', 'partial')
    and g.inserted + g.updated + g.deactivated + g.reactivated > 0
    and g.started_at >= $3::timestamptz - interval '1 day' and g.finished_at >= $3";

/// Counts what was changed since a time, and lists at most `limit` of the changes, from a place on.
pub(in crate::mirrors) async fn read(
    tx: &Tx<'_, Local>,
    (table, tenant): (&LocalTable, &TenantId),
    since: DateTime<Utc>,
    (before, limit): (Option<ChangeCursor>, u32),
) -> Result<ChangesSince, DbError> {
    let scope = || {
        [
            param::text(table.name.as_str()),
            param::text(tenant.as_str()),
            param::timestamptz(since),
        ]
    };
    // `is_pruned` is read through JSON, because the log of an earlier version does not have it.
    let tally = format!(
        "-- count changes since a time
select count(*), coalesce(sum(g.inserted), 0)::bigint, coalesce(sum(g.updated), 0)::bigint,
       coalesce(sum(g.deactivated), 0)::bigint, coalesce(sum(g.reactivated), 0)::bigint,
       coalesce(bool_and(not g.changes_truncated and (to_jsonb(g.*)->>'is_pruned') is distinct from 'true'), true),
       (select min(b.started_at) from meter_sync.meter_sync_log b where b.local_table = $1 and b.tenant = $2)
from meter_sync.meter_sync_log g where {RUNS}"
    );
    let row = tx.query_one(&tally, &scope()).await?;
    let begins: Option<DateTime<Utc>> = row.get(6);
    let (run, n) = before.map_or((None, 0), |place| {
        (Some(place.run.as_uuid()), place.number())
    });
    let one_more = param::bigint(i64::from(limit) + 1);
    let [table_name, tenant, since_param] = scope();
    let params = [
        table_name,
        tenant,
        since_param,
        one_more,
        param::uuid(run),
        param::bigint(n),
    ];
    let (order, is_before) = (cursor::order(table), cursor::is_before(table, "$5", "$6"));
    let sql = |text: fn(&str) -> String| {
        format!(
            "-- list changes since a time
select {}, g.id, g.finished_at, c.n
from meter_sync.meter_sync_log g join meter_sync.meter_sync_change c on c.run_id = g.id
where {RUNS} and {is_before}
order by {order} desc, c.n limit $4",
            super::changed(text)
        )
    };
    let rows = tx.query_json(sql, &params).await?;
    let mut changes: Vec<DatedChange> = rows.iter().map(dated).collect();
    let has_more = changes.len() > limit as usize;
    changes.truncate(limit as usize);
    Ok(ChangesSince {
        since,
        runs: row.get(0),
        inserted: row.get(1),
        updated: row.get(2),
        deactivated: row.get(3),
        reactivated: row.get(4),
        is_complete: row.get(5),
        changes,
        has_more,
        begins: begins.filter(|begins| *begins > since),
    })
}

fn dated(row: &Row) -> DatedChange {
    DatedChange {
        run_id: RunId::from(row.get::<_, uuid::Uuid>(4)),
        at: row.get(5),
        change: super::change(row),
        n: row.get(6),
    }
}
