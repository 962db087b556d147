//! Writes the sentences of a status: a summary, and what to do next.

use chrono::{DateTime, Utc};

use crate::error::{ErrorCode, Failure};
use crate::model::{Health, HealthCounts, RunId, RunOutcome, TenantId, WORST_FIRST};

use super::moment::moment;
use super::pause_text;
use super::run_report::{self, counted};
use super::status::RunningStatus;
use super::stored_state::StoredState;
use super::tenant_list::TenantList;

/// Returns the summary of one mirror's status: its health, and when its sides were last known to be equal. `is_running`
/// is whether a run is in progress.
pub(crate) fn summary(
    health: Health,
    found: &StoredState,
    is_running: bool,
    now: DateTime<Utc>,
) -> String {
    let status = &found.status;
    if let Some(failure) = &status.connections.local.error {
        let is_silent = [ErrorCode::LocalUnreachable, ErrorCode::LocalTimeout];
        return match is_silent.contains(&failure.code) {
            true => "The local database does not answer, so the meters cannot be vouched for."
                .to_owned(),
            false => format!("The meters cannot be vouched for. {}", failure.message),
        };
    }
    let last = status.last_run.as_ref();
    let ended = last.and_then(|run| run.finished_at);
    let ended = ended.map_or_else(String::new, |at| format!(" ({})", moment(at, now)));
    let said = last.map_or_else(String::new, run_report::summary);
    let but = match &found.drift_warning {
        Some(_) => ", but for columns that have changed on the remote",
        None => "",
    };
    let in_sync = status.last_success_at.map_or_else(
        || "at no time that is known".to_owned(),
        |at| format!("as of {}", moment(at, now)),
    );
    match health {
        Health::NotConfigured => "meter-sync is not configured yet.".to_owned(),
        Health::NeverRun if is_running => {
            "The first sync is running; nothing is here before it ends.".to_owned()
        }
        Health::NeverRun => "No sync has run yet.".to_owned(),
        Health::Ok => format!("In sync {in_sync}{but}. {said}"),
        Health::Late => format!("In sync {in_sync}{but}; a scheduled sync is overdue since."),
        Health::Stale => format!(
            "The meters are stale, last in sync {in_sync}: no sync is known to have succeeded for several slots."
        ),
        Health::Paused => match &status.paused {
            Some(pause) => pause_text::summary(pause, found.last_check.as_ref(), now),
            None => format!("In sync {in_sync}{but}; the schedule is off. {said}"),
        },
        Health::Failing if found.is_interrupted() => format!(
            "The last sync was interrupted; the meters are as they were before it, last in sync {in_sync}."
        ),
        Health::Failing => match last.and_then(|run| run.outcome) {
            Some(RunOutcome::Partial) => {
                format!("The last sync{ended} rejected some changes; all others are here. {said}")
            }
            Some(RunOutcome::Unknown) => said,
            None
            | Some(
                RunOutcome::Succeeded
                | RunOutcome::NoChange
                | RunOutcome::Failed
                | RunOutcome::Refused
                | RunOutcome::Interrupted
                | RunOutcome::DryRun,
            ) => format!(
                "The last sync{ended} did not succeed; the meters were last in sync {in_sync}. {said}"
            ),
        },
    }
}

/// Returns the sentence of a mirror's status that says what to do next. For a step that would write to the database, it
/// tells the reader (a person or an AI assistant) to ask the user first.
pub(crate) fn next_step(
    health: Health,
    found: &StoredState,
    running: Option<&RunningStatus>,
) -> String {
    if let Some(running) = running {
        return format!("Ask again to follow run {}.", running.run_id);
    }
    let error = found
        .status
        .last_run
        .as_ref()
        .and_then(|run| run.error.as_ref());
    let remedy = error.map(|error| &error.remedy);
    // What the last run warned of does not replace what is to be done about its error.
    let own = found.own_warning().filter(|_| remedy.is_some());
    let mut warnings = found.status.warnings.iter();
    if let Some(warning) = warnings.find(|warning| own.as_ref() != Some(*warning)) {
        return warning.clone();
    }
    if let (Health::Ok | Health::Paused, Some(drift)) = (health, &found.drift_warning) {
        return drift.clone();
    }
    match (health, remedy) {
        (Health::Ok, _) => "Nothing to do.".to_owned(),
        (Health::NotConfigured, _) => ErrorCode::ConfigMissing.remedy().to_owned(),
        (Health::NeverRun, _) => {
            "Ask the user whether to sync; a dry run shows before what it would do.".to_owned()
        }
        (Health::Failing, Some(remedy)) => remedy.clone(),
        (Health::Paused, _) if found.status.paused.is_some() => {
            let check = found.last_check.as_ref().and_then(|check| check.error.as_ref());
            let remedy = check.map_or_else(String::new, |error| format!("{} ", error.remedy));
            format!(
                "{remedy}Leave it to a person to end the pause: on the page, or with `meter-sync resume`."
            )
        }
        (Health::Paused, _) => {
            "If the remote has changed since, ask the user whether to sync; or set METER_SYNC_SCHEDULE.".to_owned()
        }
        (Health::Failing | Health::Late | Health::Stale, _) => {
            "Ask the user whether to sync now.".to_owned()
        }
    }
}

/// Returns the summary of the status of many mirrors. `unread` is the reason why their states could not be read, and
/// `unswept` the reason why the last sweep (a check of all mirrors) failed; both are `None` if all is well. `oldest` is
/// the earliest of the times at which each mirror was last in sync.
pub(crate) fn summary_of_many(
    tenants: &TenantList,
    unread: Option<&Failure>,
    unswept: Option<&Failure>,
    oldest: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> String {
    if let Some(failure) = unread {
        return format!("The meters cannot be vouched for. {}", failure.message);
    }
    if let Some(failure) = unswept {
        let at = oldest.map_or_else(
            || "not all tenants were ever in sync".to_owned(),
            |at| format!("all tenants were last in sync as of {}", moment(at, now)),
        );
        return format!("The last sweep did not succeed; {at}. {}", failure.message);
    }
    let HealthCounts { ok, paused, .. } = tenants.by_health;
    // Without a schedule, all mirrors that are in sync have the health `Paused`.
    let (total, in_sync) = (tenants.total, ok + paused - tenants.paused_by_people);
    if total == 0 {
        return "No tenant is known whose meters are to be kept in sync.".to_owned();
    }
    if in_sync == total {
        let at = oldest.map_or_else(String::new, |at| format!(" as of {}", moment(at, now)));
        return match total {
            1 => format!("The 1 tenant is in sync{at}."),
            _ => format!("All {total} tenants are in sync{at}."),
        };
    }
    let others = WORST_FIRST.iter().filter_map(|health| {
        let said = match health {
            Health::Ok | Health::Paused => return None,
            Health::Failing => "failing",
            Health::Stale => "stale",
            Health::Late => "overdue",
            Health::NeverRun => "never synced",
            Health::NotConfigured => "not configured",
        };
        Some((tenants.by_health.of(*health), said))
    });
    let others = others.chain([(tenants.paused_by_people, "paused")]);
    let others = counted(others).join(", ");
    format!("{in_sync} of {total} tenants are in sync; {others}.")
}

/// Returns the sentence of the status of many mirrors that says what to do next. `worst` is the tenant with the worst
/// health; `None` if there are no tenants. `failure` is the reason why the mirrors could not be read or checked.
/// `run_warning` tells of a last run with a warning.
pub(crate) fn next_step_of_many(
    worst: Option<(&TenantId, Health)>,
    failure: Option<&Failure>,
    run_warning: Option<&String>,
) -> String {
    if let Some(failure) = failure {
        return failure.remedy.clone();
    }
    match worst {
        None => "Name tenants in METER_SYNC_TENANTS or METER_SYNC_TENANTS_QUERY.".to_owned(),
        Some((_, Health::Ok | Health::Paused)) => run_warning
            .cloned()
            .unwrap_or_else(|| "Nothing to do.".to_owned()),
        Some((id, _)) => format!("Ask for the status of tenant {id} to see why it is not in sync."),
    }
}

/// Returns the error for a query that names a run that is not in the log.
pub(crate) fn no_such_run(id: RunId) -> Failure {
    let message = format!("There is no run {id} of this tenant and table in the log.");
    Failure::new(ErrorCode::ConfigInvalid, message)
        .with_remedy("Leave run_id out to list the latest runs with their ids.")
}
