//! The start of a run: tenant, door, lock, log row.

use std::sync::OnceLock;
use std::time::Duration;

use crate::db::{Connection, DbError, Local, Tx, migrations};
use crate::error::{ErrorCode, Failure};
use crate::meter::{Outcome, RunId, TenantId};
use crate::sync::drift::{ColumnReport, KnownColumns};
use crate::sync::{Compare, Occupant, SyncError};

use super::log::{self, Ending};
use super::order::Order;
use super::report::{RunReport, SAMPLE};
use super::status::RunRecord;
use super::table::{self, LocalTable, Scope};
use super::tenant::{self, NoTenant};
use super::{Requested, columns, contents, here, history, lock};

/// What became of the start.
pub(super) enum Start<'c> {
    Begun(Box<Begun<'c>>),
    Answered(Requested),
    /// It is not known whose meters the table has; the run has failed.
    NoTenant(Requested, LocalTable),
}

/// A run that holds its scope's lock and has its log row.
pub(super) struct Begun<'c> {
    /// The transaction that holds the lock.
    pub(super) tx: Tx<'c, Local>,
    pub(super) scope: Scope,
    pub(super) occupant: Occupant,
    pub(super) known_columns: KnownColumns,
    /// Set once the run has compared its columns with the known ones.
    pub(super) column_report: OnceLock<ColumnReport>,
    pub(super) record: RunRecord,
    /// Whether no run has compared the contents for so long that they are to be compared after this one.
    pub(super) is_comparison_due: bool,
}

impl Begun<'_> {
    /// What the columns give to warn of, unless that is the error which ended the run.
    pub(super) fn column_warning(&self, error: Option<&SyncError>) -> Option<String> {
        let is_drift = matches!(error, Some(SyncError::Drift(_)));
        let report = self.column_report.get().filter(|_| !is_drift);
        report.and_then(ColumnReport::warning)
    }
}

/// What was found at the door.
enum Door {
    /// Another process is starting a run, or one is just ending.
    Busy,
    Open(Scope),
    Answered(Requested),
    NoTenant(Failure, LocalTable),
}

/// How long the door is tried: starting a run takes some milliseconds.
const DOOR_PAUSE: Duration = Duration::from_millis(25);
const DOOR_ATTEMPTS: u32 = 400;

/// A repeated request is answered with the first one's run for so long.
const IDEMPOTENCY_HOURS: i64 = 24;

impl Order<'_> {
    /// Starts the run on a connection that is put into `slot`, once it is clear that it can.
    ///
    /// Whoever waits at the door holds no connection meanwhile: behind a pooler that has few of them,
    /// processes that each held one and waited for another would wait for each other.
    pub(super) async fn start<'c>(
        &mut self,
        slot: &'c mut Option<Connection<Local>>,
    ) -> Result<Start<'c>, Failure> {
        for _ in 0..DOOR_ATTEMPTS {
            let mut connection = self.local.connect().await.map_err(|e| e.failure())?;
            migrations::run(&mut connection).await?;
            let tx = connection
                .begin("start a run")
                .await
                .map_err(|e| e.failure())?;
            match self.try_the_door(&tx).await? {
                Door::Busy => {}
                Door::Answered(requested) => return Ok(Start::Answered(requested)),
                Door::Open(scope) => {
                    return self.step_in(tx, scope, slot).await.map_err(|e| e.failure());
                }
                Door::NoTenant(failure, table) => {
                    let requested = self.fail_without_tenant(tx, &table, failure).await;
                    let requested = requested.map_err(|e| e.failure())?;
                    return Ok(Start::NoTenant(requested, table));
                }
            }
            drop(tx);
            drop(connection);
            tokio::time::sleep(DOOR_PAUSE).await;
        }
        Err(DbError::silence::<Local>("start a run", DOOR_PAUSE * DOOR_ATTEMPTS).failure())
    }

    async fn try_the_door(&self, tx: &Tx<'_, Local>) -> Result<Door, Failure> {
        let mapping = &self.shared.config.mapping;
        let table = table::find(tx, mapping).await.map_err(|e| e.failure())?;
        match tenant::resolve(tx, mapping, &table).await {
            Ok(tenant) => self
                .pass_the_door(tx, Scope { tenant, table })
                .await
                .map_err(|e| e.failure()),
            Err(NoTenant::Unknown(failure)) => Ok(Door::NoTenant(failure, table)),
            Err(NoTenant::Database(error)) => Err(error.failure()),
        }
    }

    async fn pass_the_door(&self, tx: &Tx<'_, Local>, scope: Scope) -> Result<Door, DbError> {
        if !lock::try_door(tx, &scope).await? {
            return Ok(Door::Busy);
        }
        let is_running = lock::is_held(tx, &scope).await?;
        if let Some(requested) = self.same_request(tx, &scope, is_running).await? {
            return Ok(Door::Answered(requested));
        }
        if !is_running {
            return Ok(Door::Open(scope));
        }
        if lock::end_frozen(tx, &scope, &self.shared.config.limits).await? {
            return Ok(Door::Busy);
        }
        // Without a row its run is in the log as ended; the lock follows in an instant.
        Ok(match history::running(tx, &scope).await? {
            Some(running) => {
                let report = RunReport::already_running(&running, self.shared.clock.now());
                Door::Answered(Requested::AlreadyRunning(Box::new(report)))
            }
            None => Door::Busy,
        })
    }

    /// Takes the lock on a second connection, and logs the start while the door is held.
    async fn step_in<'c>(
        &mut self,
        door: Tx<'_, Local>,
        scope: Scope,
        slot: &'c mut Option<Connection<Local>>,
    ) -> Result<Start<'c>, DbError> {
        let connection = slot.insert(self.local.connect().await?);
        let tx = connection.begin_beside_the_remote("sync").await?;
        lock::take(&tx, &scope).await?;
        // It may have taken a while to get here; ids are to be in the order of runs as far as clocks can tell.
        self.run_id = RunId::at(self.shared.clock.now());
        log::mark_interrupted(&door, &scope).await?;
        let occupant = occupant(&tx, &scope).await?;
        let known_columns = columns::known(&tx, &scope).await?;
        self.log_start(&door, &scope.table, Some(&scope.tenant.id))
            .await?;
        let is_comparison_due = self.is_comparison_due(&door, &scope).await?;
        door.commit().await?;
        tx.savepoint("work").await?;
        Ok(Start::Begun(Box::new(Begun {
            tx,
            scope,
            occupant,
            known_columns,
            column_report: OnceLock::new(),
            record: self.record(),
            is_comparison_due,
        })))
    }

    /// A dry run costs no more than it must, and a run that puts right what a comparison found is followed by none.
    async fn is_comparison_due(&self, tx: &Tx<'_, Local>, scope: &Scope) -> Result<bool, DbError> {
        match self.request.compare {
            Compare::Differences if !self.request.dry_run => {}
            Compare::Differences | Compare::Also(_) | Compare::Everything => return Ok(false),
        }
        let since = self.started_at - self.shared.config.limits.full_compare;
        Ok(!contents::was_compared_since(tx, scope, since).await?)
    }

    async fn same_request(
        &self,
        tx: &Tx<'_, Local>,
        scope: &Scope,
        is_running: bool,
    ) -> Result<Option<Requested>, DbError> {
        let Some(key) = &self.request.idempotency_key else {
            return Ok(None);
        };
        let request = (key.as_str(), self.request.dry_run);
        let since = self.started_at - chrono::Duration::hours(IDEMPOTENCY_HOURS);
        let found = history::by_idempotency_key(tx, scope, request, since).await?;
        // What failed for a reason that may pass is asked for again to be tried again, and so is what was refused:
        // a person may allow it, or may have by now.
        let may_pass = |record: &RunRecord| {
            let error = record.error.as_ref();
            error.is_some_and(|error| error.code.is_transient())
        };
        let is_open =
            |record: &RunRecord| record.outcome == Some(Outcome::Refused) || may_pass(record);
        let Some(record) = found.filter(|record| !is_open(record)) else {
            return Ok(None);
        };
        let now = self.shared.clock.now();
        if record.outcome.is_none() {
            // Without a holder of the lock its process died, and the request is open again.
            let report = RunReport::already_running(&record, now);
            return Ok(is_running.then(|| Requested::AlreadyRunning(Box::new(report))));
        }
        let changes = history::changes(tx, record.run_id, SAMPLE).await?;
        Ok(Some(Requested::Finished(Box::new(RunReport::of(
            &record, changes, now,
        )))))
    }

    async fn fail_without_tenant(
        &mut self,
        tx: Tx<'_, Local>,
        table: &LocalTable,
        failure: Failure,
    ) -> Result<Requested, DbError> {
        let mut ending = self.failed(failure, false, None);
        self.log_start(&tx, table, None).await?;
        log::finish(&tx, self.run_id, &mut ending).await?;
        tx.commit().await?;
        Ok(self.ended_at_once(ending))
    }

    async fn log_start(
        &mut self,
        tx: &Tx<'_, Local>,
        table: &LocalTable,
        tenant: Option<&TenantId>,
    ) -> Result<(), DbError> {
        let numbered = log::start(tx, &self.beginning(table, tenant)).await?;
        self.seq = Some(numbered.seq);
        self.started_at = numbered.started_at;
        Ok(())
    }

    /// The run ended before it could be logged: its end is known to this process only.
    pub(super) fn never_began(&self, failure: Failure) -> Requested {
        if failure.code == ErrorCode::LocalUnreachable {
            let now = self.shared.clock.now();
            let local = here::connection(Some(failure.clone()), now);
            self.shared.here.send_modify(|here| here.local = local);
        }
        self.ended_at_once(self.failed(failure, false, None))
    }

    fn ended_at_once(&self, ending: Ending) -> Requested {
        let record = self.ended(ending);
        self.publish_ended(&record);
        Requested::Finished(Box::new(RunReport::of(
            &record,
            Vec::new(),
            self.shared.clock.now(),
        )))
    }
}

/// Claims a table that holds one tenant's meters, and only then asks whose they are: the answer
/// stands until the transaction ends.
async fn occupant(tx: &Tx<'_, Local>, scope: &Scope) -> Result<Occupant, DbError> {
    if scope.table.tenant_type.is_some() {
        return Ok(Occupant::Nobody);
    }
    if !lock::try_table(tx, &scope.table).await? {
        return Ok(Occupant::Running);
    }
    let other = tenant::other(tx, &scope.table, &scope.tenant).await?;
    Ok(other.map_or(Occupant::Nobody, Occupant::Tenant))
}
