//! Builds the answers that tell a language model that the brake refused a sync: what happened, which meters are held
//! back, and that a person decides. No text in this module says how to pass the brake without a person.

use super::approval::CENTRAL;
use super::page_address::PageAddress;
use super::{CallToolResult, tool_result};
use crate::error::{ErrorCode, Failure};
use crate::model::{HeldDeactivations, RunId};
use crate::printable;

/// Tells the model what to do after a refusal.
const TELL: &str = "Tell the user so, and do not ask for another sync.";

/// Returns the answer for a user who was asked and said no.
pub(super) fn declined() -> CallToolResult {
    let message = "The sync was refused, and the user does not let it go on; no meter was changed.";
    let remedy = "Leave it at that, and sync again only when the user asks for it.";
    let failure = Failure::new(ErrorCode::MassDeactivationRefused, message).with_remedy(remedy);
    tool_result::failure(&failure, None)
}

/// Returns the answer for a user who has not decided. A person can still approve the plan on the page.
pub(super) fn undecided(
    run: RunId,
    held: Option<&HeldDeactivations>,
    page: &PageAddress,
) -> CallToolResult {
    let which = held.map_or_else(String::new, |held| {
        format!(" {}", printable::lines(&held.in_words(CENTRAL)))
    });
    let message = format!(
        "The sync was refused, as it would deactivate too many meters, and nobody has decided whether it may go on; no meter was changed.{which}"
    );
    let remedy = format!("{} {TELL}", page.decides(run));
    let failure = Failure::new(ErrorCode::MassDeactivationRefused, message).with_remedy(remedy);
    tool_result::failure(&failure, Some(run))
}

/// Returns the brake's refusal, with the first held-back meters and the address of the page where a person decides.
pub(super) fn held_back(
    failure: &Failure,
    held: &HeldDeactivations,
    run: RunId,
    page: &PageAddress,
) -> CallToolResult {
    let which = printable::lines(&held.first_in_words());
    let message = format!("{}{which}", failure.message);
    let remedy = format!("{} {} {TELL}", failure.remedy, page.decides(run));
    let failure = Failure::new(failure.code, message).with_remedy(remedy);
    tool_result::failure(&failure, Some(run))
}

/// Returns the answer if every approval came too late, because other meters were due to be deactivated by then.
pub(super) fn unsettled() -> CallToolResult {
    let message = "The sync was refused: each time, other meters were gone by the time the user had answered.";
    tool_result::failure(&Failure::new(ErrorCode::ApprovalOutdated, message), None)
}
