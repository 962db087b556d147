//! What the buttons do. Each answers with a page to go to, so that a reload asks for nothing twice.

use axum::Extension;
use axum::extract::{Form, State};
use axum::http::HeaderMap;
use axum::response::Redirect;
use serde::Deserialize;

use super::shell::Trouble;
use super::viewer::Viewer;
use crate::config::Token;
use crate::error::{ErrorCode, Failure};
use crate::http::Shared;
use crate::http::notice::Notice;
use crate::meter::{Permission, RunId, Trigger};
use crate::runs::{Allow, Request, Requested, approval_of};
use crate::trace::TraceId;

/// The form that starts a sync.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(rename = "do")]
    what: What,
    /// The run whose deactivations, held back by the brake, a person approves.
    allow: Option<RunId>,
    sure: Option<Yes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Sync,
    Preview,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Yes {
    Yes,
}

/// Starts a run. A preview leads to its own page, and so does a plan that was allowed.
pub(super) async fn sync(
    State(shared): State<Shared>,
    viewer: Viewer,
    token: Option<Extension<Token>>,
    headers: HeaderMap,
    Form(wanted): Form<Wanted>,
) -> Result<Redirect, Trouble> {
    if !viewer.may_trigger {
        let message = "This page is read-only for you.";
        return Err(Trouble::forbidden(Failure::new(
            ErrorCode::ReadOnly,
            message,
        )));
    }
    let mut request = Request::new(Trigger::Page);
    request.actor = token.and_then(|Extension(token)| token.name);
    request.trace = TraceId::of_headers(&headers);
    request.dry_run = wanted.what == What::Preview;
    let allowed = wanted.allow.filter(|_| !request.dry_run);
    if let Some(id) = allowed {
        let Some(allow) = allow(&shared, id, wanted.sure).await? else {
            return Ok(Redirect::to(&noticed(id, Notice::NothingHeld)));
        };
        request.allow = allow;
        request.reason = Some(approval_of(id));
    }
    let is_shown = request.dry_run || allowed.is_some();
    let to = match shared.runs.request(request).await? {
        Requested::Started(ticket) if is_shown => format!("/runs/{}", ticket.run_id()),
        Requested::AlreadyRunning(report) => noticed(report.run_id, Notice::AlreadyRunning),
        // One that ended at once may not have come to be logged; the status tells of it.
        Requested::Started(_) | Requested::Finished(_) => "/".to_owned(),
    };
    Ok(Redirect::to(&to))
}

/// The address of a run that says why the viewer was sent there.
fn noticed(id: RunId, notice: Notice) -> String {
    format!("/runs/{id}?notice={}", notice.as_str())
}

/// What a person approves: the deactivations that they were shown, or fewer; `None` if the run held none back.
async fn allow(shared: &Shared, id: RunId, sure: Option<Yes>) -> Result<Option<Allow>, Trouble> {
    let detail = shared.runs.run(id).await?;
    if detail
        .as_ref()
        .is_some_and(|detail| detail.held_back.is_none())
    {
        return Ok(None);
    }
    let detail = detail.filter(|detail| detail.awaits_decision);
    let (Some(_), Some(Yes::Yes)) = (detail, sure) else {
        let message = "Nothing was approved: the box was not ticked, the log does not have the run, its list of meters is no longer kept, or a sync has succeeded since.";
        let failure = Failure::new(ErrorCode::MassDeactivationRefused, message)
            .with_remedy("Preview the changes again, and tick the box if they are right.");
        return Err(Trouble::forbidden(failure));
    };
    Ok(Some(Allow {
        mass_deactivation: Permission::Shown(id),
        tenant_change: false,
    }))
}
