//! The words in which the page shows actions, triggers and phases.

use crate::model::{Action, Phase, RunTrigger};

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
pub(super) fn trigger(trigger: RunTrigger) -> &'static str {
    match trigger {
        RunTrigger::Schedule => "schedule",
        RunTrigger::Startup => "process start",
        RunTrigger::Mcp => "assistant",
        RunTrigger::Rest => "program",
        RunTrigger::Page => "this page",
        RunTrigger::Cli => "command line",
        RunTrigger::Unknown => "unknown",
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
