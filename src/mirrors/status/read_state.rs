//! Reads the state of one mirror from the local database, and publishes it to all callers who wait for it.
//!
//! A state is used again for up to 10 s as long as nothing is committed, which a
//! [`CommittedState`](crate::db::CommittedState) tells. Most answers to a client that asks every second then cost one
//! short statement, and so do the answers to a thousand clients that ask at once. A state that can change without a
//! commit is not used again (see [`StoredState::lasts`]).

use std::sync::Arc;

use tokio::time::Instant;

use crate::db::{Connection, DbError, Local, Tx};
use crate::engine::column_drift;
use crate::error::{ErrorCode, Failure};

use crate::mirrors::Mirror;
use crate::mirrors::open_run_fate::{self, OpenRunFate};
use crate::mirrors::state_read::{StateRead, StateReadResult};
use crate::model::{RunOutcome, RunRecord, saturating_i64};
use crate::reports::status::NamedTenant;
use crate::reports::stored_state::StoredState;
use crate::store::log::LogFilter;
use crate::store::read_mirror_states::latest;
use crate::store::{log, migrations, pauses, proofs, recorded_columns};
use crate::tenants::{self, run_scope::RunScope};

/// How many of the newest runs are read from the log. A status lists at most as many.
const RUNS: u32 = 50;

impl Mirror {
    /// Returns the state of the mirror, read at `time` or later, or the error of that read. Reads it again only if the
    /// last read is older than `time`.
    pub(crate) async fn observed_since(&self, time: Instant) -> StateReadResult {
        let mirror = self.clone();
        let read = async move |last: Option<StateReadResult>| {
            mirror.read_state(last.and_then(Result::ok)).await
        };
        let observed = self.shared.observed.since(time, &self.tasks, read).await;
        observed.unwrap_or_else(|| {
            let message = "The state of the mirror could not be read.";
            Err(Failure::new(ErrorCode::Internal, message))
        })
    }

    async fn read_state(&self, last: Option<StateRead>) -> StateReadResult {
        let mut connection = self.local()?.connect_to_read().await?;
        let read = self.read_unless_known(&mut connection, last).await;
        if read.is_err() {
            connection.discard();
        }
        read
    }

    async fn read_unless_known(
        &self,
        connection: &mut Connection<Local>,
        last: Option<StateRead>,
    ) -> StateReadResult {
        let before = connection.commit_marker().await?;
        if let Some(last) = last.filter(|last| last.is_still_true(before.as_ref())) {
            return Ok(last);
        }
        let read_at = Instant::now();
        let mut state = self.read_anew(connection).await?;
        let marker = match before.filter(|_| state.lasts()) {
            // If the second marker cannot be read, the state is valid, but is read again the next time.
            Some(before) => {
                let after = connection.commit_marker().await.ok().flatten();
                after.filter(|after| *after == before)
            }
            None => None,
        };
        Ok(StateRead {
            runs: std::mem::take(&mut state.status.history).into(),
            state: Arc::new(state),
            marker,
            read_at,
        })
    }

    async fn read_anew(&self, connection: &mut Connection<Local>) -> Result<StoredState, Failure> {
        let tx = connection.begin("status").await?;
        let mapping = self.mapping();
        let (table, tenant) = tenants::find(&tx, mapping).await?;
        let tenant = match tenant {
            // The role may not even look up the tables.
            Err(failure) if table.unusable.is_some() => return Err(failure),
            tenant => tenant,
        };
        let scope = tenant.map(|tenant| RunScope {
            tenant,
            table: table.clone(),
        });
        let id = match &scope {
            Ok(scope) => Some(&scope.tenant.id),
            Err(_) => mapping.tenant.as_ref(),
        };
        let mut found = StoredState::default();
        found.status.consecutive_failures = Some(0);
        let tables = migrations::tables(&tx).await?;
        if let Some(id) = id.filter(|_| tables.columns) {
            let drifted = recorded_columns::drifted(&tx, id, &table.name).await?;
            found.drift_warning = column_drift::warning(&drifted);
            found.status.drifted_columns = Some(drifted.len());
        }
        if tables.any {
            // First, so that a run that ends meanwhile is at least found in the log.
            if let Ok(scope) = &scope {
                read_running(&tx, scope, &mut found).await?;
            }
            if let Some(id) = id.filter(|_| tables.pauses) {
                found.status.paused = pauses::of_mirror(&tx, id, &table.name).await?;
            }
            read_log(&tx, table.log(id), &mut found).await?;
            found.note_last_check();
            found.leave_out_ended();
            let looks = log::last_looks(&tx, table.log(id), tables.sweeps).await?;
            found.status.verified_at = looks.verified_at;
            found.status.checked_at = looks.checked_at;
            found.status.last_success_at = latest(found.status.last_success_at, looks.checked_at);
            if tables.proofs {
                let proofs = proofs::latest(&tx, table.log(id)).await?;
                found.add_proofs(&proofs);
            }
        }
        match scope {
            Ok(scope) => {
                // The meters are counted last, because the transaction can do nothing more after an error.
                let counted = self.count_meters(&tx, &scope, &mut found).await;
                found.count_failure = counted.err().map(Failure::from);
                found.status.tenant = Some(NamedTenant::from(&scope.tenant));
            }
            Err(failure) => found.status.warnings.push(failure.in_words()),
        }
        Ok(found)
    }
}

async fn read_running(
    tx: &Tx<'_, Local>,
    scope: &RunScope,
    found: &mut StoredState,
) -> Result<(), DbError> {
    let Some(run) = log::running(tx, scope.log()).await? else {
        return Ok(());
    };
    match open_run_fate::look_up(tx, scope, run.run_id).await? {
        OpenRunFate::InProgress => found.running = Some(run),
        OpenRunFate::Dead => found.interrupted = Some(run),
        OpenRunFate::Ended(_) | OpenRunFate::Deleted => {}
    }
    Ok(())
}

/// Reads the latest runs from the log into `found`, as many as [`RUNS`], with what follows from them: the last run, the
/// last success, the number of failures since, and warnings.
async fn read_log(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    found: &mut StoredState,
) -> Result<(), DbError> {
    let runs = log::newest(tx, log, RUNS).await?;
    let is_all = runs.len() < RUNS as usize;
    let has_ended = |run: &&RunRecord| run.outcome.is_some() && !run.dry_run;
    found.status.last_run = match runs.iter().find(has_ended) {
        None if !is_all => log::last_finished(tx, log).await?,
        run => run.cloned(),
    };
    if let Some(run) = found
        .status
        .last_run
        .as_ref()
        .filter(|run| run.outcome == Some(RunOutcome::Refused))
    {
        found.status.held_back = log::details(tx, run.run_id).await?.held_back;
    }
    found.status.warnings.extend(found.own_warning());
    let has_succeeded = |run: &&RunRecord| run.outcome.is_some_and(RunOutcome::is_success);
    let success = match runs.iter().find(has_succeeded) {
        None if !is_all => log::last_success(tx, log).await?,
        run => run.cloned(),
    };
    found.status.last_success_at = success.as_ref().and_then(|run| run.finished_at);
    found.status.consecutive_failures =
        Some(match runs.iter().position(|run| has_succeeded(&run)) {
            None if !is_all => {
                let success = success.map(|run| run.run_id);
                log::ended_after(tx, log, success).await?
            }
            success => {
                let since = runs.iter().take(success.unwrap_or(runs.len()));
                saturating_i64(since.filter(has_ended).count())
            }
        });
    found.status.history = runs;
    Ok(())
}
