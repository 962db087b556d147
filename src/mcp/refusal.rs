//! What a model is told of a sync that the brake refused: what happened, how many and which meters, and that a person decides.
//! No text here says how to pass the brake without one.

use super::approval::CENTRAL;
use super::page::Page;
use super::{CallToolResult, answer};
use crate::error::{ErrorCode, Failure};
use crate::meter::{HeldBack, RunId};
use crate::visible;

/// What a model can do about a refusal.
const TELL: &str = "Tell the user so, and do not ask for another sync.";

/// The user was asked, and said no.
pub(super) fn declined() -> CallToolResult {
    let message = "The sync was refused, and the user does not let it go on; no meter was changed.";
    let remedy = "Leave it at that, and sync again only when the user asks for it.";
    let failure = Failure::new(ErrorCode::MassDeactivationRefused, message).with_remedy(remedy);
    answer::failure(&failure, None)
}

/// Nobody refused it either: the question stays open on the page.
pub(super) fn undecided(run: RunId, held: Option<&HeldBack>, page: &Page) -> CallToolResult {
    let which = held.map_or_else(String::new, |held| {
        format!(" {}", visible::lines(&held.in_words(CENTRAL)))
    });
    let message = format!(
        "The sync was refused, as it would deactivate too many meters, and nobody has decided whether it may go on; no meter was changed.{which}"
    );
    let remedy = format!("{} {TELL}", page.decides(run));
    let failure = Failure::new(ErrorCode::MassDeactivationRefused, message).with_remedy(remedy);
    answer::failure(&failure, Some(run))
}

/// A refusal, with the first of the meters and who decides about them.
pub(super) fn held_back(
    failure: &Failure,
    held: &HeldBack,
    (run, page): (RunId, &Page),
) -> CallToolResult {
    let which = visible::lines(&held.first_in_words());
    let message = format!("{}{which}", failure.message);
    let remedy = format!("{} {} {TELL}", failure.remedy, page.decides(run));
    let failure = Failure::new(failure.code, message).with_remedy(remedy);
    answer::failure(&failure, Some(run))
}

/// Each yes came too late for the meters it was for.
pub(super) fn unsettled() -> CallToolResult {
    let message = "The sync was refused: each time, other meters were gone by the time the user had answered.";
    answer::failure(&Failure::new(ErrorCode::ApprovalOutdated, message), None)
}
