//! Answers the questions that people ask the status tool: about one meter, about the changes since a time, or for
//! earlier runs. The answer comes together with the status.

use chrono::{DateTime, Utc};

use crate::error::{ErrorCode, Failure};
use crate::mirrors::Mirror;
use crate::model::{ChangeAction, ChangeCursor, ChangesSinceQuery, RunFilter, RunId, RunsQuery};
use crate::reports::status::{Status, StatusQuery};
use crate::reports::status_text::no_such_run;

use super::find_meter::{FindMeterQuery, FoundMeters};

/// A question about one meter, about the changes since a time, or for earlier runs. The status alone does not answer
/// these.
#[derive(Clone, Debug, Default)]
pub struct HistoryQuestion {
    /// The parameters of the status that is returned with the answer.
    pub status: StatusQuery,
    /// The key of a meter or a part of its name; `None` to ask about all meters.
    pub meter: Option<String>,
    /// The time since which to list changes, of `meter` or of all meters; `None` for no limit.
    pub since: Option<DateTime<Utc>>,
    /// The time in the past for which to say how `meter` was; `None` for no such time.
    pub at: Option<DateTime<Utc>>,
    /// The kinds of changes to list since `since`; empty lists all.
    pub kinds: Vec<ChangeAction>,
    /// A run; the answer says how the meters differ between its end and that of the run `status.run_id`. `None` to
    /// compare no runs.
    pub compare_with: Option<RunId>,
    /// The cursor (`next_before`) of the previous page; `None` for the first page.
    pub before: Option<ChangeCursor>,
}

impl Mirror {
    /// Returns the status together with the answer to the question. Fails only if the question names a run that the log
    /// does not have, or if two runs cannot be compared. If the local database cannot be read, any other answer is
    /// missing, and a warning in the status says why.
    pub async fn answer(&self, question: &HistoryQuestion) -> Result<Status, Failure> {
        let mut status = self.status(&question.status).await?;
        if let Some(before) = question.before {
            self.require_run(before.run).await?;
        }
        let answered = match (&question.meter, question.since) {
            (Some(meter), _) => self.answer_meter(&mut status, meter, question).await,
            (None, Some(since)) => self.answer_since(&mut status, since, question).await,
            (None, None) => self.page_history(&mut status, question).await,
        };
        let compared = match self.answer_difference(&mut status, question).await {
            // The caller named a run that cannot be compared.
            Err(failure) if failure.code == ErrorCode::ConfigInvalid => return Err(failure),
            compared => compared,
        };
        if let Err(failure) = answered.and(compared) {
            let warning = failure.in_words();
            if !status.warnings.contains(&warning) {
                status.warnings.push(warning);
            }
        }
        status.turn_page();
        Ok(status)
    }

    async fn require_run(&self, id: RunId) -> Result<(), Failure> {
        match self.run(id).await {
            Ok(None) => Err(no_such_run(id).with_remedy(
                "Give `next_before` of the page before as `before`, or leave it out.",
            )),
            Ok(Some(_)) | Err(_) => Ok(()),
        }
    }

    async fn page_history(
        &self,
        status: &mut Status,
        question: &HistoryQuestion,
    ) -> Result<(), Failure> {
        let asked = &question.status;
        let Some(before) = question.before else {
            let is_full = status.history.len() == asked.history as usize;
            status.has_more_runs = is_full && asked.run_id.is_none();
            return Ok(());
        };
        let query = RunsQuery {
            limit: question.status.history,
            before: Some(before.run),
            show: RunFilter::All,
        };
        let page = self.list(&query).await?.unwrap_or_default();
        status.has_more_runs = page.next_before.is_some();
        status.history = page.runs;
        Ok(())
    }

    async fn answer_difference(
        &self,
        status: &mut Status,
        question: &HistoryQuestion,
    ) -> Result<(), Failure> {
        let limit = question.status.changes_limit;
        if let (Some(one), Some(other)) = (question.status.run_id, question.compare_with) {
            let difference = self.compare_runs(one, other, limit).await?;
            status.summary = format!("{} {}", difference.summary, status.summary);
            status.difference = Some(difference);
        }
        Ok(())
    }

    async fn answer_since(
        &self,
        status: &mut Status,
        since: DateTime<Utc>,
        question: &HistoryQuestion,
    ) -> Result<(), Failure> {
        let query = ChangesSinceQuery {
            since,
            kinds: &question.kinds,
            before: question.before,
            limit: question.status.changes_limit,
        };
        let page = self.changes_since(&query).await?;
        status.summary = format!("{} {}", page.summary, status.summary);
        status.changes_since = Some(page.changes_since);
        Ok(())
    }

    async fn answer_meter(
        &self,
        status: &mut Status,
        meter: &str,
        question: &HistoryQuestion,
    ) -> Result<(), Failure> {
        let query = FindMeterQuery {
            at: question.at,
            since: question.since,
            before: question.before,
            limit: question.status.changes_limit,
        };
        let found = self.find_meter(meter, query).await?;
        let summary = found.in_words(meter);
        match found {
            FoundMeters::One(report) => status.meter = Some(*report),
            FoundMeters::Others { matches, .. } => status.matches = Some(matches),
        }
        status.summary = format!("{summary} {}", status.summary);
        Ok(())
    }
}
