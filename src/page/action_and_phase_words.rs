//! The words in which the page shows actions, triggers and phases.

use crate::model::{ChangeAction, Phase, RunTrigger};

/// Returns the word for what a run did to a meter or, if `planned`, what a sync would do to it.
pub(super) fn action(action: ChangeAction, planned: bool) -> &'static str {
    match (action, planned) {
        (ChangeAction::Insert, false) => "Inserted",
        (ChangeAction::Update, false) => "Updated",
        (ChangeAction::Deactivate, false) => "Deactivated",
        (ChangeAction::Reactivate, false) => "Reactivated",
        (ChangeAction::Unknown, _) => "Unknown",
        (ChangeAction::Insert, true) => "Would insert",
        (ChangeAction::Update, true) => "Would update",
        (ChangeAction::Deactivate, true) => "Would deactivate",
        (ChangeAction::Reactivate, true) => "Would reactivate",
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
