//! What the buttons do. Each answers with a page to go to, so that a reload asks for nothing twice.

use axum::extract::{Form, State};
use axum::http::HeaderMap;
use axum::response::Redirect;
use serde::Deserialize;

use super::shell::Trouble;
use super::viewer::Viewer;
use crate::error::{ErrorCode, Failure};
use crate::http::Shared;
use crate::meter::{Permission, RunId, Trigger};
use crate::runs::{Allow, Request, Requested};
use crate::trace::TraceId;

/// The form that starts a sync.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(rename = "do")]
    what: What,
    /// The run whose plan, held back by the brake, a person allows.
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
    request.trace = TraceId::of_headers(&headers);
    request.dry_run = wanted.what == What::Preview;
    let allowed = wanted.allow.filter(|_| !request.dry_run);
    if let Some(id) = allowed {
        request.allow = allow(&shared, id, wanted.sure).await?;
        request.reason = Some(format!("the plan of run {id} was allowed"));
    }
    let is_shown = request.dry_run || allowed.is_some();
    let to = match shared.runs.request(request).await? {
        Requested::Started(ticket) if is_shown => format!("/runs/{}", ticket.run_id()),
        Requested::AlreadyRunning(report) => {
            format!("/runs/{}?notice=already_running", report.run_id)
        }
        // One that ended at once may not have come to be logged; the status tells of it.
        Requested::Started(_) | Requested::Finished(_) => "/".to_owned(),
    };
    Ok(Redirect::to(&to))
}

/// What a person allows: exactly the plan that they were shown.
async fn allow(shared: &Shared, id: RunId, sure: Option<Yes>) -> Result<Allow, Trouble> {
    let detail = shared.runs.run(id).await?;
    let detail = detail.filter(|detail| detail.awaits_decision);
    let held = detail.and_then(|detail| detail.held_back);
    let (Some(held), Some(Yes::Yes)) = (held, sure) else {
        let message = "Nothing was allowed: the box was not ticked, the plan is not in the log, or a sync has succeeded since it was held back.";
        let failure = Failure::new(ErrorCode::MassDeactivationRefused, message)
            .with_remedy("Preview the changes again, and tick the box if they are right.");
        return Err(Trouble::forbidden(failure));
    };
    Ok(Allow {
        mass_deactivation: Permission::Plan(held.digest),
        tenant_change: false,
    })
}
