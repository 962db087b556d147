//! Who may do what on the page, and that text from a database is never markup.

use meter_sync::config::Setting;
use serde_json::json;

use super::{Browser, OPERATE, READ, assert_says, header, served};
use crate::support::http_server::{HttpServer, send};
use crate::support::run_hold;
use crate::support::site::{Site, rows};

#[tokio::test]
async fn numbers_and_nesting_of_any_size_are_synced_and_shown() {
    let huge = format!("1{}", "0".repeat(400));
    let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let site = Site::new().await;
    site.on_remote(&format!(
        "insert into meter (id, tenant_id, name, register_map) values
         (1, 7, 'Huge', '{{\"scale\": 1e400}}'), (2, 7, 'Nested', '{nested}'), (3, 7, 'Fine', '12345678901234567.1')"
    ))
    .await;
    let first = site.sync().await;
    assert_eq!(first.counts.inserted, 3, "{first:#?}");
    site.on_remote("update meter set register_map = '12345678901234567.2' where id = 3; update meter set notes = 'x'")
        .await;
    let second = site.sync().await;
    assert_eq!(second.counts.updated, 3, "{second:#?}");
    let served = served(&site).await;
    let browser = Browser::new(&served);
    let run = format!("/runs/{}", first.run_id);
    let shown = browser.read(&run).await;
    assert!(shown.contains(&huge[..100]) && shown.contains(&nested[..100]));
    assert_says(
        &browser.read("/").await,
        &["12345678901234567.1 → becomes 12345678901234567.2"],
    );
    assert_says(&browser.read("/meters?id=1").await, &["Huge (id 1)"]);
    for path in [
        format!("/api/v1{run}/changes"),
        "/api/v1/meters/2".to_owned(),
    ] {
        assert_eq!(browser.open(&path).await.status(), 200, "{path}");
    }
}

/// Each of these pages is refused what it asks for.
pub(super) async fn assert_only_our_own(browser: &Browser<'_>, path: &str) {
    let (_, port) = browser.served.address.rsplit_once(':').expect("a port");
    let under_another_name = format!("http://localhost:{port}");
    for origin in [
        Some("http://127.0.0.1:3000"),
        Some("http://localhost"),
        Some("null"),
        Some(under_another_name.as_str()),
        None,
    ] {
        let mut form = browser.form(path, "do=sync");
        if let Some(origin) = origin {
            form = form.header("origin", origin);
        }
        assert_eq!(send(form).await.status(), 403, "{path} {origin:?}");
    }
}

#[tokio::test]
async fn a_form_and_a_cookie_count_only_from_a_page_of_the_servers_own() {
    let site = Site::new().await;
    let open = served(&site).await;
    assert_only_our_own(&Browser::new(&open), "/sync").await;

    let tokens = format!("trigger:{OPERATE}");
    let closed = HttpServer::new(&site.settings().with(Setting::Tokens, tokens)).await;
    let mut browser = Browser::new(&closed);
    browser.sign_in(OPERATE).await;
    for path in ["/sync", "/api/local/meter-sync-trigger"] {
        assert_only_our_own(&browser, path).await;
    }
    let log = "select to_regclass('meter_sync.meter_sync_log') is not null as there";
    assert_eq!(rows(&site.local, log).await, json!([{"there": false}]));
}

#[tokio::test]
async fn a_browser_without_a_token_is_sent_to_the_sign_in_and_comes_back() {
    let site = Site::new().await;
    let settings = site
        .settings()
        .with(Setting::Tokens, format!("read:{READ},trigger:{OPERATE}"));
    let served = HttpServer::new(&settings).await;
    let mut browser = Browser::new(&served);
    for path in [
        "/",
        "/runs?show=problems",
        "/runs/x",
        "/connections",
        "/meters?id=1",
    ] {
        let sent = browser.open(path).await;
        assert_eq!(sent.status(), 303, "{path}");
        assert!(
            header(&sent, "location").starts_with("/sign-in?next=%2F"),
            "{path}"
        );
    }
    let api = browser.open("/api/local/meter-sync-status").await;
    assert_eq!(api.status(), 401, "programs are told, not sent");
    assert_eq!(browser.open("/sign-in").await.status(), 200);

    let wrong = browser.send("/sign-in", "token=not-one-of-them-0").await;
    assert_eq!(wrong.status(), 401);
    assert!(wrong.headers().get("set-cookie").is_none());
    let to = |next: &str| format!("token={OPERATE}&next={next}");
    assert_eq!(
        browser
            .follow("/sign-in", &to("%2Fruns%3Fshow%3Dproblems"))
            .await,
        "/runs?show=problems"
    );
    for elsewhere in [
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "%2Fruns%2F..%2F%2F%5Cevil",
        "javascript%3Aalert",
        "https%3A%2F%2Fevil.example%2Fruns",
        "%2Fruns%2Fx%0D%0ASet-Cookie%3A+a%3Db",
        "%2Fruns%2F%C3%A9",
        "%2Fruns%2Fx%23%0D%0AX%3Ay",
    ] {
        let led = browser.follow("/sign-in", &to(elsewhere)).await;
        assert!(
            led == "/" || led.starts_with("/runs/"),
            "{elsewhere} led to {led}"
        );
    }

    browser.sign_in(OPERATE).await;
    assert_says(&browser.read("/").await, &["Sync now", "Sign out"]);
    assert_eq!(browser.follow("/sync", "do=sync").await, "/");
    run_hold::outcomes(&site).await;
    let mcp = served
        .request("POST /mcp")
        .header("cookie", browser.cookie.clone().expect("a cookie"));
    assert_eq!(send(mcp).await.status(), 401, "a cookie is for the page");

    let out = browser.send("/sign-out", "").await;
    assert!(header(&out, "set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn a_token_says_who_asked_whatever_the_client_calls_itself() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7)")
        .await;
    let tokens = format!("trigger:ann:{OPERATE}");
    let served = HttpServer::new(&site.settings().with(Setting::Tokens, tokens)).await;
    let mut browser = Browser::new(&served);
    browser.sign_in(OPERATE).await;
    assert_eq!(browser.follow("/sync", "do=sync").await, "/");
    run_hold::outcomes(&site).await;
    for path in ["/api/v1/sync", "/api/local/meter-sync-trigger"] {
        let asked = served
            .request(&format!("POST {path}"))
            .header("user-agent", "bob/1")
            .header("prefer", "wait=30")
            .bearer_auth(OPERATE);
        assert_eq!(send(asked).await.status(), 200, "{path}");
    }
    let log = "select trigger, actor from meter_sync.meter_sync_log order by started_at";
    let logged = json!([{"trigger": "page", "actor": "ann"},
        {"trigger": "rest", "actor": "ann"}, {"trigger": "rest", "actor": "ann"}]);
    assert_eq!(rows(&site.local, log).await, logged);
    let newest =
        "select id::text as id from meter_sync.meter_sync_log order by started_at desc limit 1";
    let id = rows(&site.local, newest).await[0]["id"].clone();
    let page = browser
        .read(&format!("/runs/{}", id.as_str().expect("an id")))
        .await;
    assert_says(&page, &["ann"]);
}

#[tokio::test]
async fn who_may_only_read_has_no_buttons_and_cannot_send_their_forms() {
    let site = Site::new().await;
    let tokens = site
        .settings()
        .with(Setting::Tokens, format!("read:{READ}"));
    let served = HttpServer::new(&tokens).await;
    let mut browser = Browser::new(&served);
    browser.sign_in(READ).await;
    let read_only = HttpServer::new(&site.settings().with(Setting::ReadOnly, "true")).await;
    for browser in [browser, Browser::new(&read_only)] {
        let page = browser.read("/").await;
        assert!(!page.contains("/sync\""), "{page}");
        assert_eq!(browser.send("/sync", "do=sync").await.status(), 403);
    }
}

#[tokio::test]
async fn what_a_database_holds_is_never_markup() {
    let site = Site::new().await;
    let hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onmouseover=\"alert(1)";
    let insert = "insert into meter (id, tenant_id, name, notes) values (1, 7, $1, $1)";
    site.remote
        .execute(insert, &[&&hostile[..70]])
        .await
        .expect("a meter");
    site.local
        .execute("update tenant set name = $1", &[&hostile])
        .await
        .expect("a tenant");
    let served = served(&site).await;
    let browser = Browser::new(&served);
    browser.follow("/sync", "do=sync").await;
    run_hold::outcomes(&site).await;
    let run = rows(&site.local, "select id from meter_sync.meter_sync_log").await[0]["id"].clone();
    let run = format!("/runs/{}", run.as_str().expect("an id"));
    for path in ["/", "/runs", &run, "/meters?id=1"] {
        let page = browser.read(path).await;
        assert!(
            path == "/runs" || page.contains("&lt;script&gt;"),
            "{path} shows it as text"
        );
        assert_eq!(
            page.matches("<script").count(),
            1,
            "{path} has our own script only"
        );
        assert!(
            !page.contains("<img") && !page.contains("\" onmouseover"),
            "{path}: {page}"
        );
    }
}

#[tokio::test]
async fn every_page_forbids_inline_code_foreign_frames_and_keeping() {
    let site = Site::new().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    for path in [
        "/",
        "/runs",
        "/runs/none",
        "/meters?id=1",
        "/connections",
        "/sign-in",
    ] {
        let response = browser.open(path).await;
        let policy = header(&response, "content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(header(&response, "cache-control"), "no-store", "{path}");
        let page = response.text().await.expect("a body");
        assert!(
            !page.contains(" style=") && !page.contains(" onclick="),
            "{path}"
        );
    }
}

#[tokio::test]
async fn style_and_script_are_kept_for_ever_under_a_name_that_changes_with_them() {
    let site = Site::new().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    let page = browser.read("/").await;
    let assets: Vec<&str> = page
        .split('"')
        .filter(|text| text.starts_with("/assets/"))
        .collect();
    assert_eq!(
        assets.len(),
        3,
        "an icon, a style sheet and a script: {assets:?}"
    );
    for asset in assets {
        let response = browser.open(asset).await;
        assert_eq!(response.status(), 200, "{asset}");
        // The name of an icon does not change with its content.
        let is_kept = header(&response, "cache-control").contains("immutable");
        assert_eq!(is_kept, !asset.ends_with(".svg"), "{asset}");
    }
    assert_eq!(
        browser.open("/assets/0000000000000000.css").await.status(),
        404
    );
}
