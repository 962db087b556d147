//! Answers the questions that people ask the status tool: about one meter, about the changes since a time, or for
//! earlier runs. The answer comes together with the status.

use chrono::{DateTime, Utc};

use crate::db::{DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::model::{ChangeCursor, RunFilter, RunId, RunsQuery};

use super::parse_meter_key::MeterKeyText;
use super::search_meters::MATCHES;
use crate::mirrors::Mirror;
use crate::reports::meter_report::{MeterMatch, MeterReport};
use crate::reports::run_report::counted;
use crate::reports::status::{Status, StatusQuery};
use crate::reports::status_text::{moment, no_such_run};
use crate::store::changes::{self, ChangesSinceReport, MeterChangesQuery};
use crate::store::migrations;
use crate::tenants::meter_table::MeterTable;

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
    /// The cursor (`next_before`) of the previous page; `None` for the first page.
    pub before: Option<ChangeCursor>,
}

/// The result of looking for a meter by its key or by a part of its name: the meter if one was found, otherwise all
/// meters whose names contain the text (none or several).
type MeterLookup = Result<Box<MeterReport>, Vec<MeterMatch>>;

impl Mirror {
    /// Returns the status together with the answer to the question. Fails only if the question names a run that the log
    /// does not have. If the local database cannot be read, the answer is missing, and a warning in the status says
    /// why.
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
        if let Err(failure) = answered {
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

    async fn answer_since(
        &self,
        status: &mut Status,
        since: DateTime<Utc>,
        question: &HistoryQuestion,
    ) -> Result<(), Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let scope = self.meters(tx).await?.scope;
            tx.pin_path().await?;
            let (before, limit) = (question.before, question.status.changes_limit);
            Ok::<_, Failure>(match migrations::exist(tx).await? {
                true => changes::since(tx, scope.log(), since, before, limit).await?,
                false => ChangesSinceReport {
                    since,
                    is_complete: true,
                    ..ChangesSinceReport::default()
                },
            })
        };
        let mut found = self.local()?.read("changes since", read).await?;
        let changes = found.changes.iter().map(|dated| dated.change.clone());
        let named = self.with_names(changes.collect()).await;
        for (dated, named) in found.changes.iter_mut().zip(named) {
            dated.change = named;
        }
        status.summary = format!(
            "{} {}",
            changes_in_words(&found, status.now),
            status.summary
        );
        status.changes_since = Some(found);
        Ok(())
    }

    async fn answer_meter(
        &self,
        status: &mut Status,
        meter: &str,
        question: &HistoryQuestion,
    ) -> Result<(), Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let meters = self.meters(tx).await?;
            let looked = self.look(tx, &meters, meter, question).await;
            looked.map_err(|error| match error.is_too_much_to_compute() {
                true => too_long(),
                false => error.into(),
            })
        };
        let summary = match self.local()?.read("meter", read).await? {
            Ok(report) => {
                let said = report.in_words();
                status.meter = Some(*report);
                said
            }
            Err(mut matches) => {
                let more = match matches.len() > MATCHES {
                    true => "More than ",
                    false => "",
                };
                matches.truncate(MATCHES);
                let said = match matches.len() {
                    0 => format!(
                        "There is no meter here with the key `{meter}` or with that in its name."
                    ),
                    count => format!(
                        "{more}{count} meters have `{meter}` in their name; ask again with the key of one."
                    ),
                };
                status.matches = Some(matches);
                said
            }
        };
        status.summary = format!("{summary} {}", status.summary);
        Ok(())
    }

    async fn look(
        &self,
        tx: &Tx<'_, Local>,
        meters: &MeterTable,
        meter: &str,
        question: &HistoryQuestion,
    ) -> Result<MeterLookup, DbError> {
        let parts = meter.split(',').map(|part| part.trim().to_owned());
        for key in [vec![meter.to_owned()], parts.collect()] {
            let found = self.found(tx, meters, key, question).await?;
            if let Some(found) = found {
                return Ok(Ok(found));
            }
            tx.use_role_path().await?;
        }
        let matches = meters.named(tx, meter).await?;
        let [only] = matches.as_slice() else {
            return Ok(Err(matches));
        };
        let key = only.key_texts.clone();
        let found = self.found(tx, meters, key, question).await?;
        Ok(found.ok_or_else(Vec::new))
    }

    /// Returns the meter with this key, with one page of its changes as the question asks for; `None` if there is no
    /// such meter.
    async fn found(
        &self,
        tx: &Tx<'_, Local>,
        meters: &MeterTable,
        key: Vec<String>,
        question: &HistoryQuestion,
    ) -> Result<Option<Box<MeterReport>>, DbError> {
        let (key, active) = (MeterKeyText::Ordered(key), &self.mapping().active_column);
        let Some(mut report) = meters.find(tx, &key, active).await? else {
            return Ok(None);
        };
        let limit = question.status.changes_limit;
        if migrations::exist(tx).await? {
            let query = MeterChangesQuery {
                since: question.since,
                before: question.before,
                limit: i64::from(limit) + 1,
            };
            let log = meters.scope.log();
            report.changes = changes::of_meter(tx, log, &report.key_json, &query).await?;
        }
        report.has_more = report.changes.len() > limit as usize;
        report.changes.truncate(limit as usize);
        Ok(Some(Box::new(report)))
    }
}

fn too_long() -> Failure {
    let message = "The meters were too many to look through their names in a second.";
    Failure::new(ErrorCode::LocalTimeout, message)
        .with_remedy("Give the key of the meter as `meter`.")
}

/// Describes how many meters the syncs since a time have changed, and whether the log still has all of these changes.
fn changes_in_words(changes: &ChangesSinceReport, now: DateTime<Utc>) -> String {
    let since = moment(changes.since, now);
    let counted = counted([
        (changes.inserted, "inserted"),
        (changes.updated, "updated"),
        (changes.deactivated, "deactivated"),
        (changes.reactivated, "reactivated"),
    ])
    .join(", ");
    let said = match (changes.runs, counted.is_empty()) {
        (_, true) => format!("No sync has changed a meter since {since}."),
        (1, false) => format!("Since {since} one sync changed meters: {counted}."),
        (runs, false) => format!("Since {since} {runs} syncs changed meters: {counted}."),
    };
    let begins = changes.begins.map_or_else(String::new, |begins| {
        format!(" The log begins at {}.", moment(begins, now))
    });
    let gaps = match changes.is_complete {
        true => "",
        false => {
            " The log no longer has each change (METER_SYNC_CHANGE_LIMIT, METER_SYNC_KEEP_RUNS)."
        }
    };
    format!("{said}{begins}{gaps}")
}
