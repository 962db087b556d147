//! Puts the status together: the log and the meters as the local database has them now, and what only
//! this process knows. With the local database down the second part stands alone and says so.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::db::{Connection, Database, DbError, Local, Tx, migrations};
use crate::error::Failure;
use crate::meter::{Outcome, TenantId};

use super::counted::Meters;
use super::found::{self, Found, Tally};
use super::health::{self, Signs};
use super::here::{self, Here};
use super::status::{
    ActivityState, Connections, Health, RunRecord, ScheduleStatus, Status, StatusQuery,
    TenantStatus,
};
use super::table::{self, LocalTable, Scope};
use super::tenant::{self, NoTenant, Tenant};
use super::{Runs, clocks, columns, contents, history, lock, words};

/// Why nothing was found.
enum Unfound {
    /// The local database did not give an answer.
    Failed(Failure),
    /// There is no run of the id asked for.
    NoSuchRun(Failure),
}

impl Runs {
    /// The status now. An error only when `run_id` names no run.
    pub async fn status(&self, query: &StatusQuery) -> Result<Status, Failure> {
        let mut status = self.ask_status(query, None).await?.0;
        if let Some(changes) = status.changes.take() {
            status.changes = Some(self.with_names(changes).await);
        }
        Ok(status)
    }

    /// The status now, with a local database that gives no answer within `patience` taken for one that is down.
    pub async fn status_within(
        &self,
        query: &StatusQuery,
        patience: Duration,
    ) -> Result<Status, Failure> {
        Ok(self.ask_status(query, Some(patience)).await?.0)
    }

    /// The status, and what is counted beside it; the local database is waited for no longer than `patience`, or as long
    /// as its settings say.
    pub(super) async fn ask_status(
        &self,
        query: &StatusQuery,
        patience: Option<Duration>,
    ) -> Result<(Status, Tally), Failure> {
        let asked = match &self.shared.local {
            Some(local) => Some(self.ask_within(local, query, patience).await),
            None => None,
        };
        let now = self.now();
        let mut here = self.shared.here.borrow().clone();
        let found = match asked {
            Some(Ok(found)) => {
                here.local = here::connection(None, now);
                found.with(&here)
            }
            Some(Err(Unfound::NoSuchRun(failure))) => return Err(failure),
            Some(Err(Unfound::Failed(failure))) => {
                let mut found = self.fall_back(&here, &failure);
                if let Some(id) = query.run_id {
                    found.history.retain(|run| run.run_id == id);
                }
                here.local = here::connection(Some(failure), now);
                found
            }
            None => self.fall_back(&here, &self.unconfigured()),
        };
        let tally = found.tally();
        Ok((self.compose(found, here, now), tally))
    }

    async fn ask_within(
        &self,
        local: &Database<Local>,
        query: &StatusQuery,
        patience: Option<Duration>,
    ) -> Result<Found, Unfound> {
        let asked = self.ask(local, query);
        let Some(patience) = patience else {
            return asked.await;
        };
        let silence =
            |_elapsed| Unfound::Failed(DbError::silence::<Local>("status", patience).failure());
        tokio::time::timeout(patience, asked)
            .await
            .unwrap_or_else(|elapsed| Err(silence(elapsed)))
    }

    async fn ask(&self, local: &Database<Local>, query: &StatusQuery) -> Result<Found, Unfound> {
        let failed = |e: DbError| Unfound::Failed(e.failure());
        let mut connection = local.connect_to_read().await.map_err(failed)?;
        let asked = match found::is_plain(query) {
            true => self.recall_or_ask(&mut connection, query).await,
            false => self.ask_anew(&mut connection, query).await,
        };
        if let Err(Unfound::Failed(_)) = &asked {
            connection.discard();
        }
        asked
    }

    /// What is remembered, if nothing was committed since; else what is found anew, which is then remembered.
    async fn recall_or_ask(
        &self,
        connection: &mut Connection<Local>,
        query: &StatusQuery,
    ) -> Result<Found, Unfound> {
        let moment = connection.moment().await;
        let before = moment.map_err(|e| Unfound::Failed(e.failure()))?;
        let remembered = &self.shared.remembered;
        if let Some(found) = remembered.at(before.as_ref(), query.history) {
            return Ok(found);
        }
        let found = self.ask_anew(connection, query).await?;
        if let Some(before) = before.filter(|_| found.lasts()) {
            // To remember is no part of the answer: it need not succeed.
            let after = connection.moment().await.ok().flatten();
            if after.as_ref() == Some(&before) {
                remembered.keep(before, query.history, &found);
            }
        }
        Ok(found)
    }

    async fn ask_anew(
        &self,
        connection: &mut Connection<Local>,
        query: &StatusQuery,
    ) -> Result<Found, Unfound> {
        let failed = |e: DbError| Unfound::Failed(e.failure());
        let tx = connection.begin("status").await.map_err(failed)?;
        let mapping = &self.config().mapping;
        let table = table::find(&tx, mapping).await.map_err(failed)?;
        let tenant = match tenant::resolve(&tx, mapping, &table).await {
            Ok(tenant) => Ok(tenant),
            Err(NoTenant::Unknown(failure)) => Err(failure),
            Err(NoTenant::Database(error)) => return Err(failed(error)),
        };
        self.read(&tx, table, tenant, query).await
    }

    async fn read(
        &self,
        tx: &Tx<'_, Local>,
        table: LocalTable,
        tenant: Result<Tenant, Failure>,
        query: &StatusQuery,
    ) -> Result<Found, Unfound> {
        let failed = |e: DbError| Unfound::Failed(e.failure());
        let mut found = Found {
            failures: Some(0),
            ..Found::default()
        };
        let id = tenant.as_ref().ok().map(|tenant| &tenant.id);
        let tables = migrations::tables(tx).await.map_err(failed)?;
        let has_log = tables.any;
        if let Some(id) = id.filter(|_| tables.columns) {
            let drifted = columns::drifted(tx, &table, id).await;
            found.drifted = Some(drifted.map_err(failed)?);
        }
        if has_log {
            let log = (&table, id);
            read_log(tx, log, query.history, &mut found)
                .await
                .map_err(failed)?;
            read_runs(tx, log, query, &mut found).await?;
        } else if let Some(id) = query.run_id {
            return Err(Unfound::NoSuchRun(words::no_such_run(id)));
        }
        match tenant {
            Ok(tenant) => {
                let scope = Scope { tenant, table };
                if has_log {
                    read_running(tx, &scope, &mut found).await.map_err(failed)?;
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
        found: &mut Found,
    ) -> Result<(), Unfound> {
        let failed = |e: DbError| Unfound::Failed(e.failure());
        let last_run = found.last_run.as_ref().map(|run| run.run_id);
        let counted = self.count_meters(tx, &scope, last_run).await;
        match counted.map_err(failed)? {
            Meters::Counted(counts) => found.meters = Some(counts),
            Meters::Missing => {
                let table = &self.config().mapping.local_table;
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

    fn fall_back(&self, here: &Here, failure: &Failure) -> Found {
        Found {
            tenant: here.tenant.clone(),
            last_run: here.last.clone(),
            last_success_at: here.last_success_at,
            running: here.running_record(),
            history: here.last.clone().into_iter().collect(),
            warnings: vec![format!("{} {}", failure.message, failure.remedy)],
            ..Found::default()
        }
    }

    fn compose(&self, mut found: Found, here: Here, now: DateTime<Utc>) -> Status {
        let config = self.config();
        clocks::warn(&mut found.warnings, self.shared.clock.ahead());
        found.warnings.extend(found.dated_ahead(now));
        let is_down = here.local.error.is_some();
        let signs = Signs {
            is_configured: self.is_configured() && (is_down || found.tenant.is_some()),
            is_local_down: is_down,
            is_interrupted: found.is_interrupted(),
            last_run: found.last_run.as_ref(),
            last_success_at: found.last_success_at,
            schedule: config.schedule.as_ref(),
            jitter: config.jitter,
        };
        let health = health::derive(&signs, now);
        let drift = found.drift();
        let running = found.running_at(&here, now);
        let activity = match (&running, here.waiting_until) {
            (Some(_), _) => ActivityState::Running,
            (None, Some(_)) => ActivityState::Waiting,
            (None, None) => ActivityState::Idle,
        };
        Status {
            health,
            activity,
            summary: match health == Health::NeverRun && running.is_some() {
                true => words::FIRST_RUN.to_owned(),
                false => words::summary(health, &found, here.local.error.as_ref(), now),
            },
            next_step: words::next_step(health, &found, running.as_ref()),
            now,
            meter: None,
            matches: None,
            changes_since: None,
            next_before: None,
            has_more_runs: false,
            left_out: None,
            tenant: found.tenant,
            last_success_at: found.last_success_at,
            verified_at: found.verified_at,
            last_run: found.last_run,
            held_back: found.held_back,
            next_run_at: here
                .waiting_until
                .or_else(|| config.schedule.as_ref().and_then(|s| s.next_after(now)))
                .filter(|_| self.is_configured()),
            schedule: ScheduleStatus::of(config.schedule.as_ref()),
            meters: found.meters,
            connections: Connections {
                remote: here.remote,
                local: here.local,
            },
            running,
            history: found.history,
            changes: found.changes,
            rejected: found.rejected,
            warnings: found.warnings.into_iter().chain(drift).collect(),
        }
    }
}

async fn read_running(tx: &Tx<'_, Local>, scope: &Scope, found: &mut Found) -> Result<(), DbError> {
    let Some(run) = history::running(tx, scope).await? else {
        return Ok(());
    };
    if lock::is_held(tx, scope).await? {
        found.running = Some(run);
        return Ok(());
    }
    // It may have ended since it was read; if it has not, nobody is left to end it.
    let now = history::by_id(tx, (&scope.table, Some(&scope.tenant.id)), run.run_id).await?;
    found.interrupted = now.filter(|run| run.outcome.is_none());
    Ok(())
}

/// So many runs are read at least, as among them are most often the last that ended and the last that
/// succeeded, which are then not looked for one by one.
const RUNS: u32 = 5;

async fn read_log(
    tx: &Tx<'_, Local>,
    (table, tenant): (&LocalTable, Option<&TenantId>),
    wanted: u32,
    found: &mut Found,
) -> Result<(), DbError> {
    let limit = wanted.max(RUNS) as usize;
    let mut runs = history::newest(tx, table, tenant, wanted.max(RUNS)).await?;
    let is_all = runs.len() < limit;
    let has_ended = |run: &&RunRecord| run.outcome.is_some() && !run.dry_run;
    found.last_run = match runs.iter().find(has_ended) {
        None if !is_all => history::last_finished(tx, table, tenant).await?,
        run => run.cloned(),
    };
    if let Some(run) = found
        .last_run
        .as_ref()
        .filter(|run| run.outcome == Some(Outcome::Refused))
    {
        found.held_back = history::details(tx, run.run_id).await?.held_back;
    }
    found.warnings.extend(found.own_warning());
    let has_succeeded = |run: &&RunRecord| run.outcome.is_some_and(Outcome::is_success);
    let success = match runs.iter().find(has_succeeded) {
        None if !is_all => history::last_success(tx, table, tenant).await?,
        run => run.cloned(),
    };
    found.last_success_at = success.as_ref().and_then(|run| run.finished_at);
    found.verified_at = contents::last_compared(tx, table, tenant).await?;
    found.failures = Some(match runs.iter().position(|run| has_succeeded(&run)) {
        None if !is_all => {
            let success = success.map(|run| run.run_id);
            history::ended_after(tx, (table, tenant), success).await?
        }
        success => {
            let since = runs.iter().take(success.unwrap_or(runs.len()));
            since
                .filter(has_ended)
                .count()
                .try_into()
                .unwrap_or(i64::MAX)
        }
    });
    runs.truncate(wanted as usize);
    found.history = runs;
    Ok(())
}

/// What is told of a run that was asked for by its id, or of the last one.
async fn read_runs(
    tx: &Tx<'_, Local>,
    log: (&LocalTable, Option<&TenantId>),
    query: &StatusQuery,
    found: &mut Found,
) -> Result<(), Unfound> {
    let failed = |e: DbError| Unfound::Failed(e.failure());
    if let Some(id) = query.run_id {
        let run = history::by_id(tx, log, id).await.map_err(failed)?;
        found.history = vec![run.ok_or_else(|| Unfound::NoSuchRun(words::no_such_run(id)))?];
    }
    let shown = query
        .run_id
        .or_else(|| found.last_run.as_ref().map(|run| run.run_id));
    if let Some(id) = shown.filter(|_| query.include_changes) {
        let limit = query.changes_limit;
        found.changes = Some(history::changes(tx, id, limit).await.map_err(failed)?);
        found.rejected = Some(history::rejected(tx, id, limit).await.map_err(failed)?);
    }
    Ok(())
}
