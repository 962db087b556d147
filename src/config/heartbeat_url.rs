//! The setting `heartbeat_url`: the URL that is called when a sync begins and ends.

use std::fmt;

use hyper::Uri;

use super::error::ConfigError;
use super::http_url;
use super::setting_definitions::Setting;
use super::setting_layers::{FoundSetting, SettingLayers};

/// A URL that is called when a sync begins and ends. Whoever knows its path can call it, too, so `Debug` output leaves the
/// path out.
#[derive(Clone, PartialEq, Eq)]
pub struct HeartbeatUrl(Uri);

impl HeartbeatUrl {
    /// Parses a URL that begins with http or https. Unlike a URL from which keys are read, it may be one of any host
    /// without TLS, because monitoring servers are often inside the site's own network.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = http_url::parse(text)?;
        match url.scheme_str() {
            Some("https" | "http") => Ok(Self(url)),
            _ => Err("does not begin with https:// or http://".to_owned()),
        }
    }

    /// Returns the URL to call after a success.
    pub fn success(&self) -> Uri {
        self.0.clone()
    }

    /// Returns the URL with `part` added to its path, such as `start`.
    pub fn with(&self, part: &str) -> Uri {
        let path = self.0.path().trim_end_matches('/');
        let query = self
            .0
            .query()
            .map_or_else(String::new, |query| format!("?{query}"));
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = format!("{path}/{part}{query}").parse().ok();
        Uri::from_parts(parts).unwrap_or_else(|_odd| self.0.clone())
    }

    fn shown(&self) -> String {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self
            .0
            .authority()
            .map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}/…")
    }
}

impl fmt::Debug for HeartbeatUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Reads the setting; `None` if it is not set.
pub(super) fn read(layers: &SettingLayers) -> Result<Option<HeartbeatUrl>, ConfigError> {
    let found = layers.find_secret(Setting::HeartbeatUrl, Setting::HeartbeatUrlFile)?;
    let url = found.map(|found| found.checked(HeartbeatUrl::parse(&found.text())));
    url.transpose()
}

/// Returns the URL without its path, which may be a secret.
pub(super) fn without_path(found: &FoundSetting) -> String {
    let url = HeartbeatUrl::parse(&found.text());
    url.map_or_else(|_unread| String::new(), |url| url.shown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_added_to_the_path() {
        for (url, start) in [
            ("https://hc-ping.com/0a1b", "https://hc-ping.com/0a1b/start"),
            (
                "http://10.0.0.7:8000/ping/x/",
                "http://10.0.0.7:8000/ping/x/start",
            ),
            (
                "https://kuma.example/push/x?msg=OK",
                "https://kuma.example/push/x/start?msg=OK",
            ),
            ("https://example.com", "https://example.com/start"),
        ] {
            let url = HeartbeatUrl::parse(url).expect("a URL");
            assert_eq!(url.with("start").to_string(), start);
        }
    }

    #[test]
    fn its_path_is_shown_nowhere() {
        let url = HeartbeatUrl::parse("https://hc-ping.com/0a1b?k=s").expect("a URL");
        assert_eq!(format!("{url:?}"), "https://hc-ping.com/…");
    }

    #[test]
    fn another_scheme_or_text_is_refused() {
        for text in [
            "ftp://example.com/x",
            "hc-ping.com/x",
            "https://a b",
            "https://u:p@example.com/x",
        ] {
            let refused = HeartbeatUrl::parse(text).expect_err(text);
            assert!(!refused.contains("example"), "{refused}");
        }
    }
}
