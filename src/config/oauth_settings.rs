//! The OAuth 2.1 settings: the authorization server whose access tokens are accepted, and the name by which these
//! tokens must address this server.

use std::net::IpAddr;
use std::path::PathBuf;

use hyper::Uri;

use super::error::ConfigError;
use super::http_url;
use super::setting_definitions::Setting;
use super::setting_layers::{FoundSetting, SettingLayers};

const TOGETHER: &str = "Set METER_SYNC_OAUTH_ISSUER (such as https://login.example.com), METER_SYNC_OAUTH_AUDIENCE (such as https://meters.example.com/mcp) and METER_SYNC_OAUTH_JWKS (such as https://login.example.com/jwks.json, or a file) together, or none of them.";

/// Which OAuth access tokens are accepted over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthSettings {
    /// The issuer identifier of the authorization server (RFC 8414, section 2). The `iss` of each access token must
    /// equal it exactly.
    pub issuer: String,
    /// The resource identifier of this server (RFC 8707, section 2; RFC 9728, section 1.2). Each access token must have
    /// it as an `aud`.
    pub audience: String,
    /// Where the public keys of the authorization server are read from.
    pub jwks: JwksSource,
}

/// Where a JSON Web Key Set (RFC 7517, section 5) is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// A file, which is read again when it changes.
    File(PathBuf),
    /// A URL that begins with https, or with http if the host is this machine.
    Url(Uri),
}

/// Reads the settings `oauth_issuer`, `oauth_audience` and `oauth_jwks`; `None` if none of them is set. Error: only
/// some of them are set, or one cannot be used.
pub(super) fn read(layers: &SettingLayers) -> Result<Option<OAuthSettings>, ConfigError> {
    let settings = [
        Setting::OauthIssuer,
        Setting::OauthAudience,
        Setting::OauthJwks,
    ];
    match settings.map(|setting| layers.find(setting)) {
        [None, None, None] => Ok(None),
        [Some(issuer), Some(audience), Some(jwks)] => Ok(Some(OAuthSettings {
            issuer: identifier(&issuer)?,
            audience: identifier(&audience)?,
            jwks: source(&jwks)?,
        })),
        found => {
            let is_set = |(_, found): &(Setting, &Option<FoundSetting>)| found.is_some();
            let (set, missing): (Vec<_>, Vec<_>) =
                settings.into_iter().zip(&found).partition(is_set);
            let missing: Vec<_> = missing.iter().map(|(setting, _)| setting.env()).collect();
            let place = set.iter().find_map(|(_, found)| found.as_ref());
            Err(ConfigError::Invalid {
                place: place.map(|found| found.place.clone()).unwrap_or_default(),
                problem: format!("is set without {}", missing.join(" and ")),
                remedy: Some(TOGETHER),
            })
        }
    }
}

/// Returns the text of a setting, which must be a URL without a query. The text stays exactly as given, because OAuth
/// compares identifiers as text.
fn identifier(found: &FoundSetting) -> Result<String, ConfigError> {
    let text = found.text();
    match found.checked(url(&text))?.query() {
        Some(_) => Err(found.error("has a query, which no identifier has")),
        None => Ok(text),
    }
}

fn source(found: &FoundSetting) -> Result<JwksSource, ConfigError> {
    let text = found.text();
    if !text.contains("://") {
        return Ok(JwksSource::File(PathBuf::from(text)));
    }
    found.checked(url(&text)).map(JwksSource::Url)
}

/// Parses an absolute URL, which must begin with https, or with http if the host is this machine. The error does not
/// quote the text, which may contain a password.
fn url(text: &str) -> Result<Uri, String> {
    let url = http_url::parse(text)?;
    match url.scheme_str() {
        Some("https") => Ok(url),
        Some("http") if url.host().is_some_and(is_loopback) => Ok(url),
        _ => Err(
            "does not begin with https://, which only a server of this machine may leave out"
                .to_owned(),
        ),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CommandLineSettings, Config, Environment};
    use crate::error::Failure;

    const ISSUER: (&str, &str) = ("METER_SYNC_OAUTH_ISSUER", "https://login.example.com");
    const AUDIENCE: (&str, &str) = (
        "METER_SYNC_OAUTH_AUDIENCE",
        "https://meters.example.com/mcp",
    );
    const JWKS: (&str, &str) = ("METER_SYNC_OAUTH_JWKS", "/etc/jwks.json");

    fn load<const N: usize>(
        variables: [(&str, &str); N],
    ) -> Result<Option<OAuthSettings>, Failure> {
        let environment = Environment::from(variables);
        let config = Config::load_from(&CommandLineSettings::default(), &environment);
        Ok(config?.oauth)
    }

    #[test]
    fn it_is_off_by_default_and_on_with_all_three_settings() {
        assert_eq!(load([]), Ok(None));
        let oauth = load([ISSUER, AUDIENCE, JWKS]).unwrap().unwrap();
        assert_eq!(oauth.issuer, ISSUER.1);
        assert_eq!(oauth.audience, AUDIENCE.1);
        assert_eq!(oauth.jwks, JwksSource::File("/etc/jwks.json".into()));
        for url in [
            "https://login.example.com/keys?v=2",
            "http://127.0.0.1:9/k",
            "http://[::1]:9/k",
            "http://localhost/k",
        ] {
            let oauth = load([ISSUER, AUDIENCE, (JWKS.0, url)]).unwrap().unwrap();
            assert_eq!(oauth.jwks, JwksSource::Url(url.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn half_a_configuration_says_what_is_missing_and_what_to_write() {
        let failure = load([ISSUER]).unwrap_err();
        assert!(failure.message.contains("METER_SYNC_OAUTH_ISSUER: is set without METER_SYNC_OAUTH_AUDIENCE and METER_SYNC_OAUTH_JWKS"), "{failure}");
        assert!(
            failure
                .remedy
                .contains("https://login.example.com/jwks.json"),
            "{failure}"
        );
        let failure = load([AUDIENCE, JWKS]).unwrap_err();
        assert!(
            failure
                .message
                .contains("METER_SYNC_OAUTH_AUDIENCE: is set without METER_SYNC_OAUTH_ISSUER"),
            "{failure}"
        );
    }

    #[test]
    fn what_is_no_safe_url_is_refused_without_showing_a_password() {
        for odd in [
            "login.example.com",
            "ftp://login.example.com",
            "http://login.example.com",
            "http://127.0.0.1.example.com",
            "https://u:hunter2@login.example.com",
            "https://login.example.com/#a",
            "https://login.example.com/?a=b",
            "https://login.example.com/\"x",
            "https://login.example.com/{x}",
            "https://",
        ] {
            for (one, other) in [(ISSUER.0, AUDIENCE), (AUDIENCE.0, ISSUER)] {
                let failure = load([(one, odd), other, JWKS]).unwrap_err();
                assert!(failure.message.contains(one), "{odd}: {failure}");
                assert!(!failure.to_string().contains("hunter2"), "{failure}");
            }
        }
        let failure = load([ISSUER, AUDIENCE, (JWKS.0, "http://login.example.com/k")]).unwrap_err();
        assert!(
            failure.message.contains("METER_SYNC_OAUTH_JWKS"),
            "{failure}"
        );
    }
}
