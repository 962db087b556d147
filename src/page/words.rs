//! The words in which the page shows actions, triggers and phases.

use crate::model::{Action, Phase, Trigger};

/// Returns the word for what a run did to a meter or, if `planned`, what a sync would do to it.
pub(super) fn action(action: Action, planned: bool) -> &'static str {
    match (action, planned) {
        (Action::Insert, false) => "Inserted",
        (Action::Update, false) => "Updated",
        (Action::Deactivate, false) => "Deactivated",
        (Action::Reactivate, false) => "Reactivated",
        (Action::Unknown, _) => "Unknown",
        (Action::Insert, true) => "Would insert",
        (Action::Update, true) => "Would update",
        (Action::Deactivate, true) => "Would deactivate",
        (Action::Reactivate, true) => "Would reactivate",
    }
}

/// Returns the word for what requested a run, such as the schedule or a program.
pub(super) fn trigger(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Schedule => "schedule",
        Trigger::Startup => "process start",
        Trigger::Mcp => "assistant",
        Trigger::Rest => "program",
        Trigger::Page => "this page",
        Trigger::Cli => "command line",
        Trigger::Unknown => "unknown",
    }
}

/// Returns the word for a phase of a run.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "Connect",
        Phase::Read => "Read",
        Phase::Plan => "Compare",
        Phase::Apply => "Write",
    }
}
