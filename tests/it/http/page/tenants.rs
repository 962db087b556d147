//! The list of tenants: what it says, in which order and to whom.

use std::collections::BTreeSet;

use meter_sync::config::Setting;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::RunTrigger;

use super::{
    Browser, OPERATE, READ, assert_says, attributes, header, served_for, shared_site, words,
};
use crate::support::http_server::HttpServer;
use crate::support::site::{LOCAL_SCHEMA, NOWHERE, REMOTE_SCHEMA, Site, finish, mirrors};

/// The addresses of the tenants' pages, in the order of the list.
fn listed(html: &str) -> Vec<String> {
    let links = attributes(html, "href").into_iter();
    let is_row = |link: &String| link.starts_with("/tenants/") && link.ends_with('/');
    links.filter(is_row).collect()
}

#[tokio::test]
async fn a_tenants_page_tells_when_a_sweep_found_nothing_changed() {
    let site = shared_site().await;
    let all = mirrors(&site.settings().with(Setting::Tenants, "7,8"));
    let sweep = async || {
        let swept = all
            .sweep(&RunRequest::new(RunTrigger::Schedule), |_, _| ())
            .await;
        swept.expect("a sweep");
    };
    let told = "(a sweep found nothing changed ";
    let served = served_for(&site, "7,8").await;
    let browser = Browser::new(&served);
    sweep().await;
    assert!(!words(&browser.read("/tenants/7/").await).contains(told));
    sweep().await;
    assert_says(&browser.read("/tenants/7/").await, &[told]);
}

#[tokio::test]
async fn the_list_counts_by_health_and_has_the_worst_first() {
    let site = shared_site().await;
    site.on_remote("insert into meter (id, tenant_id, name) select n, 7 + n % 2, 'Meter ' || n from generate_series(1, 40) n")
        .await;
    let all = mirrors(&site.settings().with(Setting::Tenants, "7,8,9"));
    let sync = async |tenant| {
        let mirror = all.find(Some(tenant)).await.expect("a mirror");
        finish(&mirror, RunRequest::new(RunTrigger::Cli))
            .await
            .run_id
    };
    sync("7").await;
    sync("8").await;
    site.on_remote("delete from meter where tenant_id = 8 and id > 10")
        .await;
    let refused = sync("8").await;
    let served = served_for(&site, "7,8,9").await;
    let browser = Browser::new(&served);
    let page = browser.read("/").await;
    assert_eq!(listed(&page), ["/tenants/8/", "/tenants/9/", "/tenants/7/"]);
    assert_says(
        &page,
        &[
            "3 tenants at ",
            "1 of 3 tenants are in sync; 1 failing, 1 never synced.",
            "Look at the tenant marked Failing.",
            "All 3 Failing 1 Never run 1 Paused 1",
            "Byte (8) Failing",
            "Refused MASS_DEACTIVATION_REFUSED Idle",
            "Cole (9) Never run never none yet Idle",
            "Acme (7) Paused",
        ],
    );
    assert!(page.contains("<title>Failing – 3 tenants – meter-sync</title>"));
    assert!(page.contains(&format!("href=\"/tenants/8/runs/{refused}\"")));
    let failing = browser.read("/?health=failing").await;
    assert_eq!(listed(&failing), ["/tenants/8/"]);
    assert_says(
        &failing,
        &["1 of 3 tenants marked Failing, the worst first"],
    );
    assert_eq!(browser.open("/?health=fine").await.status(), 400);
}

/// A site with as many tenants, `Site 1` and so on.
async fn crowd(tenants: u32) -> (Site, HttpServer) {
    let site = shared_site().await;
    let query = format!("select n, 'Site ' || n as name from generate_series(1, {tenants}) n");
    let served = HttpServer::new(&site.settings().with(Setting::TenantsQuery, query)).await;
    (site, served)
}

#[tokio::test]
async fn many_tenants_are_listed_page_by_page() {
    let (_site, served) = crowd(120).await;
    let browser = Browser::new(&served);
    let (mut path, mut seen) = ("/".to_owned(), Vec::new());
    for expected in [50, 50, 20] {
        let page = browser.read(&path).await;
        let rows = listed(&page);
        assert_eq!(rows.len(), expected, "{path}");
        seen.extend(rows);
        let next = attributes(&page, "href").into_iter();
        let mut next = next.filter(|link| link.contains("before="));
        path = next.next().unwrap_or_default();
    }
    assert_eq!(path, "", "the last page leads no further");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 120);
}

#[tokio::test]
async fn a_search_finds_tenants_by_id_and_name_and_keeps_to_the_health() {
    let (_site, served) = crowd(120).await;
    let browser = Browser::new(&served);
    let page = browser.read("/?search=+SITE+11").await;
    assert_eq!(listed(&page).len(), 11, "11 and 110 to 119");
    assert_says(&page, &["11 of 120 tenants with “SITE 11”"]);
    assert!(page.contains("value=\"SITE 11\""), "the form keeps it");
    let links = attributes(&page, "href");
    let filter = "/?search=SITE%2011&health=never_run".to_owned();
    assert!(links.contains(&filter), "{links:?}");
    let page = browser.read(&filter).await;
    assert_eq!(listed(&page).len(), 11);
    assert!(
        page.contains("<input type=\"hidden\" name=\"health\" value=\"never_run\">"),
        "the form keeps the health: {page}"
    );
    for none in ["/?search=Nowhere", "/?health=ok"] {
        let page = browser.read(none).await;
        assert!(listed(&page).is_empty());
        assert_says(&page, &["0 of 120 tenants"]);
    }
    assert_eq!(listed(&browser.read("/?search=").await).len(), 50);
    let page = browser.read("/?search=%22%3E%3Cimg%20src%3Dx%3E").await;
    assert!(!page.contains("<img"), "{page}");
}

#[tokio::test]
async fn ids_and_names_of_any_characters_are_text_and_lead_to_their_tenant() {
    let ids = [
        "a/b",
        "<script>alert(1)</script>",
        "..",
        ".",
        "%",
        "%2e",
        "é\"'&?#",
    ];
    let remote = format!("{REMOTE_SCHEMA}; alter table meter alter tenant_id type text");
    let local = format!("{LOCAL_SCHEMA}; alter table meter add tenant_id text");
    let site = Site::with_schemas(&remote, &local).await;
    let rows = ids.map(|id| format!("('{}', '<b onclick=x>')", id.replace('\'', "''")));
    let query = format!(
        "select id, name from (values {}) v (id, name)",
        rows.join(", ")
    );
    let served = HttpServer::new(&site.settings().with(Setting::TenantsQuery, query)).await;
    let browser = Browser::new(&served);
    let page = browser.read("/").await;
    assert_eq!(page.matches("<script").count(), 1, "our own: {page}");
    assert_eq!(page.matches("&lt;b onclick").count(), ids.len(), "{page}");
    let rows = listed(&page);
    assert_eq!(rows.len(), ids.len());
    let mut found = BTreeSet::new();
    for row in rows {
        // The client takes an address apart as a browser does.
        let page = browser.read(&row).await;
        assert_eq!(page.matches("<script").count(), 1, "{row}: {page}");
        let id = ids.iter().find(|id| {
            let escaped = id.replace('&', "&amp;").replace('<', "&lt;");
            let escaped = escaped.replace('>', "&gt;").replace('"', "&quot;");
            page.contains(&format!("(<bdi>{escaped}</bdi>)"))
        });
        found.insert(*id.unwrap_or_else(|| panic!("{row} is about no tenant: {page}")));
        assert_eq!(browser.follow(&format!("{row}sync"), "do=sync").await, row);
    }
    assert_eq!(found.len(), ids.len());
}

#[tokio::test]
async fn a_token_for_some_tenants_lists_and_counts_only_those() {
    let site = shared_site().await;
    let tokens = format!("read:ann@7,9:{READ},trigger:{OPERATE}");
    let settings = site.settings().with(Setting::Tenants, "7,8,9");
    let served = HttpServer::new(&settings.with(Setting::Tokens, tokens)).await;
    let mut browser = Browser::new(&served);
    browser.sign_in(READ).await;
    let page = browser.read("/").await;
    assert_eq!(listed(&page), ["/tenants/7/", "/tenants/9/"]);
    assert_says(
        &page,
        &["2 tenants at ", "0 of 2 tenants", "All 2 Never run 2"],
    );
    for path in ["/?search=Byte", "/?before=8", "/?health=never_run"] {
        let page = browser.read(path).await;
        assert!(!words(&page).contains("(8)"), "{path}: {page}");
    }
    browser.sign_in(OPERATE).await;
    assert_eq!(listed(&browser.read("/").await).len(), 3);
}

#[tokio::test]
async fn without_the_local_database_the_list_says_what_is_wrong() {
    let site = shared_site().await;
    let settings = site
        .settings()
        .with(Setting::Tenants, "7,8")
        .with(Setting::LocalUrl, NOWHERE);
    let served = HttpServer::new(&settings).await;
    let page = Browser::new(&served).read("/").await;
    assert_says(
        &page,
        &[
            "Failing The meters cannot be vouched for. Cannot reach the local database",
            "What to do: Check that the database",
            "Which tenants there are is not known",
        ],
    );
    assert!(!words(&page).contains("0 tenants"), "{page}");
    assert!(!page.contains("hunter2"), "{page}");
}

#[tokio::test]
async fn the_list_renews_itself_and_forbids_inline_code() {
    let site = shared_site().await;
    let served = served_for(&site, "all").await;
    let browser = Browser::new(&served);
    let response = browser.open("/").await;
    let policy = header(&response, "content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
    let page = response.text().await.expect("a body");
    assert!(!page.contains(" style=") && !page.contains(" onclick="));
    assert_eq!(attributes(&page, "data-events"), ["/api/v1/events"]);
    for part in ["banner", "by_health", "tenants"] {
        let is_live = format!("id=\"{part}\" data-live");
        assert!(page.contains(&is_live), "{part}: {page}");
    }
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\""));
}
