//! What a client reads before it has a token.

use meter_sync::config::Setting;
use serde_json::json;

use super::callers::key_file;
use super::issuer::{AUDIENCE, ISSUER, Signer};
use super::settings;
use crate::support::http_server::{HttpServer, answer, send};
use crate::support::site::Site;

#[tokio::test]
async fn the_metadata_is_open_to_all_at_each_of_its_places() {
    let site = Site::new().await;
    let file = key_file(&[("1", &Signer::ed25519())]);
    let settings = settings(&site, file.path().to_str().expect("a path"));
    for (audience, places) in [
        (AUDIENCE, &["", "/mcp"][..]),
        (
            "https://meters.example.com/north/:x",
            &["", "/mcp", "/north/:x"],
        ),
    ] {
        let settings = settings.clone().with(Setting::OauthAudience, audience);
        let served = HttpServer::new(&settings).await;
        for place in places {
            let line = format!("GET /.well-known/oauth-protected-resource{place}");
            let (status, document) = served.ask(&line).await;
            assert_eq!(status, 200, "{line}");
            let expected = json!({
                "resource": audience,
                "authorization_servers": [ISSUER],
                "scopes_supported": ["meter-sync:read", "meter-sync:trigger"],
                "bearer_methods_supported": ["header"],
                "resource_name": "meter-sync",
            });
            assert_eq!(document, expected, "{line}");
        }
        for other in [
            "oauth-protected-resource/other",
            "oauth-authorization-server",
        ] {
            let asked = served.request(&format!("GET /.well-known/{other}"));
            assert_eq!(answer(asked).await.0, 404, "{other}");
        }
        let elsewhere = served.request("GET /.well-known/oauth-protected-resource");
        let foreign = send(elsewhere.header("host", "evil.example")).await;
        assert_eq!(foreign.status(), 403);
    }
}
