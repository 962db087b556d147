//! The paths of the web pages, grouped by how the request checks in `guards` treat them.

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Method};

/// The paths of the web pages, grouped by how the request checks treat them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagePaths {
    /// The path of the sign-in form, which needs no token. A browser that requests a page without a valid token is
    /// redirected to this path.
    pub(crate) sign_in: &'static str,
    /// The path of the sign-out form. Any valid token allows it, even a read-only one.
    pub(crate) sign_out: &'static str,
    /// The path prefix of the style sheet, script and icons, which need no token.
    pub(crate) assets: &'static str,
    /// Returns whether a GET of this path shows a page. A browser without a valid token is redirected to the sign-in
    /// form.
    pub(crate) is_page: fn(&str) -> bool,
    /// Returns whether a POST of an HTML form to this path is handled. It is accepted only from a page of this server.
    pub(crate) is_form: fn(&str) -> bool,
    /// Returns whether this path accepts a form that changes no stored data, such as the sign-out form. A read-only
    /// token is enough for such a form.
    pub(crate) is_read_only_form: fn(&str) -> bool,
}

impl PagePaths {
    /// Whether the path shows a web page or accepts a form.
    pub(super) fn has(&self, path: &str) -> bool {
        (self.is_page)(path) || (self.is_form)(path)
    }

    /// Whether a browser requests a page or sends a form. Without a valid token, such a request is redirected to the
    /// sign-in form; other requests get an error.
    pub(super) fn is_for_a_person(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool {
        let is_ours = match *method {
            Method::GET => (self.is_page)(path),
            Method::POST => (self.is_form)(path),
            _ => false,
        };
        is_ours && wants_page(headers)
    }
}

/// Whether the `Accept` header asks for HTML, as a browser does when it opens a page.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
