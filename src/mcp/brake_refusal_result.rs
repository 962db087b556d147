//! Builds the tool results that tell a language model that the *brake* refused a sync, because it would deactivate too
//! many meters: what happened, which meters these are, and that a person decides. No text in this module says how to
//! pass the brake without a person.

use super::ask_for_approval::CENTRAL;
use super::page_address::PageAddress;
use super::{CallToolResult, tool_result};
use crate::error::{ErrorCode, Failure};
use crate::make_printable;
use crate::model::{HeldDeactivations, RunId};

/// Tells the model what to do after the brake has refused a sync.
const TELL: &str = "Tell the user so, and do not ask for another sync.";

/// Returns the result of a refused sync that the user was asked about and declined.
pub(super) fn declined() -> CallToolResult {
    let message = "The sync was refused, and the user does not let it go on; no meter was changed.";
    let remedy = "Leave it at that, and sync again only when the user asks for it.";
    let failure = Failure::new(ErrorCode::MassDeactivationRefused, message).with_remedy(remedy);
    tool_result::failure(&failure, None)
}

/// Returns the result of a refused sync that the user was asked about but has not decided. It names the web page on
/// which a person can still approve and, if `held` is given, the meters.
pub(super) fn undecided(
    run: RunId,
    held: Option<&HeldDeactivations>,
    page: &PageAddress,
) -> CallToolResult {
    let which = held.map_or_else(String::new, |held| {
        format!(" {}", make_printable::lines(&held.in_words(CENTRAL)))
    });
    let message = format!(
        "The sync was refused, as it would deactivate too many meters, and nobody has decided whether it may go on; no meter was changed.{which}"
    );
    let remedy = format!("{} {TELL}", page.decision_sentence(run));
    let failure = Failure::new(ErrorCode::MassDeactivationRefused, message).with_remedy(remedy);
    tool_result::failure(&failure, Some(run))
}

/// Returns the result of a refused sync about which the user was not asked. It says where missing meters went, and
/// names the first meters that would be deactivated and the address of the web page on which a person decides.
pub(super) fn held_back(
    failure: &Failure,
    held: &HeldDeactivations,
    run: RunId,
    page: &PageAddress,
) -> CallToolResult {
    let which = make_printable::lines(&held.details_in_words());
    let message = format!("{}{which}", failure.message);
    let remedy = format!("{} {} {TELL}", failure.remedy, page.decision_sentence(run));
    let failure = Failure::new(failure.code, message).with_remedy(remedy);
    tool_result::failure(&failure, Some(run))
}

/// Returns the result of a sync that stays refused although the user approved: each time, the next run would have
/// deactivated other meters.
pub(super) fn unsettled() -> CallToolResult {
    let message = "The sync was refused: each time, other meters were gone by the time the user had answered.";
    tool_result::failure(&Failure::new(ErrorCode::ApprovalOutdated, message), None)
}
