//! The status in words: the answer in one sentence, and what to do next.

use crate::error::{ErrorCode, Failure};
use crate::meter::Outcome;

use super::found::Found;
use super::report;
use super::status::{Health, RunningStatus};

/// The answer in one sentence; `unanswered` is why the local database could not be asked.
pub(super) fn summary(health: Health, found: &Found, unanswered: Option<&Failure>) -> String {
    let last = found.last_run.as_ref();
    let when = last
        .and_then(|run| run.finished_at)
        .map_or_else(String::new, |at| {
            format!(" (last run ended {})", at.format("%Y-%m-%d %H:%M:%S UTC"))
        });
    let said = last.map_or_else(String::new, report::summary);
    let but = match found.drift() {
        Some(_) => ", but for columns that have changed on the remote",
        None => "",
    };
    if let Some(failure) = unanswered {
        let is_silent = [ErrorCode::LocalUnreachable, ErrorCode::LocalTimeout];
        return if is_silent.contains(&failure.code) {
            "The local database does not answer, so the meters cannot be vouched for.".to_owned()
        } else {
            format!("The meters cannot be vouched for. {}", failure.message)
        };
    }
    match health {
        Health::NotConfigured => "meter-sync is not configured yet.".to_owned(),
        Health::NeverRun => "No sync has run yet.".to_owned(),
        Health::Ok => format!("The meters are in sync{but}{when}. {said}"),
        Health::Late => format!("The meters were in sync, but a scheduled sync is overdue{when}."),
        Health::Stale => {
            format!(
                "The meters are stale: no sync is known to have succeeded for several slots{when}."
            )
        }
        Health::Paused => {
            format!("The schedule is off; the last sync succeeded{but}{when}. {said}")
        }
        Health::Failing if found.is_interrupted() => {
            "The last sync was interrupted; the meters are as they were before it.".to_owned()
        }
        Health::Failing => match last.and_then(|run| run.outcome) {
            Some(Outcome::Partial) => format!("Most meters are in sync, but not all{when}. {said}"),
            Some(Outcome::Unknown) => said,
            _ => format!("The last sync did not succeed{when}. {said}"),
        },
    }
}

/// What to do next, in one sentence.
pub(super) fn next_step(health: Health, found: &Found, running: Option<&RunningStatus>) -> String {
    if let Some(running) = running {
        return format!("Ask again to follow run {}.", running.run_id);
    }
    if let Some(warning) = found.warnings.first() {
        return warning.clone();
    }
    let remedy = found
        .last_run
        .as_ref()
        .and_then(|run| run.error.as_ref())
        .map(|e| &e.remedy);
    if let (Health::Ok | Health::Paused, Some(drift)) = (health, found.drift()) {
        return drift;
    }
    match (health, remedy) {
        (Health::Ok, _) => "Nothing to do.".to_owned(),
        (Health::NotConfigured, _) => ErrorCode::ConfigMissing.remedy().to_owned(),
        (Health::NeverRun, _) => {
            "Trigger a sync, first with dry_run to see what it would do.".to_owned()
        }
        (Health::Failing, Some(remedy)) => remedy.clone(),
        (Health::Paused, _) => {
            "Trigger a sync when the remote has changed, or set METER_SYNC_SCHEDULE.".to_owned()
        }
        (Health::Failing | Health::Late | Health::Stale, _) => "Trigger a sync.".to_owned(),
    }
}
