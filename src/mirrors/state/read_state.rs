//! Reads the state of one mirror from the local database, and publishes it to all callers who wait for it.
//!
//! The state is read again only if something may have been committed since the last read, which a
//! [`CommitMarker`](crate::db::CommitMarker) shows. While nothing is committed, a client that asks every second costs
//! one short statement for each answer, and so do a thousand clients that ask at once.

use std::sync::Arc;

use tokio::time::Instant;

use crate::db::{Connection, Database, DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};

use super::meter_counts::MeterCount;
use super::read_log::read_log;
use crate::mirrors::Mirror;
use crate::mirrors::local_table::{self, LocalTable};
use crate::mirrors::observation::{Observation, Observed};
use crate::mirrors::run::lock;
use crate::mirrors::scope::Scope;
use crate::mirrors::status_parts::TenantStatus;
use crate::mirrors::stored_state::StoredState;
use crate::mirrors::tenant::{self, NoTenant, Tenant};
use crate::store::read_mirror_states::latest;
use crate::store::{columns, log, migrations};

/// How many of the newest runs are read. A status lists at most as many.
const RUNS: u32 = 50;

impl Mirror {
    /// Returns the state of the mirror as it was read at `time` or later. Reads it if needed.
    pub(in crate::mirrors) async fn observed_since(&self, time: Instant) -> Observed {
        let mirror = self.clone();
        let read = move |last: Option<Observed>| {
            let mirror = mirror.clone();
            async move { mirror.read_state(last.and_then(Result::ok)).await }
        };
        let tasks = &self.shared.process.tasks;
        let observed = self.shared.observed.since(time, tasks, read).await;
        observed.unwrap_or_else(|| {
            let message = "The state of the mirror could not be read.";
            Err(Failure::new(ErrorCode::Internal, message))
        })
    }

    async fn read_state(&self, last: Option<Observation>) -> Observed {
        let local: &Database<Local> = self.local()?;
        let mut connection = local.connect_to_read().await?;
        let read = self.read_unless_known(&mut connection, last).await;
        if read.is_err() {
            connection.discard();
        }
        read
    }

    async fn read_unless_known(
        &self,
        connection: &mut Connection<Local>,
        last: Option<Observation>,
    ) -> Observed {
        let before = connection.commit_marker().await?;
        if let Some(last) = last.filter(|last| last.is_still_true(before.as_ref())) {
            return Ok(last);
        }
        let read_at = Instant::now();
        let (mut state, counted) = self.read_anew(connection).await?;
        let runs = std::mem::take(&mut state.history).into();
        if let Err(error) = counted {
            return Ok(Observation {
                state: Err(error.into()),
                runs,
                moment: None,
                read_at,
            });
        }
        let moment = match before.filter(|_| state.lasts()) {
            // If the second moment cannot be read, the state is valid, but is read again the next time.
            Some(before) => {
                let after = connection.commit_marker().await.ok().flatten();
                after.filter(|after| *after == before)
            }
            None => None,
        };
        Ok(Observation {
            state: Ok(Arc::new(state)),
            runs,
            moment,
            read_at,
        })
    }

    /// Reads the state, and counts the meters last. Returns the error of the count beside what else was read.
    async fn read_anew(
        &self,
        connection: &mut Connection<Local>,
    ) -> Result<(StoredState, Result<(), DbError>), Failure> {
        let tx = connection.begin("status").await?;
        let mapping = self.mapping();
        let table = local_table::find(&tx, mapping).await?;
        let tenant = match tenant::resolve(&tx, mapping, &table).await {
            Ok(tenant) => Ok(tenant),
            Err(NoTenant::Unknown(failure)) => Err(failure),
            Err(NoTenant::Database(error)) => return Err(error.into()),
        };
        self.read(&tx, table, tenant).await
    }

    async fn read(
        &self,
        tx: &Tx<'_, Local>,
        table: LocalTable,
        tenant: Result<Tenant, Failure>,
    ) -> Result<(StoredState, Result<(), DbError>), Failure> {
        let mut found = StoredState {
            failures: Some(0),
            ..StoredState::default()
        };
        let set = self.mapping().tenant.as_ref();
        let id = tenant.as_ref().map_or(set, |tenant| Some(&tenant.id));
        let tables = migrations::tables(tx).await?;
        if let Some(id) = id.filter(|_| tables.columns) {
            found.drifted = Some(columns::drifted(tx, id, &table.name).await?);
        }
        if tables.any {
            read_log(tx, (&table, id), RUNS, &mut found).await?;
            let looks = log::last_looks(tx, table.log(id), tables.sweeps).await?;
            found.verified_at = looks.verified_at;
            found.checked_at = looks.checked_at;
            found.last_success_at = latest(found.last_success_at, looks.checked_at);
        }
        match tenant {
            Ok(tenant) => {
                let scope = Scope { tenant, table };
                if tables.any {
                    read_running(tx, &scope, &mut found).await?;
                }
                let counted = self.read_meters(tx, scope, &mut found).await;
                return Ok((found, counted));
            }
            Err(failure) => found
                .warnings
                .push(format!("{} {}", failure.message, failure.remedy)),
        }
        Ok((found, Ok(())))
    }

    async fn read_meters(
        &self,
        tx: &Tx<'_, Local>,
        scope: Scope,
        found: &mut StoredState,
    ) -> Result<(), DbError> {
        let last_run = found.last_run.as_ref().map(|run| run.run_id);
        match self.count_meters(tx, &scope, last_run).await? {
            MeterCount::Counted(counts) => found.meters = Some(counts),
            MeterCount::Missing => {
                let table = &self.mapping().local_table;
                let warning = format!("The local table {table} does not exist.");
                found.warnings.push(warning);
            }
            MeterCount::BeingCounted => {
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
    // The run may have ended after its row was read. If it has not, its process has died.
    let now = log::by_id(tx, scope.log(), run.run_id).await?;
    found.interrupted = now.filter(|run| run.outcome.is_none());
    Ok(())
}
