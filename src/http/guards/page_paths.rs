//! Tells the guards how to treat the routes of the page.

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Method};

/// The page's routes, by how the guards treat them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagePaths {
    /// The path of the sign-in form. A browser without a valid token is redirected there. It needs no token.
    pub(crate) sign_in: &'static str,
    /// The path of the sign-out form. Any valid token is enough for it.
    pub(crate) sign_out: &'static str,
    /// The folder of the style sheet, script and icons. Requests below it need no token.
    pub(crate) assets: &'static str,
    /// Returns whether a GET of this path shows a page. A browser without a valid token is redirected to the sign-in
    /// form.
    pub(crate) is_page: fn(&str) -> bool,
    /// Returns whether this path takes a form. Forms may be sent only from a page of this server.
    pub(crate) is_form: fn(&str) -> bool,
    /// Returns whether this path takes a form that changes only what the viewer sees. A read-only token is enough for
    /// such a form.
    pub(crate) is_harmless_form: fn(&str) -> bool,
}

impl PagePaths {
    /// Whether the path is that of a page or of a form.
    pub(super) fn has(&self, path: &str) -> bool {
        (self.is_page)(path) || (self.is_form)(path)
    }

    /// Whether a browser requests a page or sends a form. Without a valid token, it is redirected to the sign-in form
    /// instead of being answered with an error.
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
