//! The start of a run: tenant, door, lock, log row.

use std::time::Duration;

use crate::clock;
use crate::db::{Connection, DbError, Local, Tx, migrations};
use crate::error::{ErrorCode, Failure};

use super::log::{self, Ending};
use super::order::Order;
use super::report::{RunReport, SAMPLE};
use super::status::RunRecord;
use super::tenant::{self, Tenant};
use super::{Requested, here, history, lock};

/// What became of the start.
pub(super) enum Start<'c> {
    Begun(Box<Begun<'c>>),
    Answered(Requested),
}

/// A run that holds its tenant's lock and has its log row.
pub(super) struct Begun<'c> {
    /// The transaction that holds the lock.
    pub(super) tx: Tx<'c, Local>,
    pub(super) tenant: Tenant,
    pub(super) last_tenant: Option<String>,
    pub(super) record: RunRecord,
}

/// For how long the lock is tried again while its holder is just letting go of it.
const LETTING_GO: Duration = Duration::from_millis(25);
const LETTING_GO_ATTEMPTS: usize = 80;

/// A repeated request is answered with the first one's run for so long.
const IDEMPOTENCY_HOURS: i64 = 24;

impl Order<'_> {
    pub(super) async fn start<'c>(
        &self,
        connection: &'c mut Connection<Local>,
    ) -> Result<Start<'c>, Failure> {
        migrations::run(connection).await?;
        let tx = connection.begin("sync").await.map_err(|e| e.failure())?;
        let tenant = match tenant::resolve(&tx, &self.shared.config.mapping).await {
            Ok(tenant) => tenant,
            Err(failure) if failure.code == ErrorCode::TenantNotConfigured => {
                let requested = self.fail_without_tenant(tx, failure);
                return requested
                    .await
                    .map(Start::Answered)
                    .map_err(|e| e.failure());
            }
            Err(failure) => return Err(failure),
        };
        self.pass_the_door(tx, tenant)
            .await
            .map_err(|e| e.failure())
    }

    async fn pass_the_door<'c>(
        &self,
        tx: Tx<'c, Local>,
        tenant: Tenant,
    ) -> Result<Start<'c>, DbError> {
        let mut second = self.local.connect().await?;
        let door = second.begin("start a run").await?;
        lock::door(&door, &tenant.id).await?;
        if let Some(requested) = self.same_request(&door, &tenant).await? {
            return Ok(Start::Answered(requested));
        }
        let mut attempts = 0;
        while !lock::try_take(&tx, &tenant.id).await? {
            if let Some(running) = history::running(&door, &tenant.id).await? {
                let report = RunReport::already_running(&running, clock::now());
                return Ok(Start::Answered(Requested::AlreadyRunning(Box::new(report))));
            }
            // Its run is in the log as ended; the lock follows in an instant.
            attempts += 1;
            if attempts == LETTING_GO_ATTEMPTS {
                return Err(DbError::silence::<Local>(
                    "take the run lock",
                    LETTING_GO * 80,
                ));
            }
            tokio::time::sleep(LETTING_GO).await;
        }
        log::mark_interrupted(&door, &tenant.id, self.started_at).await?;
        let last_tenant = log::last_tenant(&door, &self.shared.config.mapping).await?;
        log::start(&door, &self.beginning(Some(&tenant))).await?;
        door.commit().await?;
        tx.savepoint("work").await?;
        Ok(Start::Begun(Box::new(Begun {
            tx,
            tenant,
            last_tenant,
            record: self.record(),
        })))
    }

    async fn same_request(
        &self,
        door: &Tx<'_, Local>,
        tenant: &Tenant,
    ) -> Result<Option<Requested>, DbError> {
        let Some(key) = &self.request.idempotency_key else {
            return Ok(None);
        };
        let since = self.started_at - chrono::Duration::hours(IDEMPOTENCY_HOURS);
        let found = history::by_idempotency_key(door, &tenant.id, key, since).await?;
        let Some(record) = found else { return Ok(None) };
        let now = clock::now();
        if record.outcome.is_none() {
            let report = RunReport::already_running(&record, now);
            return Ok(Some(Requested::AlreadyRunning(Box::new(report))));
        }
        let changes = history::changes(door, record.run_id, SAMPLE).await?;
        Ok(Some(Requested::Finished(Box::new(RunReport::of(
            &record, changes, now,
        )))))
    }

    async fn fail_without_tenant(
        &self,
        tx: Tx<'_, Local>,
        failure: Failure,
    ) -> Result<Requested, DbError> {
        let ending = self.failed(failure, false, 0);
        log::start(&tx, &self.beginning(None)).await?;
        log::finish(&tx, self.run_id, &ending).await?;
        tx.commit().await?;
        Ok(self.ended_at_once(ending))
    }

    /// The run ended before it could be logged: its end is known to this process only.
    pub(super) fn never_began(&self, failure: Failure) -> Requested {
        if failure.code == ErrorCode::LocalUnreachable {
            let now = clock::now();
            let local = here::connection(Some(failure.clone()), now);
            self.shared.here.send_modify(|here| here.local = local);
        }
        self.ended_at_once(self.failed(failure, false, 0))
    }

    fn ended_at_once(&self, ending: Ending) -> Requested {
        let record = self.ended(ending);
        self.publish_ended(&record);
        Requested::Finished(Box::new(RunReport::of(&record, Vec::new(), clock::now())))
    }
}
