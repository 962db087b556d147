//! The address of the web pages. A language model tells it to a person who must decide something.

use axum::http::HeaderName;
use axum::http::header::HOST;
use axum::http::request::Parts;
use rmcp::RoleServer;
use rmcp::service::RequestContext;

use crate::config::Config;
use crate::model::RunId;
use crate::url_path;

/// The header in which a TLS proxy names the scheme of the original request.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The address of the web pages of this program, or of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageAddress {
    base: String,
    /// Whether a process is known to serve the pages. True if the caller came over HTTP, because then this process
    /// does.
    is_served: bool,
}

impl PageAddress {
    /// Returns the address of the web pages for this caller. Over HTTP, it has the host of the request; over stdio, it
    /// is the address on which `meter-sync serve` would listen.
    pub(super) fn of(context: &RequestContext<RoleServer>, config: &Config) -> Self {
        let parts = context.extensions.get::<Parts>();
        let header = |name| parts?.headers.get(name)?.to_str().ok();
        // The guards have already refused requests for unknown host names.
        let Some(host) = header(&HOST) else {
            return Self::configured(config);
        };
        let scheme = header(&FORWARDED_PROTO).filter(|proto| *proto == "https");
        Self {
            base: format!("{}://{host}", scheme.unwrap_or("http")),
            is_served: true,
        }
    }

    /// Returns the address of the web pages of a `meter-sync serve` with these settings.
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

    /// Returns the address of a tenant's web pages. `None` means that the process keeps one mirror, whose pages have no
    /// tenant in their path.
    pub(super) fn of_tenant(&self, tenant: Option<&str>) -> Self {
        let part = tenant.map_or_else(String::new, url_path::of_tenant);
        Self {
            base: format!("{}{part}", self.base),
            is_served: self.is_served,
        }
    }

    /// Returns a sentence for a language model. It says that a person decides about this refused run, and on which web
    /// page.
    pub(super) fn decision_sentence(&self, run: RunId) -> String {
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
    use crate::config::{CommandLineSettings, Environment, Setting};

    #[test]
    fn without_http_the_page_is_where_serve_would_listen() {
        for (listen, base) in [
            ("127.0.0.1:8765", "http://127.0.0.1:8765"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://127.0.0.1:80"),
            ("[::1]:80", "http://[::1]:80"),
        ] {
            let settings = CommandLineSettings::default()
                .with(Setting::Listen, listen)
                .with(Setting::Tokens, "trigger:0123456789abcdef");
            let config = Config::load_from(&settings, &Environment::default()).expect(listen);
            let page = PageAddress::configured(&config);
            assert_eq!(page.base, base, "{listen}");
            assert_eq!(page.of_tenant(None), page, "{listen}");
            let of_one = page.of_tenant(Some("a/b")).base;
            assert_eq!(of_one, format!("{base}/tenants/a%2Fb"), "{listen}");
            let dots = page.of_tenant(Some("..")).base;
            assert_eq!(
                dots,
                format!("{base}/tenants/..%20"),
                "browsers leave it as it is"
            );
        }
    }
}
