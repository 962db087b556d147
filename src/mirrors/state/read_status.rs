//! Builds the status from the local database (log and meters) and from what only this process knows. If the local
//! database is down, the status has only the latter, and a warning.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::db::{Connection, Database, DbError, Local, Tx};
use crate::error::Failure;

use super::cache::{self, StoredState, Tally};
use super::health::{self, HealthInputs, LastRun, RecentSlots};
use super::meter_counts::Meters;
use super::read_log::{read_log, read_runs};
use super::status::{
    ActivityState, Connections, Health, ScheduleStatus, Status, StatusQuery, TenantStatus,
};
use super::words;
use crate::mirrors::Mirror;
use crate::mirrors::local_table::{self, LocalTable, Scope};
use crate::mirrors::process_state::{self, ProcessState};
use crate::mirrors::run::{clocks, lock};
use crate::mirrors::tenant::{self, NoTenant, Tenant};
use crate::store::mirror_states::latest;
use crate::store::{columns, log, migrations};

/// Why the state could not be read.
pub(super) enum ReadError {
    /// The local database did not answer, or reported an error.
    Failed(Failure),
    /// The log has no run with the id asked for.
    NoSuchRun(Failure),
}

impl From<DbError> for ReadError {
    fn from(error: DbError) -> Self {
        Self::Failed(error.failure())
    }
}

impl Mirror {
    /// Returns the current status. Fails only if the log has no run with the query's `run_id`.
    pub async fn status(&self, query: &StatusQuery) -> Result<Status, Failure> {
        let mut status = self.ask_status(query, None).await?.0;
        if let Some(changes) = status.changes.take() {
            status.changes = Some(self.with_names(changes).await);
        }
        Ok(status)
    }

    /// Returns the current status. Treats a local database that does not answer within `patience` as down.
    pub async fn status_within(
        &self,
        query: &StatusQuery,
        patience: Duration,
    ) -> Result<Status, Failure> {
        Ok(self.ask_status(query, Some(patience)).await?.0)
    }

    /// Returns the status and the tally. Waits for the local database at most `patience`; with `None`, as long as the
    /// settings allow.
    pub(in crate::mirrors) async fn ask_status(
        &self,
        query: &StatusQuery,
        patience: Option<Duration>,
    ) -> Result<(Status, Tally), Failure> {
        let asked = match &self.shared.process.local {
            Some(local) => Some(self.ask_within(local, query, patience).await),
            None => None,
        };
        let now = self.now();
        let mut process_state = self.shared.process_state.borrow().clone();
        let found = match asked {
            Some(Ok(found)) => {
                process_state.local = process_state::connection(None, now);
                found.with(&process_state)
            }
            Some(Err(ReadError::NoSuchRun(failure))) => return Err(failure),
            Some(Err(ReadError::Failed(failure))) => {
                let mut found = self.fall_back(&process_state, &failure);
                if let Some(id) = query.run_id {
                    found.history.retain(|run| run.run_id == id);
                }
                process_state.local = process_state::connection(Some(failure), now);
                found
            }
            None => self.fall_back(&process_state, &self.unconfigured()),
        };
        let tally = found.tally();
        Ok((self.compose(found, process_state, now), tally))
    }

    async fn ask_within(
        &self,
        local: &Database<Local>,
        query: &StatusQuery,
        patience: Option<Duration>,
    ) -> Result<StoredState, ReadError> {
        let asked = self.ask(local, query);
        let Some(patience) = patience else {
            return asked.await;
        };
        let silence =
            |_elapsed| ReadError::Failed(DbError::silence::<Local>("status", patience).failure());
        tokio::time::timeout(patience, asked)
            .await
            .unwrap_or_else(|elapsed| Err(silence(elapsed)))
    }

    async fn ask(
        &self,
        local: &Database<Local>,
        query: &StatusQuery,
    ) -> Result<StoredState, ReadError> {
        let mut connection = local.connect_to_read().await?;
        let asked = match cache::is_plain(query) {
            true => self.recall_or_ask(&mut connection, query).await,
            false => self.ask_anew(&mut connection, query).await,
        };
        if let Err(ReadError::Failed(_)) = &asked {
            connection.discard();
        }
        asked
    }

    /// Returns the cached state if nothing was committed since it was read. Otherwise reads the state and caches it.
    async fn recall_or_ask(
        &self,
        connection: &mut Connection<Local>,
        query: &StatusQuery,
    ) -> Result<StoredState, ReadError> {
        let moment = connection.moment().await;
        let before = moment?;
        let state_cache = &self.shared.state_cache;
        if let Some(found) = state_cache.at(before.as_ref(), query.history) {
            return Ok(found);
        }
        let found = self.ask_anew(connection, query).await?;
        if let Some(before) = before.filter(|_| found.lasts()) {
            // Caching may fail: the answer is complete without it.
            let after = connection.moment().await.ok().flatten();
            if after.as_ref() == Some(&before) {
                state_cache.keep(before, query.history, &found);
            }
        }
        Ok(found)
    }

    async fn ask_anew(
        &self,
        connection: &mut Connection<Local>,
        query: &StatusQuery,
    ) -> Result<StoredState, ReadError> {
        let tx = connection.begin("status").await?;
        let mapping = self.mapping();
        let table = local_table::find(&tx, mapping).await?;
        let tenant = match tenant::resolve(&tx, mapping, &table).await {
            Ok(tenant) => Ok(tenant),
            Err(NoTenant::Unknown(failure)) => Err(failure),
            Err(NoTenant::Database(error)) => return Err(error.into()),
        };
        self.read(&tx, table, tenant, query).await
    }

    async fn read(
        &self,
        tx: &Tx<'_, Local>,
        table: LocalTable,
        tenant: Result<Tenant, Failure>,
        query: &StatusQuery,
    ) -> Result<StoredState, ReadError> {
        let mut found = StoredState {
            failures: Some(0),
            ..StoredState::default()
        };
        let set = self.mapping().tenant.as_ref();
        let id = tenant.as_ref().map_or(set, |tenant| Some(&tenant.id));
        let tables = migrations::tables(tx).await?;
        let has_log = tables.any;
        if let Some(id) = id.filter(|_| tables.columns) {
            let drifted = columns::drifted(tx, id, &table.name).await;
            found.drifted = Some(drifted?);
        }
        if has_log {
            let log = (&table, id);
            read_log(tx, log, query.history, &mut found).await?;
            read_runs(tx, log, query, &mut found).await?;
            let looks = log::last_looks(tx, table.log(id), tables.sweeps).await?;
            found.verified_at = looks.verified_at;
            found.checked_at = looks.checked_at;
            found.last_success_at = latest(found.last_success_at, looks.checked_at);
        } else if let Some(id) = query.run_id {
            return Err(ReadError::NoSuchRun(words::no_such_run(id)));
        }
        match tenant {
            Ok(tenant) => {
                let scope = Scope { tenant, table };
                if has_log {
                    read_running(tx, &scope, &mut found).await?;
                }
                self.read_meters(tx, scope, &mut found).await?;
            }
            Err(failure) => found
                .warnings
                .push(format!("{} {}", failure.message, failure.remedy)),
        }
        Ok(found)
    }

    async fn read_meters(
        &self,
        tx: &Tx<'_, Local>,
        scope: Scope,
        found: &mut StoredState,
    ) -> Result<(), ReadError> {
        let last_run = found.last_run.as_ref().map(|run| run.run_id);
        let counted = self.count_meters(tx, &scope, last_run).await;
        match counted? {
            Meters::Counted(counts) => found.meters = Some(counts),
            Meters::Missing => {
                let table = &self.mapping().local_table;
                let warning = format!("The local table {table} does not exist.");
                found.warnings.push(warning);
            }
            Meters::BeingCounted => {
                found.is_being_counted = true;
                let warning = "The local meters are still being counted: ask again in a moment.";
                found.warnings.push(warning.to_owned());
            }
        }
        found.tenant = Some(TenantStatus {
            id: scope.tenant.id.as_str().to_owned(),
            name: scope.tenant.name,
        });
        Ok(())
    }

    fn fall_back(&self, process_state: &ProcessState, failure: &Failure) -> StoredState {
        StoredState {
            tenant: process_state.tenant.clone(),
            last_run: process_state.last.clone(),
            last_success_at: process_state.last_success_at,
            running: process_state.running_record(),
            history: process_state.last.clone().into_iter().collect(),
            warnings: vec![format!("{} {}", failure.message, failure.remedy)],
            ..StoredState::default()
        }
    }

    fn compose(
        &self,
        mut found: StoredState,
        process_state: ProcessState,
        now: DateTime<Utc>,
    ) -> Status {
        let config = self.config();
        clocks::warn(&mut found.warnings, self.shared.process.clock.ahead());
        found.warnings.extend(found.dated_ahead(now));
        let is_down = process_state.local.error.is_some();
        let signs = HealthInputs {
            is_configured: self.is_configured() && (is_down || found.tenant.is_some()),
            is_local_down: is_down,
            is_interrupted: found.is_interrupted(),
            last_run: found.last_run.as_ref().map(LastRun::from),
            last_success_at: found.last_success_at,
            slots: &RecentSlots::at(now, config.schedule.as_ref(), config.jitter),
        };
        let health = health::derive(&signs);
        let drift = found.drift();
        let running = found.running_at(&process_state, now);
        let activity = match (&running, process_state.waiting_until) {
            (Some(_), _) => ActivityState::Running,
            (None, Some(_)) => ActivityState::Waiting,
            (None, None) => ActivityState::Idle,
        };
        Status {
            health,
            activity,
            summary: match health == Health::NeverRun && running.is_some() {
                true => words::FIRST_RUN.to_owned(),
                false => words::summary(health, &found, process_state.local.error.as_ref(), now),
            },
            next_step: words::next_step(health, &found, running.as_ref()),
            now,
            meter: None,
            matches: None,
            changes_since: None,
            next_before: None,
            has_more_runs: false,
            left_out: None,
            tenants: None,
            tenant: found.tenant,
            last_success_at: found.last_success_at,
            checked_at: found.checked_at,
            verified_at: found.verified_at,
            last_run: found.last_run,
            held_back: found.held_back,
            next_run_at: process_state
                .waiting_until
                .or_else(|| config.schedule.as_ref().and_then(|s| s.next_after(now)))
                .filter(|_| self.is_configured()),
            schedule: ScheduleStatus::of(config.schedule.as_ref()),
            meters: found.meters,
            connections: Connections {
                remote: process_state.remote,
                local: process_state.local,
            },
            running,
            history: found.history,
            changes: found.changes,
            rejected: found.rejected,
            warnings: found.warnings.into_iter().chain(drift).collect(),
        }
    }
}

async fn read_running(
    tx: &Tx<'_, Local>,
    scope: &Scope,
    found: &mut StoredState,
) -> Result<(), DbError> {
    let Some(run) = log::running(tx, scope.log()).await? else {
        return Ok(());
    };
    if lock::is_held(tx, scope).await? {
        found.running = Some(run);
        return Ok(());
    }
    // The run may have ended since its row was read. If it has not, its process has died.
    let now = log::by_id(tx, scope.log(), run.run_id).await?;
    found.interrupted = now.filter(|run| run.outcome.is_none());
    Ok(())
}
