//! Counts the meters of a mirror, or reuses the last count.

use std::time::Instant;

use crate::db::{DbError, Local, SideName, Tx, quote};
use crate::error::Failure;

use crate::mirrors::Mirror;
use crate::mirrors::meter_count_cache::{LastMeterCount, MeterCountKey, PATIENCE, TimedMeterCount};
use crate::reports::status::MeterCounts;
use crate::reports::stored_state::StoredState;
use crate::tenants::look_up_local_table;
use crate::tenants::run_scope::RunScope;

impl Mirror {
    /// Sets the meters of `found` to the number of the tenant's meters in the local table, counted now or a short time
    /// ago. Adds a warning instead if the table or its active column does not exist or may not be used, or if the
    /// meters are still being counted.
    pub(super) async fn count_meters(
        &self,
        tx: &Tx<'_, Local>,
        RunScope { tenant, table }: &RunScope,
        found: &mut StoredState,
    ) -> Result<(), DbError> {
        if !table.exists || !table.has_active {
            let mapping = self.mapping();
            let name = &mapping.local_table;
            let warning = match (&table.unusable, table.exists) {
                (Some(table), _) => table.failure(SideName::Local, name).in_words(),
                (None, true) => format!(
                    "The local table {name} has no column {}.",
                    mapping.active_column
                ),
                (None, false) => format!("The local table {name} does not exist."),
            };
            found.status.warnings.push(warning);
            return Ok(());
        }
        let active = quote::identifier(&self.mapping().active_column);
        let filter = look_up_local_table::of_tenant(table, self.mapping(), &tenant.given);
        let sql = format!(
            "-- count the meters
select pg_catalog.count(*) filter (where l.{active}), pg_catalog.count(*) filter (where l.{active} is not true)
from {} l where {filter}",
            table.name
        );
        let question = MeterCountKey {
            sql,
            needs_role_path: table.has_row_security,
            last_run: found.status.last_run.as_ref().map(|run| run.run_id),
        };
        found.status.meters = self.count_or_recall(tx, question).await?;
        if found.status.meters.is_none() {
            found.is_being_counted = true;
            let warning = "The local meters are still being counted: ask again in a moment.";
            found.status.warnings.push(warning.to_owned());
        }
        Ok(())
    }

    /// Counts the meters now, or returns an earlier count if it is recent or a new one takes too long. Returns `None`
    /// if a new count takes too long and there is no earlier one; a background task then counts.
    async fn count_or_recall(
        &self,
        tx: &Tx<'_, Local>,
        question: MeterCountKey,
    ) -> Result<Option<MeterCounts>, DbError> {
        let counter = &self.shared.meter_count_cache;
        let LastMeterCount { count, is_overdue } = counter.last();
        let now = Instant::now();
        if let Some(count) = count.as_ref().filter(|count| count.is_told(&question, now)) {
            if !count.holds(&question, now) {
                self.start_counting(question);
            }
            return Ok(Some(count.again()));
        }
        if !is_overdue {
            let counting = TimedMeterCount::make(tx, question.clone());
            if let Ok(counted) = tokio::time::timeout(PATIENCE, counting).await {
                let count = counted?;
                let counts = count.counts;
                counter.set(Some(count), false);
                return Ok(Some(counts));
            }
            counter.set(count.clone(), true);
        }
        let known = count.filter(|count| count.question.sql == question.sql);
        self.start_counting(question);
        Ok(known.map(|count| count.again()))
    }

    /// Starts a background task that counts the meters, unless one is running. If the count fails, the next read of the
    /// state starts another task.
    fn start_counting(&self, question: MeterCountKey) {
        let mirror = self.clone();
        let counting = async move {
            let counter = &mirror.shared.meter_count_cache;
            let Ok(_only) = counter.behind.try_lock() else {
                return;
            };
            let count = async |tx: &Tx<'_, Local>| {
                Ok::<_, Failure>(TimedMeterCount::make(tx, question).await?)
            };
            let counted = async { mirror.local()?.read("count", count).await };
            match counted.await {
                Ok(count) => counter.set(Some(count), false),
                Err(failure) => {
                    tracing::debug!(error.code = %failure.code, "the meters could not be counted");
                }
            }
        };
        self.tasks.spawn(counting);
    }
}
