//! Swaps a token for a cookie, and back.

use axum::extract::{Form, Query, State};
use axum::http::header::{ORIGIN, SET_COOKIE};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::icons::Icon;
use super::shell::Shell;
use super::{SIGN_IN, is_page};
use crate::clock;
use crate::http::Shared;
use crate::http::cookie;

/// Where to go afterwards.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    next: Option<String>,
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct Shown {
    token: String,
    next: Option<String>,
}

/// The form.
pub(super) async fn show(Query(asked): Query<Asked>) -> Markup {
    form(asked.next.as_deref(), None)
}

fn form(next: Option<&str>, wrong: Option<&str>) -> Markup {
    let shell = Shell {
        title: "Sign in".to_owned(),
        icon: Icon::Dots,
        tone: "calm",
        place: None,
        viewer: None,
        refresh_seconds: None,
    };
    shell.around(&html! {
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

/// Gives the cookie for a token.
pub(super) async fn sign_in(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Form(shown): Form<Shown>,
) -> Response {
    let tokens = shared.runs.config().tokens.now();
    let Some(token) = cookie::find(&tokens, shown.token.trim().as_bytes()) else {
        let wrong = "This is not one of the tokens.";
        return (
            StatusCode::UNAUTHORIZED,
            form(shown.next.as_deref(), Some(wrong)),
        )
            .into_response();
    };
    let next = shown.next.as_deref().and_then(page);
    let next = next.as_ref().map_or("/", PathAndQuery::as_str);
    let given = cookie::give(token, clock::now(), is_encrypted(&headers));
    ([(SET_COOKIE, given)], Redirect::to(next)).into_response()
}

/// An address of one of our own pages, as a browser asks for it.
fn page(next: &str) -> Option<PathAndQuery> {
    let asked: PathAndQuery = next.parse().ok().filter(|_| next.is_ascii())?;
    is_page(asked.path()).then_some(asked)
}

/// Takes the cookie back.
pub(super) async fn sign_out(headers: HeaderMap) -> Response {
    let taken = cookie::take(is_encrypted(&headers));
    ([(SET_COOKIE, taken)], Redirect::to(SIGN_IN)).into_response()
}

/// Whether the browser reached us, or a proxy before us, by TLS.
fn is_encrypted(headers: &HeaderMap) -> bool {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    origin.is_some_and(|origin| origin.starts_with("https://"))
}
