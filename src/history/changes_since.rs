//! Lists what all runs have changed since a time.

use chrono::{DateTime, Utc};

use super::log_limits;
use crate::db::{Local, Tx};
use crate::error::Failure;
use crate::mirrors::Mirror;
use crate::model::{Change, ChangesSinceQuery};
use crate::reports::moment::moment;
use crate::reports::run_and_change_pages::ChangesSincePage;
use crate::reports::run_report::counted;
use crate::reports::status_text::no_such_run;
use crate::store::changes::{self, ChangesSinceReport, DatedChange};
use crate::store::log::{self, LogFilter};
use crate::store::migrations;

/// The time since which changes are listed if a caller names none: a week ago.
pub(crate) const DEFAULT_SINCE: &str = "7d";

impl Mirror {
    /// Counts the changes that runs have made since a time, and lists one page of them, with the names of the meters.
    pub async fn changes_since(
        &self,
        query: &ChangesSinceQuery<'_>,
    ) -> Result<ChangesSincePage, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let scope = self.meters(tx).await?.scope;
            tx.pin_path().await?;
            Ok::<_, Failure>(match migrations::exist(tx).await? {
                true => {
                    require_cursor(tx, scope.log(), query).await?;
                    changes::since(tx, scope.log(), query, self.kept_since()).await?
                }
                false => ChangesSinceReport {
                    since: query.since,
                    is_complete: true,
                    ..ChangesSinceReport::default()
                },
            })
        };
        let mut found = self.local()?.read("changes since", read).await?;
        self.name(&mut found.changes).await;
        let summary = in_words(&found, self.now());
        Ok(ChangesSincePage::of(found, summary))
    }

    /// Lists one page of changes as [`Self::changes_since`] does, and counts nothing. For pages after the first.
    pub async fn more_changes_since(
        &self,
        query: &ChangesSinceQuery<'_>,
    ) -> Result<ChangesSinceReport, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let scope = self.meters(tx).await?.scope;
            tx.pin_path().await?;
            require_cursor(tx, scope.log(), query).await?;
            Ok::<_, Failure>(changes::list_since(tx, scope.log(), query).await?)
        };
        let mut listed = self.local()?.read("changes since", read).await?;
        self.name(&mut listed.changes).await;
        Ok(ChangesSinceReport {
            since: query.since,
            changes: listed.changes,
            has_more: listed.has_more,
            ..ChangesSinceReport::default()
        })
    }

    /// Adds the names of the meters, and removes the ids of tenants that the caller may not see.
    async fn name(&self, dated: &mut [DatedChange]) {
        let changes = dated.iter().map(|dated| dated.change.clone());
        let mut changes: Vec<Change> = changes.collect();
        self.hide_in_changes(&mut changes);
        let named = self.with_names(changes).await;
        for (dated, named) in dated.iter_mut().zip(named) {
            dated.change = named;
        }
    }
}

/// Fails if the log of the mirror does not have the run of the cursor, any more or at all. The list would end there.
async fn require_cursor(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    query: &ChangesSinceQuery<'_>,
) -> Result<(), Failure> {
    let Some(before) = query.before else {
        return Ok(());
    };
    match log::by_id(tx, log, before.run).await? {
        Some(_) => Ok(()),
        None => Err(no_such_run(before.run)
            .with_remedy("Begin again with the first page: leave `before` out.")),
    }
}

/// Describes how many meters the syncs since a time have changed, and whether the log still has all of these changes.
fn in_words(changes: &ChangesSinceReport, now: DateTime<Utc>) -> String {
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
        false => log_limits::LOST,
    };
    format!("{said}{begins}{gaps}")
}
