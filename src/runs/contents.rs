//! Compares the contents of both sides after a run, where that is due.
//!
//! The run is in the log by then and its lock is free, so whatever goes wrong here is a warning of that run, and a later run
//! tries again. A difference is put right by a run of its own, which compares the rows in question value by value under the
//! same rules as any other run.

use std::sync::OnceLock;
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::db::{Database, DbError, Local, Tx, param};
use crate::error::{ErrorCode, Failure};
use crate::meter::{Permission, Progress, RunId, TenantId};
use crate::sync::drift::KnownColumns;
use crate::sync::{self, Compare, Contents, Earlier, Job, Occupant, SyncError};

use super::execute::{self, Ended};
use super::table::{LocalTable, Scope};
use super::{Allow, Request, history, log, measures, report};

impl Ended<'_> {
    /// Compares the contents, lets a run put right what differs, and logs what came of it with the run that has ended.
    pub(super) async fn compare_contents(&mut self) {
        let limit = self.order.shared.config.limits.run_timeout;
        let read = watch::Sender::new(Progress::start(Instant::now()));
        let contents = match tokio::time::timeout(limit, self.compare(&read)).await {
            Ok(compared) => compared.map_err(|error| error.failure()),
            Err(_elapsed) => Err(Failure::new(
                ErrorCode::RemoteTimeout,
                format!("The comparison did not end within {limit:?}."),
            )
            .with_remedy("Raise METER_SYNC_RUN_TIMEOUT.")),
        };
        let bytes = read.borrow().remote_bytes;
        let is_equal = matches!(contents, Ok(Contents::Equal));
        let warning = match contents {
            Ok(Contents::Equal | Contents::Unsettled) => None,
            Ok(Contents::Differing(compare)) => self.put_right(compare).await,
            Ok(Contents::Incomparable) => Some(incomparable()),
            Ok(Contents::Unfound) => Some(unfound()),
            Err(failure) => Some(not_compared(&failure)),
        };
        self.note(is_equal, warning, bytes).await;
    }

    /// What the comparison found; how many bytes the remote sent for it goes into `read`.
    async fn compare(&self, read: &sync::Observer) -> Result<Contents, SyncError> {
        let mapping = &self.order.shared.config.mapping;
        let job = Job {
            // The id of no run: hashes are seeded by it, and these are to be fresh.
            run_id: RunId::at(self.order.shared.clock.now()),
            tenant: &self.scope.tenant.given,
            mapping,
            limits: &self.order.shared.config.limits,
            occupant: Occupant::Nobody,
            compare: Compare::Differences,
            hash_bits: u64::BITS,
            earlier: Earlier::default(),
            dry_run: true,
            mass_deactivation: &Permission::None,
            allow_tenant_change: false,
            known_columns: &KnownColumns::default(),
            column_report: &OnceLock::new(),
        };
        let (one, other) = Uuid::new_v4().as_u64_pair();
        let mut remote = self.remote.connect().await?;
        let mut local = self.order.local.connect().await?;
        let locks = sync::locks_of(&mut remote, &mapping.source, false).await?;
        let snapshot = remote.snapshot("compare contents", &locks).await?;
        let tx = local.begin("compare contents").await?;
        let compared = sync::compare(snapshot, &tx, &job, [one, other], read).await;
        drop(tx);
        remote.discard();
        compared
    }

    /// Starts a run that compares these rows as well; gives what is to be said of it.
    async fn put_right(&self, compare: Compare) -> Option<String> {
        let asked = self.order.request;
        let request = Request {
            reason: Some(format!(
                "Comparing contents found a difference after run {}.",
                self.order.run_id
            )),
            dry_run: false,
            allow: Allow::default(),
            idempotency_key: None,
            compare,
            ..asked.clone()
        };
        let (begun, answer) = oneshot::channel();
        let ended = Box::pin(execute::run_once(self.order.shared, &request, begun)).await;
        drop(answer);
        let record = ended?.end.record;
        let is_settled = record.error.is_none() && record.counts.changes() == 0;
        (!is_settled).then(|| {
            format!(
                "Comparing contents after this run found a difference. Look at run {}, which was to put it right: {}",
                record.run_id,
                report::summary(&record)
            )
        })
    }

    /// Adds to the log and to the report of the run that has ended.
    async fn note(&mut self, is_equal: bool, warning: Option<String>, bytes: i64) {
        let run_id = self.order.run_id;
        if let Some(warning) = &warning {
            tracing::warn!(run.id = %run_id, "{warning}");
        }
        measures::read(bytes);
        let logged = log_of(
            self.order.local,
            run_id,
            (is_equal, warning.as_deref(), bytes),
        )
        .await;
        if let Err(failure) = logged {
            tracing::warn!(run.id = %run_id, error.code = %failure.code, "the comparison of contents could not be logged");
        }
        let record = &mut self.end.record;
        record.remote_bytes += bytes;
        if let Some(warning) = warning {
            let before = record.warning.take();
            record.warning = Some(match before {
                Some(before) => format!("{before} {warning}"),
                None => warning,
            });
        }
    }
}

async fn log_of(
    local: &Database<Local>,
    run_id: RunId,
    compared: (bool, Option<&str>, i64),
) -> Result<(), Failure> {
    let logged = async {
        let mut connection = local.connect().await?;
        let tx = connection.begin("log a comparison").await?;
        log::compared_after(&tx, run_id, compared).await?;
        tx.commit().await
    };
    logged.await.map_err(|error| error.failure())
}

const WAS_COMPARED_SINCE: &str = "\
-- look for a later comparison of contents
select exists (
    select from meter_sync.meter_sync_log
    where local_table = $1 and tenant = $2 and compared in ('contents', 'everything')
      and started_at > $3 and started_at <= clock_timestamp()
)";

/// Whether a run that started after `since` compared what all rows hold, or was followed by such a comparison. What a clock
/// that was wrong put into the future does not count: one comparison too many costs little.
pub(super) async fn was_compared_since(
    tx: &Tx<'_, Local>,
    scope: &Scope,
    since: DateTime<Utc>,
) -> Result<bool, DbError> {
    let params = [
        param::text(scope.table.name.as_str()),
        param::text(scope.tenant.id.as_str()),
        param::timestamptz(since),
    ];
    Ok(tx.query_one(WAS_COMPARED_SINCE, &params).await?.get(0))
}

/// When the last run ended that compared what all rows hold, itself or right after.
pub(super) async fn last_compared(
    tx: &Tx<'_, Local>,
    table: &LocalTable,
    tenant: Option<&TenantId>,
) -> Result<Option<DateTime<Utc>>, DbError> {
    let sql = format!(
        "-- read the last comparison of contents
select finished_at from meter_sync.meter_sync_log
where local_table = $1 and tenant = coalesce($2, tenant) and compared in ('contents', 'everything')
order by {} limit 1",
        history::newest_first(table)
    );
    let tenant = param::text(tenant.map(TenantId::as_str));
    let params = [param::text(table.name.as_str()), tenant];
    let found = tx.query_opt(&sql, &params).await?;
    Ok(found.and_then(|row| row.get(0)))
}

fn not_compared(failure: &Failure) -> String {
    format!(
        "The run did what it was to do; the contents of both sides could not be compared after it. {} {} A later run tries again.",
        failure.message, failure.remedy
    )
}

fn incomparable() -> String {
    "The contents of both sides cannot be compared by digests: a remote value does not become a value of its local column's \
     type. Mend the remote row or the type, or leave the column out of METER_SYNC_COLUMNS."
        .to_owned()
}

fn unfound() -> String {
    "The contents of both sides differ, and in which rows could not be found out in time. Raise METER_SYNC_STATEMENT_TIMEOUT; \
     a later run tries again."
        .to_owned()
}
