//! The host names that this server answers to.
//!
//! This prevents DNS rebinding. An attacker's page can make its own host name resolve to this machine, but the browser
//! still sends that name in `Host`. The server answers only to known names, even on loopback.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::uri::Authority;

/// The hosts that are allowed in `Host` and `Origin` headers.
#[derive(Clone, Debug)]
pub(super) struct HostAllowlist {
    listen: SocketAddr,
    named: Vec<HostAndPort>,
}

/// A host name or IP address, with its port if one was given. A configured host without a port allows all ports.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostAndPort {
    host: String,
    port: Option<u16>,
}

impl HostAllowlist {
    pub(super) fn new(listen: SocketAddr, allowed: &[String]) -> Self {
        Self {
            listen,
            named: allowed.iter().filter_map(|text| named(text)).collect(),
        }
    }

    /// Whether the host in a `Host` header is allowed.
    pub(super) fn allow(&self, host: &str) -> bool {
        named(host).is_some_and(|asked| self.allow_named(&asked))
    }

    /// Whether the host in an `Origin` header is allowed. All ports of this machine are allowed, so pages of its other
    /// programs are accepted, too. A configured host is allowed on all ports, or only on the configured port.
    pub(super) fn allow_origin(&self, origin: &str) -> bool {
        origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .is_some_and(|host| self.allow(host))
    }

    /// Whether an `Origin` header names this server: its host and port are those of the `Host` header, or its host is a
    /// configured one, because a proxy may have changed `Host`. Unlike [`Self::allow_origin`], this method does not
    /// accept other ports of this machine.
    pub(super) fn is_own_origin(&self, origin: &str, host: &str) -> bool {
        let named_origin = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .and_then(named);
        let is_listed = |origin: &HostAndPort| {
            let mut listed = self.named.iter();
            listed.any(|known| {
                known.host == origin.host && (known.port.is_none() || known.port == origin.port)
            })
        };
        named_origin
            .is_some_and(|origin| named(host).as_ref() == Some(&origin) || is_listed(&origin))
    }

    fn allow_named(&self, asked: &HostAndPort) -> bool {
        let is_ours = match asked.host.parse::<IpAddr>() {
            Ok(address) => self.allow_address(address),
            Err(_not_an_address) => asked.host == "localhost",
        };
        is_ours
            || self.named.iter().any(|known| {
                known.host == asked.host && (known.port.is_none() || known.port == asked.port)
            })
    }

    /// Whether an IP address is allowed: a loopback address, or the one on which the server listens. A server that
    /// listens on all interfaces allows every address, because DNS rebinding needs a host name.
    fn allow_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback()
            || address == self.listen.ip().to_canonical()
            || self.listen.ip().is_unspecified()
    }
}

/// Parses `host`, `host:port`, `[v6]` or `[v6]:port`. Returns `None` for anything else, such as a user name or a path.
fn named(text: &str) -> Option<HostAndPort> {
    let authority = Authority::from_str(text).ok()?;
    let port = match text.strip_prefix(authority.host())? {
        "" => None,
        rest => Some(rest.strip_prefix(':')?.parse().ok()?),
    };
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    (!host.is_empty()).then_some(HostAndPort { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listen: &str, allowed: &[&str]) -> HostAllowlist {
        let allowed: Vec<String> = allowed.iter().map(|&host| host.to_owned()).collect();
        HostAllowlist::new(listen.parse().expect("an address"), &allowed)
    }

    #[test]
    fn loopback_is_answered_under_every_spelling_and_port() {
        let hosts = hosts("127.0.0.1:8765", &[]);
        for host in [
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "127.0.0.1:8765",
            "127.9.9.9",
            "[::1]:8765",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn a_page_on_another_port_is_not_our_own() {
        let hosts = hosts(
            "127.0.0.1:8765",
            &["meters.example.org", "proxy.example.org:8443"],
        );
        for (origin, host, is_own) in [
            ("http://localhost:8765", "localhost:8765", true),
            ("http://LOCALHOST:8765", "localhost:8765", true),
            ("https://meters.example.org", "127.0.0.1:8765", true),
            (
                "https://proxy.example.org:8443",
                "proxy.example.org:8443",
                true,
            ),
            ("http://localhost:3000", "localhost:8765", false),
            ("http://127.0.0.1:8765", "localhost:8765", false),
            ("https://proxy.example.org:1", "127.0.0.1:8765", false),
            ("null", "localhost:8765", false),
            (
                "http://localhost:8765.evil.example",
                "localhost:8765",
                false,
            ),
        ] {
            assert_eq!(
                hosts.is_own_origin(origin, host),
                is_own,
                "{origin} at {host}"
            );
        }
    }

    #[test]
    fn any_other_name_is_refused() {
        let hosts = hosts("127.0.0.1:8765", &["meters.example.org"]);
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "user@localhost",
            "localhost@evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "localhost/x",
            "x.meters.example.org",
            "meters.example.org.evil.example",
            "[::1",
            "localhost:port",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn the_address_listened_on_is_answered() {
        assert!(hosts("10.1.2.3:80", &[]).allow("10.1.2.3"));
        assert!(!hosts("10.1.2.3:80", &[]).allow("10.1.2.4"));
        assert!(hosts("0.0.0.0:80", &[]).allow("10.1.2.4"));
        assert!(!hosts("0.0.0.0:80", &[]).allow("evil.example"));
    }

    #[test]
    fn a_named_host_with_a_port_is_answered_on_that_port_only() {
        let hosts = hosts("127.0.0.1:80", &["a.example:8443", "b.example"]);
        assert!(hosts.allow("a.example:8443"));
        assert!(!hosts.allow("a.example"));
        assert!(hosts.allow("b.example"));
        assert!(hosts.allow("b.example:1234"));
    }

    #[test]
    fn an_origin_is_a_web_page_of_an_allowed_host() {
        let hosts = hosts("127.0.0.1:80", &["a.example"]);
        for origin in [
            "http://localhost:6274",
            "https://a.example",
            "http://[::1]:3000",
        ] {
            assert!(hosts.allow_origin(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "file://",
            "http://evil.example",
            "ftp://localhost",
            "chrome-extension://localhost",
            "http://localhost@evil.example",
            "localhost",
        ] {
            assert!(!hosts.allow_origin(origin), "{origin}");
        }
    }
}
