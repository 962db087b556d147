//! Access tokens of an authorization server (OAuth 2.1) over the served program.

mod issuer;
mod key_server;

mod callers;
mod key_files;
mod key_urls;
mod mcp;
mod metadata;
mod refused_tokens;

use meter_sync::config::{CommandLineSettings, Setting};
use reqwest::Response;

use crate::support::http_server::{HttpServer, send};
use crate::support::site::Site;
use issuer::{AUDIENCE, ISSUER};

const STATUS: &str = "GET /api/v1/status";
const SYNC: &str = "POST /api/v1/sync";
/// Where the metadata of the audience is.
const METADATA: &str = "https://meters.example.com/.well-known/oauth-protected-resource/mcp";

/// The settings of a site that takes access tokens, checked with the keys at this path or URL.
fn settings(site: &Site, jwks: &str) -> CommandLineSettings {
    let settings = site.settings().with(Setting::OauthIssuer, ISSUER);
    let settings = settings.with(Setting::OauthAudience, AUDIENCE);
    settings.with(Setting::OauthJwks, jwks)
}

/// The answer to a request with this token.
async fn ask(served: &HttpServer, line: &str, token: &str) -> Response {
    send(served.request(line).bearer_auth(token)).await
}

async fn status(served: &HttpServer, line: &str, token: &str) -> u16 {
    ask(served, line, token).await.status().as_u16()
}

/// The challenge of a refusal.
fn challenge(response: &Response) -> &str {
    let header = response.headers().get("www-authenticate");
    header.map_or("", |value| value.to_str().expect("ASCII"))
}
