//! Lists past runs page by page, and reads one run with everything that the log holds about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::db::{DbError, Local, Tx};
use crate::error::Failure;
use crate::model::{Change, HeldDeactivations, PhaseTime, Rejection, RunId, RunRecord};

use crate::mirrors::Mirror;
use crate::mirrors::state::read_state::is_in_progress;
use crate::reports::run_report;
pub use crate::store::log::{RunFilter, RunsQuery};
use crate::store::{changes, held_sets, log, rejected};
use crate::tenants::tenant_and_table::LogScope;

/// A page of runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunsPage {
    /// The runs, newest first; a run in progress has no `outcome`.
    pub runs: Vec<RunRecord>,
    /// The value of `before` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<RunId>,
}

/// One run with all that is known about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunDetail {
    /// The record of the run in the log.
    pub run: RunRecord,
    /// The result of the run in one sentence.
    pub summary: String,
    /// What to do next, in one sentence.
    pub next_step: String,
    /// How long the run was in each phase; empty while it runs.
    pub phases: Vec<PhaseTime>,
    /// How many changes of the run the log has.
    pub changes_logged: i64,
    /// The rows that the run rejected, at most the first 100,000; `counts.rejected` of the run is the full number.
    pub rejected: Vec<Rejection>,
    /// The deactivations because of which the run was refused, or a sync would be; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldDeactivations>,
    /// Whether a person can still approve the deactivations in `held_back`; not after a later sync has succeeded.
    pub awaits_decision: bool,
}

impl RunDetail {
    /// Describes a run by its record alone, without phases, rejected rows and held-back deactivations.
    fn of(run: RunRecord) -> Self {
        Self {
            summary: run_report::summary(&run),
            next_step: run_report::next_step(&run),
            run,
            phases: Vec::new(),
            changes_logged: 0,
            rejected: Vec::new(),
            held_back: None,
            awaits_decision: false,
        }
    }
}

/// A page of the changes of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangesPage {
    /// Deactivations first, then updates and reactivations, inserts, and unique values cleared on inactive meters.
    pub changes: Vec<Change>,
    /// The value of `after` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<i64>,
}

/// The maximum number of a run's rejected rows (rows that could not be stored) that are returned.
const REJECTED: u32 = 100_000;

/// The name that `pg_stat_activity` shows for the transactions that read the run log.
const HISTORY: &str = "history";

impl Mirror {
    /// Returns one page of this mirror's runs, newest first, including the run in progress. Returns `None` if the log
    /// does not have the run `query.before`, which the page is to follow.
    pub async fn list(&self, query: &RunsQuery) -> Result<Option<RunsPage>, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let log = self.log(tx).await?;
            let Some(log) = &log else {
                return Ok(query.before.is_none().then(RunsPage::default));
            };
            if let Some(before) = query.before
                && log::by_id(tx, log.log(), before).await?.is_none()
            {
                return Ok(None);
            }
            let one_more = RunsQuery {
                limit: query.limit.saturating_add(1),
                ..*query
            };
            let mut runs = log::page(tx, log.log(), &one_more).await?;
            let has_more = runs.len() > query.limit as usize;
            runs.truncate(query.limit as usize);
            for run in &mut runs {
                update(tx, log, run).await?;
            }
            let last = runs.last().map(|run| run.run_id);
            Ok(Some(RunsPage {
                next_before: last.filter(|_| has_more),
                runs,
            }))
        };
        self.local()?.read(HISTORY, read).await
    }

    /// Returns one run of this mirror, with all that is known about it. Returns `None` if the run is neither in the log
    /// nor the last run of this process.
    pub async fn run(&self, id: RunId) -> Result<Option<RunDetail>, Failure> {
        let read = async |tx: &Tx<'_, Local>| Ok::<_, Failure>(self.read_run(tx, id).await?);
        let logged = self.local()?.read(HISTORY, read).await?;
        // The log may lack the last run that ended in this process.
        let last_here = || self.last_run_here().filter(|last| last.run_id == id);
        Ok(logged.or_else(|| last_here().map(RunDetail::of)))
    }

    async fn read_run(&self, tx: &Tx<'_, Local>, id: RunId) -> Result<Option<RunDetail>, DbError> {
        let log = self.log(tx).await?;
        let Some(log) = &log else {
            return Ok(None);
        };
        let Some(mut run) = log::by_id(tx, log.log(), id).await? else {
            return Ok(None);
        };
        update(tx, log, &mut run).await?;
        let details = log::details(tx, id).await?;
        let awaits_decision =
            details.held_back.is_some() && held_sets::can_be_approved(tx, id).await?;
        Ok(Some(RunDetail {
            phases: details.phases,
            changes_logged: details.changes,
            rejected: rejected::read(tx, id, REJECTED).await?,
            held_back: details.held_back,
            awaits_decision,
            ..RunDetail::of(run)
        }))
    }

    /// Returns one page of the changes that a run made: at most `limit`, of those with numbers above `after` (0 for the
    /// first page). The page is empty if the log does not have the run.
    pub async fn changes(&self, id: RunId, limit: u32, after: i64) -> Result<ChangesPage, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let log = self.log(tx).await?;
            let run = match &log {
                Some(log) => log::by_id(tx, log.log(), id).await?,
                None => None,
            };
            match run {
                Some(_) => changes::changes_after(tx, id, limit.saturating_add(1), after).await,
                None => Ok(Vec::new()),
            }
        };
        let mut numbered = self.local()?.read(HISTORY, read).await?;
        let has_more = numbered.len() > limit as usize;
        numbered.truncate(limit as usize);
        let last = numbered.last().map(|(n, _)| *n);
        let changes = numbered.into_iter().map(|(_, change)| change).collect();
        Ok(ChangesPage {
            changes: self.with_names(changes).await,
            next_after: last.filter(|_| has_more),
        })
    }
}

/// Updates the record of a run that had no end when its log row was read. If the run's process has died, marks the
/// record, but not the log row, as interrupted.
async fn update(tx: &Tx<'_, Local>, known: &LogScope, run: &mut RunRecord) -> Result<(), DbError> {
    if let (None, Some(scope)) = (run.outcome, known.clone().scope())
        && !is_in_progress(tx, &scope, run).await?
        && run.outcome.is_none()
    {
        run.interrupt();
    }
    Ok(())
}
