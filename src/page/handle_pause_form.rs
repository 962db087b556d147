//! The forms that pause the syncs of a mirror and end the pause. The answer is a redirect to the status page, so that
//! reloading the page does not send the form again.

use axum::Extension;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::Redirect;
use maud::{Markup, html};
use serde::Deserialize;

use super::mirror_in_url::MirrorInUrl;
use super::mirror_page_paths::MirrorBasePath;
use super::page_layout::ErrorPage;
use super::viewer_rights::ViewerRights;
use crate::arguments::bounds::REASON_CHARS;
use crate::arguments::{future_time, one_line};
use crate::config::Token;
use crate::error::{ErrorCode, Failure};
use crate::model::PauseRequest;
use crate::reports::status::Status;

/// The path to which the form is sent that pauses the syncs.
pub(super) const PAUSE: &str = "/pause";
/// The path to which the form is sent that ends the pause.
pub(super) const RESUME: &str = "/resume";

/// How long a pause may last, as the form offers it: the value that [`future_time`] parses, and words.
const LENGTHS: [(&str, &str); 5] = [
    ("", "somebody resumes"),
    ("1h", "1 hour has passed"),
    ("4h", "4 hours have passed"),
    ("1d", "1 day has passed"),
    ("7d", "7 days have passed"),
];

/// The fields of the form that pauses the syncs.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SubmittedPauseForm {
    reason: String,
    /// One of [`LENGTHS`].
    until: String,
}

/// `POST /pause`: pauses the syncs. Answers 403 if the viewer may not start a sync, and 400 if the form has no reason.
pub(super) async fn pause(
    MirrorInUrl { mirror, base }: MirrorInUrl,
    viewer: ViewerRights,
    token: Option<Extension<Token>>,
    Form(form): Form<SubmittedPauseForm>,
) -> Result<Redirect, ErrorPage> {
    refuse_reader(viewer, &base)?;
    let bad_form = || ErrorPage::bad_request(StatusCode::BAD_REQUEST).of_mirror(&base);
    let reason = one_line(&form.reason);
    if reason.is_empty() || reason.chars().count() > REASON_CHARS {
        return Err(bad_form());
    }
    let until = match form.until.is_empty() {
        true => None,
        false => {
            let until = future_time::parse("until", &form.until, mirror.now());
            Some(until.map_err(|_refused| bad_form())?)
        }
    };
    let request = PauseRequest {
        by: name(token),
        reason,
        until,
    };
    mirror.pause(&request).await?;
    Ok(Redirect::to(&base.page("/")))
}

/// `POST /resume`: ends the pause. Answers 403 if the viewer may not start a sync.
pub(super) async fn resume(
    MirrorInUrl { mirror, base }: MirrorInUrl,
    viewer: ViewerRights,
    token: Option<Extension<Token>>,
) -> Result<Redirect, ErrorPage> {
    refuse_reader(viewer, &base)?;
    mirror.resume(name(token).as_deref()).await?;
    Ok(Redirect::to(&base.page("/")))
}

/// Renders the form that pauses the syncs, folded. Empty if they are paused, or if the viewer may not pause them.
pub(super) fn form(status: &Status, base: &MirrorBasePath, viewer: ViewerRights) -> Markup {
    html! {
        @if viewer.may_trigger && status.paused.is_none() && status.tenant.is_some() {
            details #pause {
                summary { "Pause syncs" }
                form.row method="post" action=(base.page(PAUSE)) {
                    label { "Why " input type="text" name="reason" maxlength=(REASON_CHARS) required; }
                    label { "Until " select.until name="until" {
                        @for (length, words) in LENGTHS { option value=(length) { (words) } }
                    } }
                    button { "Pause" }
                }
                p.soft { "Until then, no sync changes the meters. Scheduled runs only show what they would change." }
            }
        }
    }
}

/// Renders the button that ends the pause.
pub(super) fn resume_form(base: &MirrorBasePath) -> Markup {
    html! {
        form.row method="post" action=(base.page(RESUME)) {
            button #resume .main { "Resume syncs" }
        }
    }
}

/// The name of the viewer's token, as the one who pauses; people without a token share one name.
fn name(token: Option<Extension<Token>>) -> Option<String> {
    let name = token.and_then(|Extension(token)| token.name);
    Some(name.unwrap_or_else(|| "somebody on the page".to_owned()))
}

fn refuse_reader(viewer: ViewerRights, base: &MirrorBasePath) -> Result<(), ErrorPage> {
    if viewer.may_trigger {
        return Ok(());
    }
    let message = "This page is read-only for you.";
    let failure = Failure::new(ErrorCode::ReadOnly, message);
    Err(ErrorPage::forbidden(failure).of_mirror(base))
}
