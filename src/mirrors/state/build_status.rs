//! Builds the status from the published state of the mirror and from what only this process knows. If the local
//! database is down, builds it only from the latter, with a warning.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::db::{DbError, Local, Tx};
use crate::error::Failure;

use super::health::{self, HealthInputs, LastRun, RecentSlots};
use super::read_log::{ReadError, read_runs};
use super::status::{ScheduleStatus, Status, StatusQuery};
use super::status_text;
use crate::mirrors::live_state::{self, LiveState};
use crate::mirrors::state::health::{ActivityState, Health};
use crate::mirrors::status_parts::Connections;
use crate::mirrors::stored_state::{StoredState, Tally};
use crate::mirrors::{Mirror, clock_warnings, local_table, tenant};
use crate::store::migrations;

impl Mirror {
    /// Returns the current status. Fails only if the query names a run that the log does not have.
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

    /// Returns the status, and the numbers of failures and of drifted columns. Waits for the local database at most
    /// `patience`; with `None`, as long as the settings allow.
    pub(crate) async fn ask_status(
        &self,
        query: &StatusQuery,
        patience: Option<Duration>,
    ) -> Result<(Status, Tally), Failure> {
        let asked = match &self.shared.process.local {
            Some(_) => Some(self.ask_within(query, patience).await),
            None => None,
        };
        let now = self.now();
        let mut live_state = self.shared.live_state.borrow().clone();
        let found = match asked {
            Some(Ok(found)) => {
                live_state.local = live_state::connection(None, now);
                found.with(&live_state)
            }
            Some(Err(ReadError::NoSuchRun(failure))) => return Err(failure),
            Some(Err(ReadError::Failed(failure))) => {
                let mut found = self.fall_back(&live_state, &failure);
                if let Some(id) = query.run_id {
                    found.history.retain(|run| run.run_id == id);
                }
                live_state.local = live_state::connection(Some(failure), now);
                found
            }
            None => self.fall_back(&live_state, &self.unconfigured()),
        };
        let tally = found.tally();
        Ok((self.compose(found, live_state, now), tally))
    }

    async fn ask_within(
        &self,
        query: &StatusQuery,
        patience: Option<Duration>,
    ) -> Result<StoredState, ReadError> {
        let asked = self.ask(query);
        let Some(patience) = patience else {
            return asked.await;
        };
        let silence =
            |_elapsed| ReadError::Failed(DbError::silence::<Local>("status", patience).failure());
        tokio::time::timeout(patience, asked)
            .await
            .unwrap_or_else(|elapsed| Err(silence(elapsed)))
    }

    async fn ask(&self, query: &StatusQuery) -> Result<StoredState, ReadError> {
        let observed = self.observed_since(Instant::now()).await;
        let observation = observed.map_err(ReadError::Failed)?;
        let found = observation.with_history(query.history);
        let mut found = found.map_err(ReadError::Failed)?;
        if query.run_id.is_some() || query.include_changes {
            let read = async |tx: &Tx<'_, Local>| self.read_details(tx, query, &mut found).await;
            self.local()
                .map_err(ReadError::Failed)?
                .read("status", read)
                .await?;
        }
        Ok(found)
    }

    async fn read_details(
        &self,
        tx: &Tx<'_, Local>,
        query: &StatusQuery,
        found: &mut StoredState,
    ) -> Result<(), ReadError> {
        if migrations::exist(tx).await? {
            let mapping = self.mapping();
            let table = local_table::find(tx, mapping).await?;
            let tenant = tenant::known(tx, mapping, &table).await?;
            let id = tenant
                .as_ref()
                .map_or(mapping.tenant.as_ref(), |tenant| Some(&tenant.id));
            read_runs(tx, (&table, id), query, found).await
        } else {
            query.run_id.map_or(Ok(()), |id| {
                Err(ReadError::NoSuchRun(status_text::no_such_run(id)))
            })
        }
    }

    fn fall_back(&self, live_state: &LiveState, failure: &Failure) -> StoredState {
        StoredState {
            tenant: live_state.tenant.clone(),
            last_run: live_state.last.clone(),
            last_success_at: live_state.last_success_at,
            running: live_state.running_record(),
            history: live_state.last.clone().into_iter().collect(),
            warnings: vec![format!("{} {}", failure.message, failure.remedy)],
            ..StoredState::default()
        }
    }

    fn compose(&self, mut found: StoredState, live_state: LiveState, now: DateTime<Utc>) -> Status {
        let config = self.config();
        clock_warnings::warn(&mut found.warnings, self.shared.process.clock.ahead());
        found.warnings.extend(found.dated_ahead(now));
        let is_down = live_state.local.error.is_some();
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
        let running = found.running_at(&live_state, now);
        let activity = match (&running, live_state.waiting_until) {
            (Some(_), _) => ActivityState::Running,
            (None, Some(_)) => ActivityState::Waiting,
            (None, None) => ActivityState::Idle,
        };
        Status {
            health,
            activity,
            summary: match health == Health::NeverRun && running.is_some() {
                true => status_text::FIRST_RUN.to_owned(),
                false => status_text::summary(health, &found, live_state.local.error.as_ref(), now),
            },
            next_step: status_text::next_step(health, &found, running.as_ref()),
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
            next_run_at: live_state
                .waiting_until
                .or_else(|| config.schedule.as_ref().and_then(|s| s.next_after(now)))
                .filter(|_| self.is_configured()),
            schedule: ScheduleStatus::of(config.schedule.as_ref()),
            meters: found.meters,
            connections: Connections {
                remote: live_state.remote,
                local: live_state.local,
            },
            running,
            history: found.history,
            changes: found.changes,
            rejected: found.rejected,
            warnings: found.warnings.into_iter().chain(drift).collect(),
        }
    }
}
