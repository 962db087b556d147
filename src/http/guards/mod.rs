//! Checks every request before its handler is called: the headers `Host`, `Origin`, `Sec-Fetch-Site` and
//! `Content-Length`, and the bearer token or session cookie.
//!
//! A page of another site can make a browser send a request together with this server's cookie (CSRF). So a request
//! that changes something must have the `Origin` of this server in two cases: if its path accepts an HTML form, and if
//! it has a cookie or an `Origin` but no bearer token.
//!
//! The caller's [`Token`] is added to the request's extensions. The MCP handlers check it again, because MCP requests
//! that read and MCP requests that start a sync have the same path and method.

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

use super::host_allowlist::HostAllowlist;
use super::oauth::OAuthVerifier;
use super::problem_details::ProblemDetails;
use super::request_error::RequestError;
use super::{health_checks, session_cookie};
use crate::config::{Token, Tokens};
use crate::machine_clock;
use crate::mirrors::Mirrors;
use crate::shutdown::Shutdown;
use crate::trace_id::{self, TraceId};
use page_paths::PagePaths;

pub(crate) mod page_paths;

/// The longest request body in bytes. Requests to this server need less than a thousandth of it.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The paths of MCP that take a POST. Whether such a POST changes something depends on the tool that it calls.
const MCP_PATHS: [&str; 2] = ["/mcp", "/messages"];
/// The paths of the health checks. They need no token, because orchestrators have none.
const OPEN_PATHS: [&str; 2] = [health_checks::LIVE_PATH, health_checks::READY_PATH];
/// The folder of well-known paths (RFC 8615). Requests below it need no token, because MCP clients read the OAuth
/// metadata there before they have one.
pub(crate) const WELL_KNOWN: &str = "/.well-known/";
/// The path prefixes of the REST routes. Their handlers answer only about the tenants for which the token is valid. The
/// handlers of MCP and of the web pages do the same; their paths are in [`NO_COOKIE_PATHS`] and [`PagePaths`].
const SCOPED_FOLDERS: [&str; 2] = ["/api/v1/", "/api/local/"];
/// The paths of MCP. Cookies are ignored there, so that a web page cannot call MCP with the cookie of the browser's
/// user.
const NO_COOKIE_PATHS: [&str; 3] = ["/mcp", "/messages", "/sse"];

/// The header in which a browser says whether another site caused the request
/// (<https://www.w3.org/TR/fetch-metadata/>).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The header in which a browser says how the request is made. `navigate` is for opening a page.
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// The header in which a browser says what the response is for. `document` is for a whole page.
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// What requests are checked against: the allowed hosts, the valid tokens and the paths of the web pages.
#[derive(Debug)]
pub(super) struct RequestGuards {
    mirrors: Mirrors,
    pages: PagePaths,
    hosts: HostAllowlist,
    tokens: Tokens,
    oauth: Option<OAuthVerifier>,
    read_only: bool,
}

/// What a request shows to prove who sent it.
enum Credentials {
    /// No credentials: the path needs none, or no tokens are configured.
    Nothing,
    /// A configured token: sent as a bearer token, or the one for which the session cookie was made.
    Token(Token),
    /// A bearer token that has the form of an access token (OAuth). It is not verified yet.
    AccessToken(String),
}

/// Returns the routes with the checks of this module before each handler. Routes that are added to the result later are
/// not checked.
pub(super) fn guard(routes: Router, guards: RequestGuards) -> Router {
    routes
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::new(guards), check))
        .layer(middleware::from_fn(in_its_trace))
}

async fn in_its_trace(request: Request, next: Next) -> Response {
    let span = trace_id::span(TraceId::of_headers(request.headers()));
    next.run(request).instrument(span).await
}

async fn check(
    State(guards): State<Arc<RequestGuards>>,
    mut request: Request,
    next: Next,
) -> Response {
    let needs_trigger = guards.needs_trigger(&request);
    let admitted = match guards.screen(&request) {
        Ok(credentials) => guards.admit(credentials, needs_trigger).await,
        Err(problem) => Err(problem),
    };
    match admitted {
        Ok(None) => next.run(request).await,
        Ok(Some(token)) => {
            if let Err(problem) = guards.check_tenants(request.uri().path(), &token).await {
                return problem.into_response();
            }
            let method = request.method().clone();
            request.extensions_mut().insert(token.clone());
            let response = next.run(request).await;
            end_streams_with_token::end_with_token(&method, response, token, guards.tokens.clone())
        }
        Err(RequestError::TokenMissing | RequestError::TokenUnknown)
            if guards.is_for_a_person(&request) =>
        {
            let asked = request.uri().path_and_query();
            let asked = asked.filter(|_| request.method() == Method::GET);
            let asked = asked.map_or("/", PathAndQuery::as_str);
            let asked = utf8_percent_encode(asked, NON_ALPHANUMERIC);
            Redirect::to(&format!("{}?next={asked}", guards.pages.sign_in)).into_response()
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

impl RequestGuards {
    pub(super) fn of(mirrors: Mirrors, pages: PagePaths, shutdown: &Shutdown) -> Self {
        let config = mirrors.config();
        let oauth = config.oauth.clone();
        Self {
            pages,
            hosts: HostAllowlist::new(config.listen, &config.allowed_hosts),
            tokens: config.tokens.clone(),
            oauth: oauth.map(|settings| OAuthVerifier::new(settings, shutdown)),
            read_only: config.read_only,
            mirrors,
        }
    }

    /// Checks that a token that is limited to some tenants may be used for this path. Signing out is always allowed.
    ///
    /// - If the process keeps one mirror (the meters of one tenant), the token must be valid for that tenant.
    /// - If it keeps several, the path must be of a route that answers only about the tenants of the token.
    async fn check_tenants(&self, path: &str, token: &Token) -> Result<(), ProblemDetails> {
        if token.tenants.is_none() || path == self.pages.sign_out {
            return Ok(());
        }
        if self.mirrors.only().is_some() {
            self.mirrors.find_for(None, Some(token)).await?;
            return Ok(());
        }
        let is_limited = SCOPED_FOLDERS.iter().any(|folder| path.starts_with(folder))
            || NO_COOKIE_PATHS.contains(&path)
            || self.pages.has(path);
        match is_limited {
            true => Ok(()),
            false => Err(RequestError::TokenLimited.details()),
        }
    }

    /// Makes all checks that need no network access (host, origin, site, length and configured tokens), and returns the
    /// credentials of the request. An access token is not verified yet.
    fn screen(&self, request: &Request) -> Result<Credentials, RequestError> {
        self.check_host(request)?;
        self.check_origin(request.headers())?;
        check_site(request)?;
        check_length(request.headers())?;
        let path = request.uri().path();
        if changes_something(request) && self.is_of_a_browser(request) {
            self.check_own_origin(request.headers())?;
        }
        let requires_token = self.oauth.is_some() || !self.tokens.is_empty();
        if !requires_token
            || OPEN_PATHS.contains(&path)
            || path == self.pages.sign_in
            || path.starts_with(self.pages.assets)
            || path.starts_with(WELL_KNOWN)
        {
            return Ok(Credentials::Nothing);
        }
        self.credentials_of(request)
    }

    /// Verifies the credentials and returns the caller's token; `None` if no credentials are needed. Fails with
    /// `TokenReadOnly` if `needs_trigger` is set and the token allows only reading.
    async fn admit(
        &self,
        credentials: Credentials,
        needs_trigger: bool,
    ) -> Result<Option<Token>, RequestError> {
        let token = match (credentials, &self.oauth) {
            (Credentials::Nothing, _) => return Ok(None),
            (Credentials::Token(token), _) => token,
            (Credentials::AccessToken(token), Some(oauth)) => oauth.caller(&token).await?,
            (Credentials::AccessToken(_), None) => return Err(RequestError::TokenUnknown),
        };
        match needs_trigger && !token.may_trigger {
            true => Err(RequestError::TokenReadOnly),
            false => Ok(Some(token)),
        }
    }

    /// Returns the response to a request that failed a check. If OAuth is configured and the error is about the token,
    /// its `WWW-Authenticate` header tells the client how to get an access token.
    fn refuse(&self, problem: RequestError, request: &Request) -> Response {
        let mut response = problem.into_response();
        // An MCP client requests the scopes that this header names. It sees the tool that starts a sync only if its
        // token has the scope for triggering.
        let is_of_mcp = NO_COOKIE_PATHS.contains(&request.uri().path());
        let may_trigger = self.needs_trigger(request) || is_of_mcp && !self.read_only;
        let oauth = self.oauth.as_ref();
        if let Some(challenge) = oauth.and_then(|oauth| oauth.challenge(problem, may_trigger)) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    fn is_for_a_person(&self, request: &Request) -> bool {
        let (path, headers) = (request.uri().path(), request.headers());
        self.pages.is_for_a_person(request.method(), path, headers)
    }

    /// Whether a page may have made a browser send the request without its user's intent (CSRF). `true` for a path that
    /// accepts an HTML form, and for a request with `Origin` or a cookie but no bearer token: a browser never adds a
    /// bearer token by itself.
    fn is_of_a_browser(&self, request: &Request) -> bool {
        let headers = request.headers();
        (self.pages.is_form)(request.uri().path())
            || (bearer(headers).is_none()
                && (headers.contains_key(ORIGIN) || headers.contains_key(COOKIE)))
    }

    /// Whether the request needs a token that allows starting syncs. `false` for requests that change nothing, and for
    /// forms that change no stored data.
    fn needs_trigger(&self, request: &Request) -> bool {
        changes_something(request) && !(self.pages.is_read_only_form)(request.uri().path())
    }

    /// Checks that the request comes from a page of this server. A page on another port of this machine is refused.
    fn check_own_origin(&self, headers: &HeaderMap) -> Result<(), RequestError> {
        let host = only(headers, &HOST).unwrap_or_default();
        only(headers, &ORIGIN)
            .filter(|origin| self.hosts.is_own_origin(origin, host))
            .map(|_| ())
            .ok_or(RequestError::OriginNotOwn)
    }

    /// Checks the host name in the `Host` header and in the request line, which takes precedence over the header (RFC
    /// 9112, section 3.2.2).
    fn check_host(&self, request: &Request) -> Result<(), RequestError> {
        let line = request.uri().authority();
        let header = only(request.headers(), &HOST).ok_or(RequestError::HostNotAllowed)?;
        if self.hosts.allow(header) && line.is_none_or(|name| self.hosts.allow(name.as_str())) {
            Ok(())
        } else {
            Err(RequestError::HostNotAllowed)
        }
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), RequestError> {
        if !headers.contains_key(ORIGIN) {
            return Ok(()); // no browser, or a plain GET, which `check_site` covers
        }
        only(headers, &ORIGIN)
            .filter(|origin| self.hosts.allow_origin(origin))
            .map(|_| ())
            .ok_or(RequestError::OriginNotAllowed)
    }

    /// Returns the credentials of the request: its bearer token, or else the token that its cookie was made for. An
    /// unknown bearer token is an error, even if there is a cookie.
    fn credentials_of(&self, request: &Request) -> Result<Credentials, RequestError> {
        let headers = request.headers();
        let tokens = self.tokens.now();
        if let Some(text) = bearer(headers) {
            return match session_cookie::find(&tokens, text.as_bytes()) {
                Some(token) => Ok(Credentials::Token(token.clone())),
                None if self.oauth.is_some() && OAuthVerifier::is_jwt(text) => {
                    Ok(Credentials::AccessToken(text.to_owned()))
                }
                None => Err(RequestError::TokenUnknown),
            };
        }
        let is_taken = !NO_COOKIE_PATHS.contains(&request.uri().path());
        let mut cookies = headers.get_all(COOKIE).iter().filter(|_| is_taken);
        let now = machine_clock::now();
        // Other programs on this host may set cookies that are not ASCII.
        let token = |header: &HeaderValue| {
            let header = String::from_utf8_lossy(header.as_bytes());
            session_cookie::token(&tokens, &header, now)
        };
        let token = cookies.find_map(token);
        let token = token.cloned().ok_or(RequestError::TokenMissing);
        token.map(Credentials::Token)
    }
}

/// Refuses a request that was caused by a page of another site, as `Sec-Fetch-Site` says. Allows a GET that opens a
/// document, so that other sites can link to this server.
fn check_site(request: &Request) -> Result<(), RequestError> {
    let headers = request.headers();
    if only(headers, &SEC_FETCH_SITE) != Some("cross-site") {
        return Ok(());
    }
    let leads_here = request.method() == Method::GET
        && only(headers, &SEC_FETCH_MODE) == Some("navigate")
        && only(headers, &SEC_FETCH_DEST) == Some("document");
    leads_here
        .then_some(())
        .ok_or(RequestError::OriginNotAllowed)
}

fn check_length(headers: &HeaderMap) -> Result<(), RequestError> {
    let announced = only(headers, &CONTENT_LENGTH).and_then(|text| text.parse::<usize>().ok());
    match announced {
        Some(bytes) if bytes > MAX_BODY_BYTES => Err(RequestError::BodyTooLarge),
        Some(_) | None => Ok(()),
    }
}

/// Whether the request changes something: its method is not GET, HEAD or OPTIONS. `false` for a POST to MCP, where it
/// depends on the called tool.
fn changes_something(request: &Request) -> bool {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    !reads && !MCP_PATHS.contains(&request.uri().path())
}

/// Returns the token of `Authorization: Bearer <token>`; `None` without such a header. The case of `Bearer` does not
/// matter (RFC 9110).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = only(headers, &AUTHORIZATION)?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// A header's value; `None` if the header is missing, repeated, or not visible ASCII.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

mod end_streams_with_token;

#[cfg(test)]
mod tests;
