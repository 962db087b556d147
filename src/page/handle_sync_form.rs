//! Handles the form that starts a sync, a preview (a dry run) or a verification, or approves deactivations that an earlier run held
//! back. The answer is a redirect, so that reloading the page does not send the form again.

use axum::Extension;
use axum::extract::Form;
use axum::http::HeaderMap;
use axum::response::Redirect;
use serde::Deserialize;

use super::mirror_in_url::MirrorInUrl;
use super::mirror_page_paths::MirrorBasePath;
use super::page_layout::ErrorPage;
use super::viewer_rights::ViewerRights;
use crate::config::Token;
use crate::error::{ErrorCode, Failure};
use crate::http::run_page_redirect_reason::RunPageRedirectReason;
use crate::mirrors::{
    Mirror, RunApprovals, RunRequest, RunRequestOutcome, VerifyRequest, approval_of,
};
use crate::model::{DeactivationApproval, RunId, RunTrigger};
use crate::trace_id::TraceId;

/// The fields of a form that a browser has sent to start a sync, a preview or a verification.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct SubmittedSyncForm {
    #[serde(rename = "do")]
    what: SyncFormAction,
    /// The run that held back the deactivations which the person now approves; `None` if the person approves nothing.
    allow: Option<RunId>,
    sure: Option<TickedBox>,
}

/// The button of the form that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SyncFormAction {
    Sync,
    Preview,
    Verify,
}

/// The value of a check box that is ticked. A browser sends nothing for a box that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TickedBox {
    Yes,
}

/// `POST /sync`: starts a run or a verification, and redirects the browser. Answers 403 if the viewer may not start a run, or if the
/// approval in the form is not valid. The redirect leads to the page of one run, or to the status page:
///
/// - to the new run, if it is a preview or carries out approved deactivations;
/// - to the run in progress, if that prevents a new one;
/// - to the run that the form names for approval, if it has nothing to approve;
/// - to the status page in all other cases.
pub(super) async fn sync(
    MirrorInUrl { mirror, base }: MirrorInUrl,
    viewer: ViewerRights,
    token: Option<Extension<Token>>,
    headers: HeaderMap,
    Form(wanted): Form<SubmittedSyncForm>,
) -> Result<Redirect, ErrorPage> {
    if !viewer.may_trigger {
        let message = "This page is read-only for you.";
        let failure = Failure::new(ErrorCode::ReadOnly, message);
        return Err(ErrorPage::forbidden(failure).of_mirror(&base));
    }
    let mut request = RunRequest::new(RunTrigger::Page);
    request.actor = token.and_then(|Extension(token)| token.name);
    if wanted.what == SyncFormAction::Verify {
        mirror.start_to_verify(VerifyRequest {
            every_value: false,
            trigger: request.trigger,
            actor: request.actor,
        })?;
        return Ok(Redirect::to(&base.page("/")));
    }
    request.trace = TraceId::of_headers(&headers);
    request.dry_run = wanted.what == SyncFormAction::Preview;
    let allowed = wanted.allow.filter(|_| !request.dry_run);
    if let Some(id) = allowed {
        let allow = allow(&mirror, id, wanted.sure).await;
        let Some(allow) = allow.map_err(|error| error.of_mirror(&base))? else {
            return Ok(Redirect::to(&noticed(
                &base,
                id,
                RunPageRedirectReason::NothingHeld,
            )));
        };
        request.allow = allow;
        request.reason = Some(approval_of(id));
    }
    let is_shown = request.dry_run || allowed.is_some();
    let to = match mirror.request(request).await? {
        RunRequestOutcome::Started(ticket) if is_shown => base.run(ticket.run_id()),
        RunRequestOutcome::AlreadyRunning(report) => {
            noticed(&base, report.run_id, RunPageRedirectReason::AlreadyRunning)
        }
        // A run that ended at once may not be in the log. The status page shows how it ended.
        RunRequestOutcome::Started(_) | RunRequestOutcome::Finished(_) => base.page("/"),
    };
    Ok(Redirect::to(&to))
}

/// Returns the URL of a run's page with the parameter `notice`, by which the page tells the viewer why it is shown.
fn noticed(base: &MirrorBasePath, id: RunId, notice: RunPageRedirectReason) -> String {
    format!("{}?notice={}", base.run(id), notice.as_str())
}

/// Checks an approval of the deactivations that the run `id` held back, and returns the permission to make these and no
/// others. Returns `None` if the run held none back. Error if the form's checkbox `sure` was not ticked, or if these
/// deactivations can no longer be approved.
async fn allow(
    mirror: &Mirror,
    id: RunId,
    sure: Option<TickedBox>,
) -> Result<Option<RunApprovals>, ErrorPage> {
    let detail = mirror.run(id).await?;
    if detail
        .as_ref()
        .is_some_and(|detail| detail.held_back.is_none())
    {
        return Ok(None);
    }
    let detail = detail.filter(|detail| detail.awaits_decision);
    let (Some(_), Some(TickedBox::Yes)) = (detail, sure) else {
        let message = "Nothing was approved: the box was not ticked, the log does not have the run, its list of meters is no longer kept, or a sync has succeeded since.";
        let failure = Failure::new(ErrorCode::MassDeactivationRefused, message)
            .with_remedy("Preview the changes again, and tick the box if they are right.");
        return Err(ErrorPage::forbidden(failure));
    };
    Ok(Some(RunApprovals {
        mass_deactivation: DeactivationApproval::OfRun(id),
        tenant_change: false,
        remote_change: false,
    }))
}
