//! Signs a browser in, by exchanging a token for a session cookie, and signs it out.

use axum::extract::{Form, Query, State};
use axum::http::header::{ORIGIN, SET_COOKIE};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::PageState;
use super::mirror_page_paths::MirrorBasePath;
use super::page_layout::PageLayout;
use super::{SIGN_IN, is_page};
use crate::badges::icons::Icon;
use crate::http::session_cookie;
use crate::machine_clock;

/// The query parameters of the sign-in form's URL. `next` is the page to open after sign-in.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct SignInQuery {
    next: Option<String>,
}

/// The fields of the sign-in form.
#[derive(Deserialize)]
pub(super) struct SignInForm {
    token: String,
    next: Option<String>,
}

/// `GET /sign-in`: shows the sign-in form.
pub(super) async fn show(Query(asked): Query<SignInQuery>) -> Markup {
    form(asked.next.as_deref(), None)
}

fn form(next: Option<&str>, wrong: Option<&str>) -> Markup {
    let layout = PageLayout {
        base: MirrorBasePath::root(),
        title: "Sign in".to_owned(),
        icon: Icon::Dots,
        tone: "calm",
        place: None,
        viewer: None,
        refresh_seconds: None,
    };
    layout.around(&html! {
        h1 { "Sign in" }
        @if let Some(wrong) = wrong { p.box.bad role="alert" { (wrong) } }
        form.stack method="post" action=(SIGN_IN) {
            input type="hidden" name="next" value=(next.unwrap_or("/"));
            label for="token" { "Token" }
            input #token type="password" name="token" autocomplete="current-password" required autofocus;
            p.soft { "One of those in " code { "METER_SYNC_TOKENS" } ", without " code { "read:" } " or " code { "trigger:" } "." }
            p { button.main { "Sign in" } }
        }
    })
}

/// `POST /sign-in`: sets the session cookie and redirects to the page that was requested. If the token is unknown,
/// answers 401 and shows the form again.
pub(super) async fn sign_in(
    State(shared): State<PageState>,
    headers: HeaderMap,
    Form(shown): Form<SignInForm>,
) -> Response {
    let tokens = shared.mirrors.config().tokens.now();
    let Some(token) = session_cookie::find(&tokens, shown.token.trim().as_bytes()) else {
        let wrong = "This is not one of the tokens.";
        return (
            StatusCode::UNAUTHORIZED,
            form(shown.next.as_deref(), Some(wrong)),
        )
            .into_response();
    };
    let next = shown.next.as_deref().and_then(page);
    let next = next.as_ref().map_or("/", PathAndQuery::as_str);
    let given = session_cookie::give(token, machine_clock::now(), is_encrypted(&headers));
    ([(SET_COOKIE, given)], Redirect::to(next)).into_response()
}

/// Parses `next`, the page to open after sign-in. Returns `None` unless it is the path of a page of this server, so
/// that a link to the sign-in form cannot redirect to another website.
fn page(next: &str) -> Option<PathAndQuery> {
    let asked: PathAndQuery = next.parse().ok().filter(|_| next.is_ascii())?;
    is_page(asked.path()).then_some(asked)
}

/// `POST /sign-out`: deletes the session cookie and redirects to the sign-in form.
pub(super) async fn sign_out(headers: HeaderMap) -> Response {
    let taken = session_cookie::take(is_encrypted(&headers));
    ([(SET_COOKIE, taken)], Redirect::to(SIGN_IN)).into_response()
}

/// Whether the browser uses TLS, to this server or to a proxy in front of it. The scheme in the header `Origin` says
/// so.
fn is_encrypted(headers: &HeaderMap) -> bool {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    origin.is_some_and(|origin| origin.starts_with("https://"))
}
