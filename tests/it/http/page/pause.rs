//! The forms that pause the syncs and end the pause.

use meter_sync::config::Setting;

use super::{Browser, assert_says, served};
use crate::support::http_server::HttpServer;
use crate::support::site::{Site, rows};
use serde_json::json;

const PAUSE: &str = "reason=new+gateway&until=4h";

#[tokio::test]
async fn a_person_pauses_and_resumes_on_the_page() {
    let site = Site::new().await;
    site.sync().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    assert_says(&browser.read("/").await, &["Pause syncs", "Sync now"]);
    assert_eq!(browser.follow("/pause", PAUSE).await, "/");
    let page = browser.read("/").await;
    assert_says(
        &page,
        &[
            "Paused by somebody on the page at ",
            "new gateway.",
            "Resume syncs",
            "Preview changes",
        ],
    );
    assert!(!page.contains("Sync now"), "{page}");
    assert_eq!(browser.follow("/resume", "").await, "/");
    assert_says(&browser.read("/").await, &["In sync", "Sync now"]);
}

#[tokio::test]
async fn a_pause_without_a_reason_or_by_a_reader_is_refused() {
    let site = Site::new().await;
    site.sync().await;
    let tokens = "read:looker:look-at-this-1234567890,trigger:ann:sync-this-now-1234567890";
    let served = HttpServer::new(&site.settings().with(Setting::Tokens, tokens)).await;
    let mut browser = Browser::new(&served);
    browser.sign_in("look-at-this-1234567890").await;
    for path in ["/pause", "/resume"] {
        assert_eq!(browser.send(path, PAUSE).await.status(), 403, "{path}");
    }
    let mut browser = Browser::new(&served);
    browser.sign_in("sync-this-now-1234567890").await;
    for form in [
        "reason=+&until=",
        "reason=x&until=2020-01-01",
        "until=",
        "reason=x",
    ] {
        let refused = browser.send("/pause", form).await;
        assert!(
            refused.status().is_client_error(),
            "{form}: {}",
            refused.status()
        );
    }
    let paused = "select paused_by, reason from meter_sync.meter_sync_pause";
    assert_eq!(rows(&site.local, paused).await, json!([]));
    browser.follow("/pause", PAUSE).await;
    let by_ann = json!([{"paused_by": "ann", "reason": "new gateway"}]);
    assert_eq!(rows(&site.local, paused).await, by_ann);
}
