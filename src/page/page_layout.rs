//! The HTML around the content of each page: head, header and footer. This module also has the page that shows an
//! error.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::format_values::{self, prose};
use super::mirror_page_paths::MirrorBasePath;
use super::viewer_rights::ViewerRights;
use crate::arguments::read_body_bytes::ReadBodyError;
use crate::badges::icons::{Icon, sprite};
use crate::error::{ErrorCode, Failure};
use crate::machine_clock;

/// The values in the HTML around a page's content, which differ from page to page.
pub(super) struct PageLayout<'a> {
    /// The base path of the tenant that the page is about; [`MirrorBasePath::root`] if it is not about one of several
    /// tenants.
    pub(super) base: MirrorBasePath,
    /// The title of the document. The name of this program is appended to it.
    pub(super) title: String,
    pub(super) icon: Icon,
    pub(super) tone: &'a str,
    /// The names of the organisation and the site, for the header. `None` on the sign-in form, on error pages, and if
    /// the status cannot be read.
    pub(super) place: Option<Markup>,
    pub(super) viewer: Option<ViewerRights>,
    /// After how many seconds a browser without scripts reloads the page; `None` means never.
    pub(super) refresh_seconds: Option<u32>,
}

impl PageLayout<'_> {
    /// Returns the layout of a page of a mirror that lists something and does not tell its health.
    pub(super) fn of_list(
        base: &MirrorBasePath,
        title: &str,
        place: Markup,
        viewer: ViewerRights,
    ) -> Self {
        Self {
            base: base.clone(),
            title: title.to_owned(),
            icon: Icon::List,
            tone: "calm",
            place: Some(place),
            viewer: Some(viewer),
            refresh_seconds: None,
        }
    }

    /// Renders the whole document, with `main` as its content.
    pub(super) fn around(&self, main: &Markup) -> Markup {
        let now = machine_clock::now();
        html! {
            (DOCTYPE)
            html lang="en" {
                (self.head())
                body data-events=(self.base.api("/events")) {
                    (sprite())
                    a.skip href="#main" { "Skip to the content" }
                    (self.header())
                    main #main tabindex="-1" { (main) }
                    (footer(now))
                    p #announce .unseen role="status" {}
                }
            }
        }
    }

    fn head(&self) -> Markup {
        html! {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (self.title) " – meter-sync" }
                link #favicon rel="icon" type="image/svg+xml" href=(assets::favicon(self.icon, self.tone));
                link rel="stylesheet" href=(assets::style());
                script type="module" src=(assets::script()) {}
                @if let Some(seconds) = self.refresh_seconds {
                    noscript { meta http-equiv="refresh" content=(seconds); }
                }
            }
        }
    }

    fn header(&self) -> Markup {
        html! {
            header.top {
                a.brand href="/" { "meter-sync" }
                @if self.base.is_of_tenant() { a href="/" { "All tenants" } }
                @if let Some(place) = &self.place { p #place data-live { (place) } }
                @if self.viewer.is_some_and(|viewer| viewer.is_signed_in) {
                    form method="post" action="/sign-out" { button.plain { "Sign out" } }
                }
            }
        }
    }
}

fn footer(now: DateTime<Utc>) -> Markup {
    html! {
        footer {
            p #fresh {
                "As of " (format_values::time(now)) ", "
                span #freshness { "as it was when this page was loaded" }
                "."
            }
            p { "meter-sync " (env!("CARGO_PKG_VERSION")) " · " a href="/api/v1/openapi.json" { "REST API" }
                " · " a href="/metrics" { "Metrics" } }
        }
    }
}

/// An error that the browser shows as an HTML page.
pub(super) struct ErrorPage {
    status: StatusCode,
    failure: Failure,
    /// The base path of the status page to which the error page links.
    base: MirrorBasePath,
}

impl From<Failure> for ErrorPage {
    fn from(failure: Failure) -> Self {
        let status = match failure.code == ErrorCode::Paused {
            true => StatusCode::CONFLICT,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self {
            status,
            failure,
            base: MirrorBasePath::root(),
        }
    }
}

impl ErrorPage {
    /// Returns a 404 page with this message, for a page whose subject does not exist.
    pub(super) fn not_found(message: &str) -> Self {
        let failure =
            Failure::new(ErrorCode::ConfigInvalid, message).with_remedy("Go back to the status.");
        Self {
            status: StatusCode::NOT_FOUND,
            ..failure.into()
        }
    }

    /// Returns the same page with a link to the status page at this base path.
    pub(super) fn of_mirror(self, base: &MirrorBasePath) -> Self {
        Self {
            base: base.clone(),
            ..self
        }
    }

    /// Returns the same page with this text about what to do.
    pub(super) fn with_remedy(self, remedy: &str) -> Self {
        Self {
            failure: self.failure.with_remedy(remedy),
            ..self
        }
    }

    /// Returns a page with this status, for a URL that is unknown, does not take the request's method, or cannot be
    /// used with the data that was sent.
    pub(super) fn bad_request(status: StatusCode) -> Self {
        let message = "This address, or what was sent to it, is none of this page's.";
        let failure =
            Failure::new(ErrorCode::ConfigInvalid, message).with_remedy("Go back to the status.");
        Self {
            status,
            ..failure.into()
        }
    }

    /// Returns a page that says that the submitted form could not be read completely, and why.
    pub(super) fn unreadable_body(fault: ReadBodyError) -> Self {
        let failure = Failure::new(ErrorCode::ConfigInvalid, fault.detail())
            .with_remedy("Go back to the status, and try again.");
        Self {
            status: fault.status(),
            ..failure.into()
        }
    }

    /// Returns a 403 page, for a request that the viewer may not make. `failure` gives the reason.
    pub(super) fn forbidden(failure: Failure) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            ..failure.into()
        }
    }
}

impl IntoResponse for ErrorPage {
    fn into_response(self) -> Response {
        let Self {
            status,
            failure,
            base,
        } = self;
        let layout = PageLayout {
            base: base.clone(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            icon: Icon::Cross,
            tone: "bad",
            place: None,
            viewer: None,
            refresh_seconds: None,
        };
        let body = html! {
            section.box.bad {
                h1 { (Icon::Cross.markup()) " " (prose(&failure.message)) }
                p { (prose(&failure.remedy)) }
                @if failure.code != ErrorCode::ConfigInvalid { p.soft { code { (failure.code.as_str()) } } }
            }
            p { a href=(base.page("/")) { "Back to the status" } }
        };
        (status, layout.around(&body)).into_response()
    }
}
