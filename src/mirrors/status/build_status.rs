//! Builds the status of one mirror, from its state in the local database and from what only this process knows. If the
//! local database is down, uses only what this process knows, and adds a warning.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::db::{DbError, Local, Tx};
use crate::error::Failure;

use crate::mirrors::Mirror;
use crate::mirrors::in_process_state::InProcessState;
use crate::model::{ActivityState, RunRecord};
use crate::reports::connections::{ConnectionReport, ConnectionsReport};
use crate::reports::derive_health::{HealthInputs, RecentSlots, derive};
use crate::reports::status::{ScheduleStatus, Status, StatusQuery};
use crate::reports::stored_state::StoredState;
use crate::reports::{clock_warnings, status_text};
use crate::store::log::LogFilter;
use crate::store::{changes, log, rejected_rows};

impl Mirror {
    /// Returns the current status of the mirror, even if the local database is down. Fails only if the query names a
    /// run that the log does not have.
    pub async fn status(&self, query: &StatusQuery) -> Result<Status, Failure> {
        let asked = self.ask(query).await;
        let mut status = self.status_of(asked, query)?;
        if let Some(changes) = status.changes.take() {
            status.changes = Some(self.with_names(changes).await);
        }
        Ok(status)
    }

    /// Returns the current status of the mirror, but without meter names. If the local database does not answer within
    /// `patience`, returns the status as if it were down. Fails only if the query names a run that the log does not
    /// have.
    pub async fn status_within(
        &self,
        query: &StatusQuery,
        patience: Duration,
    ) -> Result<Status, Failure> {
        let silence = |_elapsed| Err(DbError::silence::<Local>("status", patience).failure());
        let asked = tokio::time::timeout(patience, self.ask(query)).await;
        self.status_of(asked.unwrap_or_else(silence), query)
    }

    /// Builds the status from the answer of the local database or, if that is an error, from what this process itself
    /// knows.
    fn status_of(
        &self,
        asked: Result<StoredState, Failure>,
        query: &StatusQuery,
    ) -> Result<Status, Failure> {
        let now = self.now();
        let in_process_state = self.shared.in_process_state.borrow().clone();
        let local = match self.local {
            Some(_) => ConnectionReport::used(asked.as_ref().err().cloned(), now),
            None => ConnectionReport::unused(false),
        };
        let found = match asked {
            Ok(found) => {
                if let Some(id) = query.run_id.filter(|_| found.status.history.is_empty()) {
                    return Err(status_text::no_such_run(id));
                }
                found.with_own_runs(
                    in_process_state.running_record(),
                    in_process_state.last.as_ref(),
                )
            }
            Err(failure) => fall_back(&in_process_state, &failure, query),
        };
        let connections = ConnectionsReport {
            remote: in_process_state.remote.clone(),
            local,
        };
        let mut status = self.compose(found, connections, &in_process_state, now);
        self.hide_in_held(status.held_back.as_mut());
        self.hide_in_changes(status.changes.as_deref_mut().unwrap_or_default());
        Ok(status)
    }

    /// Reads the state of the mirror, with the runs and changes that the query asks for. The history is empty if the
    /// query names a run that the log does not have.
    async fn ask(&self, query: &StatusQuery) -> Result<StoredState, Failure> {
        let local = self.local()?;
        let observation = self.observed_since(Instant::now()).await?;
        let mut found = observation.with_history(query.history)?;
        if query.run_id.is_none() && !query.include_changes {
            return Ok(found);
        }
        let read = async |tx: &Tx<'_, Local>| match self.log(tx).await? {
            Some(known) => read_runs(tx, known.log(), query, &mut found).await,
            None => {
                found.status.history.clear();
                Ok(())
            }
        };
        local.read("status", read).await?;
        Ok(found)
    }

    fn compose(
        &self,
        mut found: StoredState,
        connections: ConnectionsReport,
        in_process_state: &InProcessState,
        now: DateTime<Utc>,
    ) -> Status {
        let config = self.config();
        // First, because the words and the health depend on whether the local database answered.
        found.status.connections = connections;
        clock_warnings::warn(&mut found.status.warnings, self.clock.ahead());
        let dated_ahead = found.dated_ahead(now);
        found.status.warnings.extend(dated_ahead);
        found.forget_ended_pause(now);
        let running = in_process_state.running_status(found.running.as_ref(), now);
        let status = &found.status;
        let is_down = status.connections.local.error.is_some();
        let last = status.last_run.as_ref();
        let health = derive(&HealthInputs {
            is_configured: self.is_configured() && (is_down || status.tenant.is_some()),
            is_local_down: is_down,
            is_paused: status.paused.is_some(),
            is_interrupted: found.is_interrupted(),
            last_outcome: last.and_then(|run| run.outcome),
            synced_at: status.last_success_at.or(last.map(|run| run.started_at)),
            slots: &RecentSlots::at(now, config.schedule.as_ref(), config.jitter),
        });
        let summary = status_text::summary(health, &found, running.is_some(), now);
        let next_step = status_text::next_step(health, &found, running.as_ref());
        found.status.warnings.extend(found.drift_warning);
        Status {
            summary,
            next_step,
            health,
            activity: ActivityState::of(
                running.is_some(),
                in_process_state.waiting_until.is_some(),
            ),
            now,
            next_run_at: self.next_run_at(in_process_state.waiting_until, now),
            schedule: ScheduleStatus::of(config.schedule.as_ref()),
            running,
            ..found.status
        }
    }
}

/// Returns what this process itself knows of the mirror, for a query to which the local database gave no answer.
fn fall_back(
    in_process_state: &InProcessState,
    failure: &Failure,
    query: &StatusQuery,
) -> StoredState {
    let is_asked = |run: &&RunRecord| query.run_id.is_none_or(|id| run.run_id == id);
    let last = in_process_state.last.as_ref();
    StoredState {
        status: Status {
            tenant: in_process_state.tenant.clone(),
            last_run: last.cloned(),
            last_success_at: in_process_state.last_success_at,
            history: last.filter(is_asked).cloned().into_iter().collect(),
            warnings: vec![failure.in_words()],
            ..Status::default()
        },
        ..StoredState::default()
    }
}

/// Reads into `found` the run that the query names, if any. If the query asks for changes, also reads the changes and
/// rejected rows of that run, or of the last run if none is named.
async fn read_runs(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    query: &StatusQuery,
    found: &mut StoredState,
) -> Result<(), DbError> {
    let mut shown = found.status.last_run.as_ref().map(|run| run.run_id);
    if let Some(id) = query.run_id {
        let run = log::by_id(tx, log, id).await?;
        shown = run.as_ref().map(|run| run.run_id);
        found.status.history = run.into_iter().collect();
    }
    if let Some(id) = shown.filter(|_| query.include_changes) {
        let limit = query.changes_limit;
        found.status.changes = Some(changes::changes(tx, id, limit).await?);
        found.status.rejected = Some(rejected_rows::read(tx, id, limit).await?);
    }
    Ok(())
}
