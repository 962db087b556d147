//! The pages of one mirror of several, below its tenant.

use meter_sync::config::Setting;
use serde_json::json;

use super::security::assert_only_our_own;
use super::{Browser, OPERATE, READ, assert_says, attributes, header, served_for, shared_site};
use crate::support::http_server::HttpServer;
use crate::support::site::{Site, rows};
use crate::support::wait;

/// Waits until so many runs have ended, and gives the ids of the last one's.
async fn ended(site: &Site, count: usize) -> String {
    let log =
        "select id, outcome from meter_sync.meter_sync_log where outcome is not null order by seq";
    let are_over = async || rows(&site.local, log).await.as_array().map(Vec::len) == Some(count);
    wait::until("the runs have ended", are_over).await;
    let last = rows(&site.local, log).await[count - 1]["id"].clone();
    last.as_str().expect("an id").to_owned()
}

const PAGES: [&str; 5] = ["/", "/runs", "/runs/x", "/meters?id=1", "/connections"];

#[tokio::test]
async fn every_address_on_a_tenants_pages_is_below_the_tenant() {
    let site = shared_site().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) values (1, 7, 'Boiler'), (2, 8, 'Chiller')",
    )
    .await;
    let served = served_for(&site, "7,8,9").await;
    let browser = Browser::new(&served);
    assert_eq!(
        browser.follow("/tenants/7/sync", "do=sync").await,
        "/tenants/7/"
    );
    let run = ended(&site, 1).await;
    let elsewhere = ["/", "/api/v1/openapi.json", "/metrics"];
    let mut followed = 0;
    for path in [
        "/",
        "/runs",
        &format!("/runs/{run}"),
        "/meters?id=1",
        "/connections",
    ] {
        let page = browser.read(&format!("/tenants/7{path}")).await;
        assert_says(&page, &["All tenants", "Acme (7) at "]);
        assert_eq!(
            attributes(&page, "data-events"),
            ["/api/v1/tenants/7/events"]
        );
        for address in ["href", "action", "data-copy"]
            .iter()
            .flat_map(|name| attributes(&page, name))
        {
            let is_ours = ["/tenants/7/", "/api/v1/tenants/7/", "/assets/", "#"];
            let is_ours = is_ours.iter().any(|base| address.starts_with(base));
            assert!(
                is_ours || elsewhere.contains(&address.as_str()),
                "{path} leads to {address}"
            );
        }
        let links = attributes(&page, "href").into_iter();
        for link in links.filter(|link| link.starts_with("/tenants/7/")) {
            browser.read(&link).await;
            followed += 1;
        }
    }
    assert!(followed > 10, "{followed} links");
    assert_says(&browser.read("/tenants/7/meters?id=1").await, &["Boiler"]);
    for nothing in [format!("/runs/{run}"), "/meters?id=1".to_owned()] {
        let of_another = browser.open(&format!("/tenants/8{nothing}")).await;
        assert_eq!(of_another.status(), 404, "{nothing} is of another tenant");
        let page = of_another.text().await.expect("a body");
        assert!(
            page.contains("<a href=\"/tenants/8/\">Back to the status"),
            "{page}"
        );
    }
}

#[tokio::test]
async fn the_forms_of_a_tenant_lead_to_its_own_pages() {
    let site = shared_site().await;
    site.on_remote("insert into meter (id, tenant_id) select n, 8 from generate_series(1, 20) n")
        .await;
    let served = served_for(&site, "7,8").await;
    let browser = Browser::new(&served);
    let preview = browser.follow("/tenants/8/sync", "do=preview").await;
    let id = ended(&site, 1).await;
    assert_eq!(preview, format!("/tenants/8/runs/{id}"));
    assert_says(
        &browser.read(&preview).await,
        &["Preview", "Would insert 20"],
    );
    browser.follow("/tenants/8/sync", "do=sync").await;
    ended(&site, 2).await;
    site.on_remote("delete from meter where id > 10").await;
    browser.follow("/tenants/8/sync", "do=sync").await;
    let refused = ended(&site, 3).await;
    let page = browser.read("/tenants/8/").await;
    assert_says(&page, &["This needs a person", "Deactivate 10 meters"]);
    let allow = format!("do=sync&sure=yes&allow={refused}");
    let of_another = browser.send("/tenants/7/sync", &allow).await;
    assert_eq!(of_another.status(), 403, "the plan of another tenant");
    let path = browser.follow("/tenants/8/sync", &allow).await;
    let approved = ended(&site, 4).await;
    assert_eq!(path, format!("/tenants/8/runs/{approved}"));
    let allow = format!("do=sync&sure=yes&allow={id}");
    let nothing = browser.follow("/tenants/8/sync", &allow);
    assert_eq!(
        nothing.await,
        format!("/tenants/8/runs/{id}?notice=nothing_held")
    );
    let active = "select count(*) from meter where active";
    assert_eq!(rows(&site.local, active).await, json!([{"count": 10}]));
    let tenants = "select distinct tenant from meter_sync.meter_sync_log";
    assert_eq!(rows(&site.local, tenants).await, json!([{"tenant": "8"}]));
}

#[tokio::test]
async fn the_connections_are_checked_for_each_tenant_by_itself() {
    let site = shared_site().await;
    let served = served_for(&site, "7,8").await;
    let browser = Browser::new(&served);
    let path = "/tenants/8/connections";
    assert_eq!(browser.follow(path, "").await, path);
    assert_says(&browser.read(path).await, &["connected in", "8 (Byte)"]);
    assert_says(
        &browser.read("/tenants/7/connections").await,
        &["Nothing has been looked at"],
    );
}

#[tokio::test]
async fn an_unknown_tenant_has_no_pages() {
    let site = shared_site().await;
    let served = served_for(&site, "7,8").await;
    let browser = Browser::new(&served);
    for tenant in ["9", "x", "%FF", "%20", "7%2F", "..%20"] {
        for path in PAGES {
            let response = browser.open(&format!("/tenants/{tenant}{path}")).await;
            assert_eq!(response.status(), 404, "{tenant} {path}");
        }
        let path = format!("/tenants/{tenant}/sync");
        let status = browser.send(&path, "do=sync").await.status();
        assert_eq!(status, 404, "{path}");
    }
    let page = browser.open("/tenants/9/").await;
    assert_says(
        &page.text().await.expect("a body"),
        &["There is no such tenant here", "Back to the status"],
    );
    let without_slash = browser.open("/tenants/7").await;
    assert_eq!(header(&without_slash, "location"), "/tenants/7/");
    assert_eq!(browser.open("/runs").await.status(), 404);
    let only = HttpServer::new(&site.settings().with(Setting::TenantId, "7")).await;
    let browser = Browser::new(&only);
    assert_eq!(browser.open("/tenants/7/").await.status(), 404);
    assert_eq!(browser.open("/").await.status(), 200);
}

/// The page without the time at which it was made.
async fn timeless(browser: &Browser<'_>, path: &str) -> String {
    let response = browser.open(path).await;
    assert_eq!(response.status(), 404, "{path}");
    let page = response.text().await.expect("a body");
    let (before, rest) = page.split_once("<time ").expect("a time");
    let (_, after) = rest.split_once("</time>").expect("its end");
    format!("{before}{after}")
}

#[tokio::test]
async fn a_token_for_some_tenants_has_no_pages_of_the_others() {
    let site = shared_site().await;
    let tokens = format!("trigger:ann@7:{OPERATE}");
    let settings = site.settings().with(Setting::Tokens, tokens);
    let served = HttpServer::new(&settings.clone().with(Setting::Tenants, "7,8")).await;
    let mut browser = Browser::new(&served);
    browser.sign_in(OPERATE).await;
    for path in PAGES {
        assert_eq!(
            timeless(&browser, &format!("/tenants/8{path}")).await,
            timeless(&browser, &format!("/tenants/88{path}")).await,
            "nothing tells that the tenant is there"
        );
    }
    let page = timeless(&browser, "/tenants/8/").await;
    assert_says(&page, &["your token is not for it"]);
    for form in ["/tenants/8/sync", "/tenants/8/connections"] {
        assert_eq!(browser.send(form, "do=sync").await.status(), 404, "{form}");
    }
    let log = "select to_regclass('meter_sync.meter_sync_log') is not null as there";
    assert_eq!(rows(&site.local, log).await, json!([{"there": false}]));
    assert_eq!(
        browser.follow("/tenants/7/sync", "do=sync").await,
        "/tenants/7/"
    );
    ended(&site, 1).await;

    let only = HttpServer::new(&settings.with(Setting::TenantId, "8")).await;
    let mut browser = Browser::new(&only);
    browser.sign_in(OPERATE).await;
    for path in PAGES {
        assert_eq!(browser.open(path).await.status(), 404, "{path}");
    }
    assert_eq!(browser.send("/sync", "do=sync").await.status(), 404);
}

#[tokio::test]
async fn a_browser_comes_back_from_the_sign_in_to_the_tenant() {
    let site = shared_site().await;
    let tokens = format!("read:{READ},trigger:{OPERATE}");
    let settings = site.settings().with(Setting::Tenants, "7,8");
    let served = HttpServer::new(&settings.with(Setting::Tokens, tokens)).await;
    let mut browser = Browser::new(&served);
    for path in PAGES.iter().map(|path| format!("/tenants/7{path}")) {
        let sent = browser.open(&path).await;
        assert_eq!(sent.status(), 303, "{path}");
        let to = header(&sent, "location");
        let next = to.strip_prefix("/sign-in?next=").expect("the sign-in");
        let form = format!("token={READ}&next={next}");
        assert_eq!(browser.follow("/sign-in", &form).await, path);
    }
    for elsewhere in [
        "%2Ftenants%2F7%2Fapi",
        "%2F%2Ftenants%2F7%2F",
        "%2Ftenants%2F%2Fruns",
    ] {
        let form = format!("token={READ}&next={elsewhere}");
        assert_eq!(browser.follow("/sign-in", &form).await, "/", "{elsewhere}");
    }
    assert_only_our_own(&browser, "/tenants/7/sync").await;
    browser.sign_in(READ).await;
    let page = browser.read("/tenants/7/").await;
    assert!(!page.contains("/sync\""), "{page}");
    let refused = browser.send("/tenants/7/sync", "do=sync").await;
    assert_eq!(refused.status(), 403);
    let path = "/tenants/7/connections";
    assert_eq!(browser.follow(path, "").await, path, "it may be checked");
}
