//! Where a person finds the page, as told to a model that has to send one there.

use axum::http::HeaderName;
use axum::http::header::HOST;
use axum::http::request::Parts;
use rmcp::RoleServer;
use rmcp::service::RequestContext;

use crate::config::Config;
use crate::meter::RunId;

/// What a proxy that speaks TLS says of the address it was asked under.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The address of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    base: String,
    /// Whether it is certain that the page is there: the caller came by way of it.
    is_served: bool,
}

impl Page {
    /// The page as this caller can reach it: where it asked us by HTTP, there; else where `meter-sync serve` would listen.
    pub(super) fn of(context: &RequestContext<RoleServer>, config: &Config) -> Self {
        let parts = context.extensions.get::<Parts>();
        let header = |name| parts?.headers.get(name)?.to_str().ok();
        // The guards let in known names only.
        let Some(host) = header(&HOST) else {
            return Self::configured(config);
        };
        let scheme = header(&FORWARDED_PROTO).filter(|proto| *proto == "https");
        Self {
            base: format!("{}://{host}", scheme.unwrap_or("http")),
            is_served: true,
        }
    }

    /// The page where `meter-sync serve` listens with these settings.
    pub(super) fn configured(config: &Config) -> Self {
        let mut address = config.listen;
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        Self {
            base: format!("http://{address}"),
            is_served: false,
        }
    }

    /// Who decides about a run that the brake refused, and where.
    pub(super) fn decides(&self, run: RunId) -> String {
        let place = match self.is_served {
            true => "",
            false => " (where `meter-sync serve` runs)",
        };
        format!("A person decides, at {}/runs/{run}{place}.", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Setting, Settings};

    #[test]
    fn without_http_the_page_is_where_serve_would_listen() {
        for (listen, base) in [
            ("127.0.0.1:8765", "http://127.0.0.1:8765"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://127.0.0.1:80"),
            ("[::1]:80", "http://[::1]:80"),
        ] {
            let settings = Settings::default()
                .with(Setting::Listen, listen)
                .with(Setting::Tokens, "trigger:0123456789abcdef");
            let config = Config::load_from(&settings, &Environment::default()).expect(listen);
            assert_eq!(Page::configured(&config).base, base, "{listen}");
        }
    }
}
