//! Lists past runs page by page, and reads one run with everything that the log holds about it.

use crate::db::{DbError, Local, Tx};
use crate::error::Failure;
use crate::model::{Change, RunId, RunRecord, RunsQuery};

use crate::mirrors::Mirror;
use crate::mirrors::hide_other_tenants::tell_where_gone;
use crate::mirrors::open_run_fate::{self, OpenRunFate};
use crate::reports::run_and_change_pages::{ChangesPage, RunsPage};
use crate::reports::run_detail::RunDetail;
use crate::store::{changes, held_deactivations, log, rejected_rows};
use crate::tenants::run_scope::LogScope;

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
        let mut logged = self.local()?.read(HISTORY, read).await?;
        if let Some(detail) = &mut logged {
            self.hide_in_held(detail.held_back.as_mut());
            tell_where_gone(&mut detail.summary, detail.held_back.as_ref());
        }
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
            details.held_back.is_some() && held_deactivations::can_be_approved(tx, id).await?;
        Ok(Some(RunDetail {
            phases: details.phases,
            changes_logged: details.changes,
            rejected: rejected_rows::read(tx, id, REJECTED).await?,
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
        let changes = numbered.into_iter().map(|(_, change)| change);
        let mut changes: Vec<Change> = changes.collect();
        self.hide_in_changes(&mut changes);
        Ok(ChangesPage {
            changes: self.with_names(changes).await,
            next_after: last.filter(|_| has_more),
        })
    }
}

/// Updates the record of a run that had no end when its log row was read. If the run's process has died, marks the
/// record, but not the log row, as interrupted.
async fn update(tx: &Tx<'_, Local>, known: &LogScope, run: &mut RunRecord) -> Result<(), DbError> {
    if let (None, Some(scope)) = (run.outcome, known.clone().scope()) {
        match open_run_fate::look_up(tx, &scope, run.run_id).await? {
            OpenRunFate::Ended(ended) => *run = *ended,
            OpenRunFate::Dead => run.interrupt(),
            OpenRunFate::InProgress | OpenRunFate::Deleted => {}
        }
    }
    Ok(())
}
