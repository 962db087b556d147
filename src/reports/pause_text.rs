//! The sentences about a mirror that a person has paused.

use chrono::{DateTime, Utc};

use super::moment::moment;
use super::run_report;
use crate::error::{ErrorCode, Failure};
use crate::model::{Pause, RunRecord};

/// Returns the error of a request for a run of a paused mirror.
pub(crate) fn refusal(pause: &Pause) -> Failure {
    let until = pause.until.map_or_else(String::new, |until| {
        format!(" until {}", until.format("%Y-%m-%d %H:%M UTC"))
    });
    let message = format!(
        "Syncs of these meters are paused{until}, by {}: {}",
        who(pause),
        sentence(&pause.reason)
    );
    Failure::new(ErrorCode::Paused, message)
}

/// Returns the reason, for the log, why a run of the schedule is a dry run.
pub(crate) fn why_dry_run(pause: &Pause) -> String {
    format!("paused by {}: {}", who(pause), pause.reason)
}

/// Describes a pause: who paused when, until when, why, and what the last check found. `check` is the last dry run since
/// the pause began; `None` if there was none.
pub(crate) fn summary(pause: &Pause, check: Option<&RunRecord>, now: DateTime<Utc>) -> String {
    let until = match pause.until {
        Some(until) => format!("until {}", until.format("%Y-%m-%d %H:%M UTC")),
        None => "until somebody resumes".to_owned(),
    };
    let paused = format!(
        "Paused by {} at {}, {until}: {}",
        who(pause),
        moment(pause.since, now),
        sentence(&pause.reason)
    );
    match check {
        Some(check) => {
            let at = check.finished_at.unwrap_or(check.started_at);
            let said = run_report::summary(check);
            format!("{paused} Checked at {}: {said}", moment(at, now))
        }
        None => format!("{paused} No sync changes the meters meanwhile."),
    }
}

fn who(pause: &Pause) -> &str {
    pause.by.as_deref().unwrap_or("somebody")
}

/// Returns the text as a sentence, with a full stop at its end unless it has a sign there.
fn sentence(text: &str) -> String {
    match text.ends_with(['.', '!', '?']) {
        true => text.to_owned(),
        false => format!("{text}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_pause_tells_who_why_and_until_when() {
        let mut pause = Pause {
            since: at("2026-11-28T09:00:00Z"),
            by: Some("ann on gate7".to_owned()),
            reason: "meters are being swapped".to_owned(),
            until: None,
        };
        let now = at("2026-11-28T11:00:00Z");
        assert_eq!(
            summary(&pause, None, now),
            "Paused by ann on gate7 at 09:00 UTC (2 h 0 min ago), until somebody resumes: meters are being swapped. \
             No sync changes the meters meanwhile."
        );
        pause.until = Some(at("2026-11-29T08:00:00Z"));
        pause.by = None;
        assert_eq!(
            refusal(&pause).message,
            "Syncs of these meters are paused until 2026-11-29 08:00 UTC, by somebody: meters are being swapped."
        );
    }
}
