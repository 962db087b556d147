//! Puts the status together: the log and the meters as the local database has them now, and what only
//! this process knows. With the local database down the second part stands alone and says so.

use chrono::{DateTime, Utc};

use crate::clock;
use crate::db::{Database, Local, Tx, catalog, migrations, quote};
use crate::error::{ErrorCode, Failure};
use crate::meter::{Change, Rejection, TenantId};

use super::health::{self, Signs};
use super::here::{self, Here};
use super::status::{
    ActivityState, Connections, MeterCounts, RunRecord, RunningStatus, ScheduleStatus, Status,
    StatusQuery, TenantStatus,
};
use super::table::{self, LocalTable, Scope};
use super::tenant::{self, NoTenant, Tenant};
use super::{Runs, history, lock, words};

/// What the local database says.
#[derive(Default)]
pub(super) struct Found {
    pub(super) tenant: Option<TenantStatus>,
    pub(super) last_run: Option<RunRecord>,
    pub(super) last_success_at: Option<DateTime<Utc>>,
    pub(super) running: Option<RunRecord>,
    /// A run whose process went away, not marked yet.
    pub(super) interrupted: Option<RunRecord>,
    pub(super) meters: Option<MeterCounts>,
    pub(super) history: Vec<RunRecord>,
    pub(super) changes: Option<Vec<Change>>,
    pub(super) rejected: Option<Vec<Rejection>>,
    pub(super) warnings: Vec<String>,
}

impl Found {
    /// A run of this process that could not be logged is known here only, and must not hide.
    fn with(mut self, here: &Here) -> Self {
        let ours = [here.running_record(), here.last.clone()];
        let is_ours = |run: &RunRecord| ours.iter().flatten().any(|our| our.run_id == run.run_id);
        self.interrupted = self.interrupted.filter(|run| !is_ours(run));
        self.warnings
            .extend(self.interrupted.as_ref().map(interruption));
        let is_news = |run: &&RunRecord| match &self.last_run {
            Some(logged) => run.run_id != logged.run_id && run.started_at > logged.started_at,
            None => true,
        };
        if let Some(run) = here.last.as_ref().filter(is_news) {
            self.last_run = Some(run.clone());
        }
        self
    }
}

impl Found {
    /// Whether a run's process died after the last run that ended.
    pub(super) fn is_interrupted(&self) -> bool {
        let is_newer = |run: &RunRecord| {
            let last = self.last_run.as_ref();
            last.is_none_or(|last| last.started_at < run.started_at)
        };
        let run = self.interrupted.as_ref().filter(|run| !run.dry_run);
        run.is_some_and(is_newer)
    }
}

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
        let now = clock::now();
        let asked = match &self.shared.local {
            Some(local) => Some(self.ask(local, query).await),
            None => None,
        };
        let mut here = self.shared.here.borrow().clone();
        let found = match asked {
            Some(Ok(found)) => {
                here.local = here::connection(None, now);
                found.with(&here)
            }
            Some(Err(Unfound::NoSuchRun(failure))) => return Err(failure),
            Some(Err(Unfound::Failed(failure))) => {
                let found = self.fall_back(&here, &failure);
                here.local = here::connection(Some(failure), now);
                found
            }
            None => self.fall_back(&here, &missing("METER_SYNC_LOCAL_URL")),
        };
        Ok(self.compose(found, here, now))
    }

    async fn ask(&self, local: &Database<Local>, query: &StatusQuery) -> Result<Found, Unfound> {
        let failed = |e: crate::db::DbError| Unfound::Failed(e.failure());
        let mut connection = local.connect().await.map_err(failed)?;
        let asked = async {
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
        .await;
        if let Err(Unfound::Failed(_)) = asked {
            connection.discard();
        }
        asked
    }

    async fn read(
        &self,
        tx: &Tx<'_, Local>,
        table: LocalTable,
        tenant: Result<Tenant, Failure>,
        query: &StatusQuery,
    ) -> Result<Found, Unfound> {
        let failed = |e: crate::db::DbError| Unfound::Failed(e.failure());
        let mut found = Found::default();
        let id = tenant.as_ref().ok().map(|tenant| &tenant.id);
        let has_log = migrations::exist(tx).await.map_err(failed)?;
        if has_log {
            let last_run = history::last_finished(tx, &table, id).await;
            found.last_run = last_run.map_err(failed)?;
            let warning = found.last_run.as_ref().and_then(|run| run.warning.clone());
            found.warnings.extend(warning);
            let last_success = history::last_success(tx, &table, id).await;
            found.last_success_at = last_success.map_err(failed)?;
            read_runs(tx, (&table, id), query, &mut found).await?;
        } else if let Some(id) = query.run_id {
            return Err(Unfound::NoSuchRun(no_such_run(id)));
        }
        match tenant {
            Ok(tenant) => {
                let scope = Scope { tenant, table };
                if has_log {
                    read_running(tx, &scope, &mut found).await.map_err(failed)?;
                }
                self.read_meters(tx, scope.tenant, &mut found).await?;
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
        tenant: Tenant,
        found: &mut Found,
    ) -> Result<(), Unfound> {
        let failed = |e: crate::db::DbError| Unfound::Failed(e.failure());
        found.meters = self.count_meters(tx, &tenant.given).await.map_err(failed)?;
        if found.meters.is_none() {
            let table = &self.config().mapping.local_table;
            found
                .warnings
                .push(format!("The local table {table} does not exist."));
        }
        found.tenant = Some(TenantStatus {
            id: tenant.id.as_str().to_owned(),
            name: tenant.name,
        });
        Ok(())
    }

    async fn count_meters(
        &self,
        tx: &Tx<'_, Local>,
        tenant: &TenantId,
    ) -> Result<Option<MeterCounts>, crate::db::DbError> {
        let mapping = &self.config().mapping;
        let Some(relation) = catalog::find(tx, &mapping.local_table).await? else {
            return Ok(None);
        };
        if relation.column(&mapping.active_column).is_none() {
            return Ok(None);
        }
        let active = quote::identifier(&mapping.active_column);
        let filter = table::of_tenant(&relation, mapping, tenant);
        let sql = format!(
            "-- count the meters
select count(*) filter (where l.{active}), count(*) filter (where l.{active} is not true)
from {} l where {filter}",
            relation.quoted()
        );
        let row = tx.query_one(&sql, &[]).await?;
        Ok(Some(MeterCounts {
            active: row.get(0),
            inactive: row.get(1),
        }))
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

    fn compose(&self, found: Found, here: Here, now: DateTime<Utc>) -> Status {
        let config = self.config();
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
        let running = running(&found, &here, now);
        let activity = match (&running, here.waiting_until) {
            (Some(_), _) => ActivityState::Running,
            (None, Some(_)) => ActivityState::Waiting,
            (None, None) => ActivityState::Idle,
        };
        Status {
            health,
            activity,
            summary: words::summary(health, &found, here.local.error.as_ref()),
            next_step: words::next_step(health, &found, running.as_ref()),
            tenant: found.tenant,
            last_success_at: found.last_success_at,
            last_run: found.last_run,
            next_run_at: here
                .waiting_until
                .or_else(|| config.schedule.as_ref().and_then(|s| s.next_after(now)))
                .filter(|_| self.is_configured()),
            schedule: ScheduleStatus {
                line: config
                    .schedule
                    .as_ref()
                    .map_or("off", |s| s.line())
                    .to_owned(),
                timezone: config
                    .schedule
                    .as_ref()
                    .map_or("UTC", |s| s.zone().name())
                    .to_owned(),
            },
            meters: found.meters,
            connections: Connections {
                remote: here.remote,
                local: here.local,
            },
            running,
            history: found.history,
            changes: found.changes,
            rejected: found.rejected,
            warnings: found.warnings,
        }
    }
}

async fn read_running(
    tx: &Tx<'_, Local>,
    scope: &Scope,
    found: &mut Found,
) -> Result<(), crate::db::DbError> {
    let Some(run) = history::running(tx, scope).await? else {
        return Ok(());
    };
    if lock::is_held(tx, scope).await? {
        found.running = Some(run);
        return Ok(());
    }
    // It may have ended since it was read; if it has not, nobody is left to end it.
    let now = history::by_id(tx, run.run_id).await?;
    found.interrupted = now.filter(|run| run.outcome.is_none());
    Ok(())
}

fn interruption(run: &RunRecord) -> String {
    format!(
        "Run {} was interrupted, and the next run will mark it: trigger a sync, or leave it to the schedule.",
        run.run_id
    )
}

async fn read_runs(
    tx: &Tx<'_, Local>,
    (table, tenant): (&LocalTable, Option<&TenantId>),
    query: &StatusQuery,
    found: &mut Found,
) -> Result<(), Unfound> {
    let failed = |e: crate::db::DbError| Unfound::Failed(e.failure());
    found.history = match query.run_id {
        Some(id) => {
            let run = history::by_id(tx, id).await.map_err(failed)?;
            vec![run.ok_or_else(|| Unfound::NoSuchRun(no_such_run(id)))?]
        }
        None => history::newest(tx, table, tenant, query.history)
            .await
            .map_err(failed)?,
    };
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

fn no_such_run(id: crate::meter::RunId) -> Failure {
    Failure::new(
        ErrorCode::ConfigInvalid,
        format!("There is no run {id} in the log."),
    )
    .with_remedy("Leave run_id out to list the latest runs with their ids.")
}

fn missing(setting: &str) -> Failure {
    Failure::new(ErrorCode::ConfigMissing, format!("{setting} is not set."))
}

fn running(found: &Found, here: &Here, now: DateTime<Utc>) -> Option<RunningStatus> {
    let record = here.running_record().or_else(|| found.running.clone())?;
    let ours = here
        .running
        .as_ref()
        .map(|running| *running.progress.borrow());
    Some(RunningStatus {
        run_id: record.run_id,
        phase: ours.map(|progress| progress.phase),
        elapsed_ms: (now - record.started_at).num_milliseconds(),
        rows: ours.map(|progress| progress.rows),
    })
}
