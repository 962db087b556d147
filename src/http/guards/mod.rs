//! What every request passes before a route sees it: Host, Origin, announced length, bearer token or cookie.
//!
//! A browser sends its cookie unasked, so a request that changes something on the strength of a cookie, or by a
//! form of the page, must come from a page of our own. The token that was shown goes on in the request's
//! extensions as [`Token`], for an endpoint such as MCP where reading and triggering share one path and method.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tracing::Instrument;

use super::hosts::Hosts;
use super::oauth::OAuth;
use super::problem::Problem;
use super::{cookie, health, page};
use crate::clock;
use crate::config::{Config, Token, Tokens};
use crate::shutdown::Shutdown;
use crate::trace::{self, TraceId};

/// No request of ours needs a thousandth of it.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Where a POST is no wish to change anything by itself.
const MCP_PATHS: [&str; 2] = ["/mcp", "/messages"];
/// What an orchestrator asks, which holds no token.
const OPEN_PATHS: [&str; 3] = [health::LIVE_PATH, health::READY_PATH, page::SIGN_IN];
/// Where a cookie counts for nothing, so that no page that a browser shows can speak for its user there.
const NO_COOKIE_PATHS: [&str; 3] = ["/mcp", "/messages", "/sse"];

/// What a browser says of who asks, and for what (<https://www.w3.org/TR/fetch-metadata/>).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Who may ask.
#[derive(Debug)]
pub(super) struct Guards {
    hosts: Hosts,
    tokens: Tokens,
    oauth: Option<OAuth>,
    read_only: bool,
}

/// What a request shows of its caller.
enum Shown {
    /// Nothing, and nothing is asked for.
    Nothing,
    /// A token of the settings, or its cookie.
    Token(Token),
    /// What may be an access token, not checked yet.
    AccessToken(String),
}

/// The routes behind the guards; nothing may be added to them afterwards.
pub(super) fn guard(routes: Router, guards: Guards) -> Router {
    routes
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::new(guards), check))
        .layer(middleware::from_fn(in_its_trace))
}

async fn in_its_trace(request: Request, next: Next) -> Response {
    let span = trace::span(TraceId::of_headers(request.headers()));
    next.run(request).instrument(span).await
}

async fn check(State(guards): State<Arc<Guards>>, mut request: Request, next: Next) -> Response {
    let needs_trigger = needs_trigger(&request);
    let admitted = match guards.screen(&request) {
        Ok(shown) => guards.admit(shown, needs_trigger).await,
        Err(problem) => Err(problem),
    };
    match admitted {
        Ok(None) => next.run(request).await,
        Ok(Some(token)) => {
            let method = request.method().clone();
            request.extensions_mut().insert(token.clone());
            let response = next.run(request).await;
            streams::end_with_token(&method, response, token, guards.tokens.clone())
        }
        Err(Problem::TokenMissing | Problem::TokenUnknown) if is_for_a_person(&request) => {
            let asked = request.uri().path_and_query();
            let asked = asked.filter(|_| request.method() == Method::GET);
            let asked = asked.map_or("/", PathAndQuery::as_str);
            let asked = utf8_percent_encode(asked, NON_ALPHANUMERIC);
            Redirect::to(&format!("{}?next={asked}", page::SIGN_IN)).into_response()
        }
        Err(problem) => {
            tracing::debug!(
                ?problem,
                path = request.uri().path(),
                "refused an HTTP request"
            );
            guards.refuse(problem, &request)
        }
    }
}

impl Guards {
    pub(super) fn of(config: &Config, shutdown: &Shutdown) -> Self {
        let oauth = config.oauth.clone();
        Self {
            hosts: Hosts::new(config.listen, &config.allowed_hosts),
            tokens: config.tokens.clone(),
            oauth: oauth.map(|settings| OAuth::new(settings, shutdown)),
            read_only: config.read_only,
        }
    }

    /// The checks that need no waiting. Gives what the request shows of its caller.
    fn screen(&self, request: &Request) -> Result<Shown, Problem> {
        self.check_host(request)?;
        self.check_origin(request.headers())?;
        check_site(request)?;
        check_length(request.headers())?;
        let path = request.uri().path();
        if changes_something(request) && is_of_a_browser(request) {
            self.check_own_origin(request.headers())?;
        }
        let asks_for_tokens = self.oauth.is_some() || !self.tokens.is_empty();
        if !asks_for_tokens
            || OPEN_PATHS.contains(&path)
            || path.starts_with(page::assets::FOLDER)
            || path.starts_with(page::WELL_KNOWN)
        {
            return Ok(Shown::Nothing);
        }
        self.shown(request)
    }

    /// Lets a caller in, with their token where one is asked for.
    async fn admit(&self, shown: Shown, needs_trigger: bool) -> Result<Option<Token>, Problem> {
        let token = match (shown, &self.oauth) {
            (Shown::Nothing, _) => return Ok(None),
            (Shown::Token(token), _) => token,
            (Shown::AccessToken(token), Some(oauth)) => oauth.caller(&token).await?,
            (Shown::AccessToken(_), None) => return Err(Problem::TokenUnknown),
        };
        match needs_trigger && !token.may_trigger {
            true => Err(Problem::TokenReadOnly),
            false => Ok(Some(token)),
        }
    }

    /// The answer to a request that is not let in.
    fn refuse(&self, problem: Problem, request: &Request) -> Response {
        let mut response = problem.into_response();
        // An MCP client asks for the scopes named here, and only then is shown the tools that need them.
        let is_of_mcp = NO_COOKIE_PATHS.contains(&request.uri().path());
        let may_trigger = needs_trigger(request) || is_of_mcp && !self.read_only;
        let oauth = self.oauth.as_ref();
        if let Some(challenge) = oauth.and_then(|oauth| oauth.challenge(problem, may_trigger)) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// A page beside ours, such as one on another port of this machine, is not ours.
    fn check_own_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let host = only(headers, &HOST).unwrap_or_default();
        only(headers, &ORIGIN)
            .filter(|origin| self.hosts.is_own_origin(origin, host))
            .map(|_| ())
            .ok_or(Problem::OriginNotOwn)
    }

    /// The name in the request line counts before the header's (RFC 9112, section 3.2.2), so both
    /// are checked.
    fn check_host(&self, request: &Request) -> Result<(), Problem> {
        let line = request.uri().authority();
        let header = only(request.headers(), &HOST).ok_or(Problem::HostNotAllowed)?;
        if self.hosts.allow(header) && line.is_none_or(|name| self.hosts.allow(name.as_str())) {
            Ok(())
        } else {
            Err(Problem::HostNotAllowed)
        }
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if !headers.contains_key(ORIGIN) {
            return Ok(()); // no browser
        }
        only(headers, &ORIGIN)
            .filter(|origin| self.hosts.allow_origin(origin))
            .map(|_| ())
            .ok_or(Problem::OriginNotAllowed)
    }

    /// The token that the request shows, or its cookie stands for.
    fn shown(&self, request: &Request) -> Result<Shown, Problem> {
        let headers = request.headers();
        let tokens = self.tokens.now();
        if let Some(shown) = bearer(headers) {
            return match cookie::find(&tokens, shown.as_bytes()) {
                Some(token) => Ok(Shown::Token(token.clone())),
                None if self.oauth.is_some() && OAuth::is_jwt(shown) => {
                    Ok(Shown::AccessToken(shown.to_owned()))
                }
                None => Err(Problem::TokenUnknown),
            };
        }
        let is_taken = !NO_COOKIE_PATHS.contains(&request.uri().path());
        let mut cookies = headers.get_all(COOKIE).iter().filter(|_| is_taken);
        let now = clock::now();
        // Other programs of the host have cookies of their own, in whatever letters.
        let token = |header: &HeaderValue| {
            let header = String::from_utf8_lossy(header.as_bytes());
            cookie::token(&tokens, &header, now)
        };
        let token = cookies.find_map(token);
        let token = token.cloned().ok_or(Problem::TokenMissing);
        token.map(Shown::Token)
    }
}

/// A browser says so when a page of another site makes it ask. All that such a page may do is to lead here.
fn check_site(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    if only(headers, &SEC_FETCH_SITE) != Some("cross-site") {
        return Ok(());
    }
    let leads_here = request.method() == Method::GET
        && only(headers, &SEC_FETCH_MODE) == Some("navigate")
        && only(headers, &SEC_FETCH_DEST) == Some("document");
    leads_here.then_some(()).ok_or(Problem::OriginNotAllowed)
}

fn check_length(headers: &HeaderMap) -> Result<(), Problem> {
    let announced = only(headers, &CONTENT_LENGTH).and_then(|text| text.parse::<usize>().ok());
    match announced {
        Some(bytes) if bytes > MAX_BODY_BYTES => Err(Problem::BodyTooLarge),
        Some(_) | None => Ok(()),
    }
}

/// Whether a person with a browser asks for a page, or presses a button of one.
fn is_for_a_person(request: &Request) -> bool {
    let path = request.uri().path();
    let is_ours = match *request.method() {
        Method::GET => page::is_page(path),
        Method::POST => page::POSTS.contains(&path),
        _ => false,
    };
    is_ours && page::wants_page(request.headers())
}

/// Whether a browser may have sent it without its user's will: a form of the page, what a page of some site asks
/// for, or a cookie, which goes with whatever is asked. A bearer token is shown on purpose.
fn is_of_a_browser(request: &Request) -> bool {
    let headers = request.headers();
    page::POSTS.contains(&request.uri().path())
        || (bearer(headers).is_none()
            && (headers.contains_key(ORIGIN) || headers.contains_key(COOKIE)))
}

/// Whether a token that only reads is not enough.
fn needs_trigger(request: &Request) -> bool {
    changes_something(request) && !page::HARMLESS_POSTS.contains(&request.uri().path())
}

/// Whether the method alone says so; MCP decides by tool.
fn changes_something(request: &Request) -> bool {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    !reads && !MCP_PATHS.contains(&request.uri().path())
}

/// The token of `Authorization: Bearer <token>`; the scheme's case does not count (RFC 9110).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = only(headers, &AUTHORIZATION)?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// A header's value, if it came exactly once and as text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

mod streams;

#[cfg(test)]
mod tests;
