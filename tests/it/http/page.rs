//! The page as a browser without scripts has it: what it says in every state, what its forms do, and whom it
//! lets in. What needs a browser is for `tests/judges/page`.

use chrono::{DurationRound, TimeDelta};
use meter_sync::clock;
use meter_sync::config::Setting;
use meter_sync::meter::Trigger;
use meter_sync::runs::{Claim, Request};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::held::{self, Held};
use crate::support::served::{Served, send};
use crate::support::site::{Site, finish, rows, runs};

const READ: &str = "0123456789abcdef";
const OPERATE: &str = "fedcba9876543210";

/// A browser at a served site; it follows no redirect by itself.
struct Browser<'a> {
    served: &'a Served,
    client: Client,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn new(served: &'a Served) -> Self {
        let client = Client::builder().redirect(Policy::none()).build();
        Self {
            served,
            client: client.expect("a client"),
            cookie: None,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.served.address)
    }

    fn with_cookie(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.header("accept", "text/html");
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    async fn open(&self, path: &str) -> Response {
        send(self.with_cookie(self.client.get(self.url(path)))).await
    }

    /// The page's HTML; it must be there.
    async fn read(&self, path: &str) -> String {
        let response = self.open(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.expect("a body")
    }

    fn form(&self, path: &str, form: &str) -> RequestBuilder {
        let request = self.client.post(self.url(path));
        self.with_cookie(request)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned())
    }

    /// Sends a form as a page of the server's own does; gives the answer.
    async fn send(&self, path: &str, form: &str) -> Response {
        let own = format!("http://{}", self.served.address);
        send(self.form(path, form).header("origin", own)).await
    }

    /// Sends a form that leads somewhere; gives where.
    async fn follow(&self, path: &str, form: &str) -> String {
        let response = self.send(path, form).await;
        assert_eq!(response.status(), 303, "{form}");
        header(&response, "location")
    }

    async fn sign_in(&mut self, token: &str) {
        let response = self.send("/sign-in", &format!("token={token}")).await;
        assert_eq!(response.status(), 303);
        let given = header(&response, "set-cookie");
        let pair = given.split(';').next().expect("a pair");
        self.cookie = Some(pair.to_owned());
    }
}

fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name).expect(name);
    value.to_str().expect("text").to_owned()
}

/// What a person reads of a page.
fn words(html: &str) -> String {
    let mut text = String::new();
    for piece in html.split('<') {
        let (tag, said) = piece.split_once('>').unwrap_or(("", piece));
        let is_inline = [
            "span", "/span", "strong", "/strong", "bdi", "/bdi", "a ", "/a", "abbr", "/abbr",
        ];
        if !is_inline.iter().any(|inline| tag.starts_with(inline)) {
            text.push(' ');
        }
        text.push_str(said);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn assert_says(html: &str, expected: &[&str]) {
    let words = words(html);
    for text in expected {
        assert!(words.contains(text), "`{text}` is not in: {words}");
    }
}

async fn served(site: &Site) -> Served {
    Served::new(&site.settings()).await
}

#[tokio::test]
async fn before_any_run_the_page_says_so_and_how_to_begin() {
    let site = Site::new().await;
    let served = served(&site).await;
    let page = Browser::new(&served).read("/").await;
    assert_says(
        &page,
        &[
            "Never run",
            "Acme (7)",
            "How to begin",
            "Sync now",
            "Preview changes",
            "There are no runs yet.",
        ],
    );
    assert!(
        page.contains("<title>Never run – Acme – meter-sync</title>"),
        "{page}"
    );
}

#[tokio::test]
async fn the_schedule_is_told_in_words_with_its_zone() {
    let site = Site::new().await;
    for (line, said) in [
        ("*/15 * * * *", "(every 15 minutes, Europe/Berlin)"),
        ("0 6 * * *", "(every day at 06:00 (Europe/Berlin))"),
    ] {
        let settings = site
            .settings()
            .with(Setting::Schedule, line)
            .with(Setting::Timezone, "Europe/Berlin");
        let served = Served::new(&settings).await;
        assert_says(&Browser::new(&served).read("/").await, &[said]);
    }
}

#[tokio::test]
async fn missed_slots_and_who_holds_the_schedule_are_those_of_our_tenant() {
    let site = Site::new().await;
    let settings = site.settings().with(Setting::Schedule, "0 * * * *");
    let runs = runs(&settings);
    let hours_ago = |hours| {
        clock::now()
            .duration_trunc(TimeDelta::hours(1))
            .expect("an hour")
            - TimeDelta::hours(hours)
    };
    let claim = runs.claim_slot(hours_ago(5)).await;
    assert_eq!(claim.expect("a claim"), Claim::Ours);
    site.sync().await;
    site.on_local("update meter_sync.meter_sync_log set started_at = started_at - interval '5 h', finished_at = finished_at - interval '5 h'")
        .await;
    site.on_local("insert into meter_sync.meter_sync_slot (tenant, local_table, slot, claimed_by) values ('8', 'public.meter', now(), 'host-of-another 1 x')")
        .await;
    let claim = runs.claim_slot(hours_ago(2)).await;
    assert_eq!(claim.expect("a claim"), Claim::Ours);
    // A process that only shows takes no slot itself.
    let served = Served::new(&settings.with(Setting::ReadOnly, "true")).await;
    let page = Browser::new(&served).read("/").await;
    assert!(page.contains("2 slots missed from"), "{page}");
    assert!(
        words(&page).contains("The schedule's last slot was taken by"),
        "{page}"
    );
    assert!(!page.contains("host-of-another"), "{page}");
    // What only helps is left out where it may not be read.
    site.on_local("alter table meter_sync.meter_sync_slot rename to slots_of_old")
        .await;
    assert_says(&Browser::new(&served).read("/").await, &["Timeline"]);
}

#[tokio::test]
async fn without_databases_the_page_says_which_settings_are_missing() {
    let served = Served::new(&meter_sync::config::Settings::default()).await;
    let page = Browser::new(&served).read("/").await;
    assert_says(
        &page,
        &[
            "Not configured",
            "METER_SYNC_REMOTE_URL",
            "METER_SYNC_LOCAL_URL",
            "meter-sync check",
        ],
    );
    assert_eq!(page.matches("disabled").count(), 2, "both buttons: {page}");
}

#[tokio::test]
async fn a_form_syncs_and_the_page_says_what_changed() {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) values (1, 7, 'Boiler'), (2, 7, 'Chiller')",
    )
    .await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    assert_eq!(browser.follow("/sync", "do=sync").await, "/");
    assert_eq!(held::outcomes(&site).await, json!(["succeeded"]));
    site.on_remote("update meter set name = 'Main boiler' where id = 1")
        .await;
    browser.follow("/sync", "do=sync").await;
    held::outcomes(&site).await;
    let page = browser.read("/").await;
    assert_says(
        &page,
        &[
            "the last sync succeeded",
            "2 active, 0 inactive",
            "Updated Main boiler (id 1)",
            "name Boiler → becomes Main boiler",
            "asked for by this page",
        ],
    );
    let log = rows(
        &site.local,
        "select distinct trigger from meter_sync.meter_sync_log",
    )
    .await;
    assert_eq!(log, json!([{"trigger": "page"}]));
}

#[tokio::test]
async fn a_preview_has_a_page_of_its_own_and_writes_nothing() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'Boiler')")
        .await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    let path = browser.follow("/sync", "do=preview").await;
    assert_eq!(held::outcomes(&site).await, json!(["dry_run"]));
    let page = browser.read(&path).await;
    assert_says(
        &page,
        &[
            "Preview",
            "What a sync would do",
            "Would insert Boiler (id 1)",
            "Phases",
            "Connect",
            "Compare",
        ],
    );
    assert_eq!(rows(&site.local, "select * from meter").await, json!([]));
}

#[tokio::test]
async fn a_run_in_progress_shows_wherever_it_was_started_and_a_second_click_leads_to_it() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7)")
        .await;
    let (here, elsewhere) = (served(&site).await, served(&site).await);
    let held = Held::new(&site).await;
    Browser::new(&elsewhere).follow("/sync", "do=sync").await;
    held::running(&site).await;
    for served in [&here, &elsewhere] {
        let browser = Browser::new(served);
        let page = browser.read("/").await;
        assert_says(&page, &["A sync is running", "Syncing…"]);
        let led = browser.follow("/sync", "do=sync").await;
        let id =
            rows(&site.local, "select id from meter_sync.meter_sync_log").await[0]["id"].clone();
        assert_eq!(
            json!(led),
            json!(format!(
                "/runs/{}?notice=already_running",
                id.as_str().expect("an id")
            ))
        );
        assert_says(
            &browser.read(&led).await,
            &["Nothing was started", "A sync is running"],
        );
    }
    held.release().await;
    assert_eq!(held::outcomes(&site).await, json!(["succeeded"]));
}

#[tokio::test]
async fn a_failure_shows_its_time_its_cause_and_what_to_do() {
    let site = Site::new().await;
    site.on_remote("alter table meter rename to gone").await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    browser.follow("/sync", "do=sync").await;
    assert_eq!(held::outcomes(&site).await, json!(["failed"]));
    let page = browser.read("/").await;
    assert_says(
        &page,
        &[
            "Failing",
            "What to do:",
            "METER_SYNC_REMOTE_TABLE",
            "REMOTE_SCHEMA",
        ],
    );
}

#[tokio::test]
async fn with_the_local_database_down_the_page_still_says_so() {
    let settings = Site::new().await.settings().with(
        Setting::LocalUrl,
        "postgres://nobody:hunter2@127.0.0.1:1/nothing",
    );
    let served = Served::new(&settings).await;
    let page = Browser::new(&served).read("/").await;
    assert_says(
        &page,
        &[
            "Failing",
            "The local database does not answer",
            "127.0.0.1:1/nothing",
        ],
    );
    assert!(!page.contains("hunter2"), "{page}");
}

/// A site in sync with twenty meters, of which ten are gone on the remote since.
async fn emptied() -> Site {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) select n, 7, 'Meter ' || n from generate_series(1, 20) n").await;
    site.sync().await;
    site.on_remote("delete from meter where id > 10").await;
    site
}

async fn active(site: &Site) -> Value {
    rows(&site.local, "select count(*) from meter where active").await[0]["count"].clone()
}

/// The run whose plan was held back last.
async fn refused(site: &Site) -> String {
    let log = "select id from meter_sync.meter_sync_log where held_back is not null order by started_at desc limit 1";
    rows(&site.local, log).await[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

#[tokio::test]
async fn what_the_brake_held_back_is_asked_about_and_a_person_can_allow_it() {
    let site = emptied().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    browser.follow("/sync", "do=sync").await;
    held::outcomes(&site).await;
    let id = refused(&site).await;
    for path in ["/", &format!("/runs/{id}")] {
        let page = browser.read(path).await;
        assert_says(
            &page,
            &[
                "This needs a person",
                "10 of 20 active meters would be deactivated",
                "Meter 11 (id 11)",
                "Deactivate 10 meters",
            ],
        );
    }
    assert_eq!(active(&site).await, 20);

    let unticked = browser.send("/sync", &format!("do=sync&allow={id}")).await;
    assert_eq!(unticked.status(), 403, "the box was not ticked");
    assert_eq!(active(&site).await, 20);

    let path = browser
        .follow("/sync", &format!("do=sync&sure=yes&allow={id}"))
        .await;
    assert_eq!(
        held::outcomes(&site).await,
        json!(["succeeded", "refused", "succeeded"])
    );
    assert_says(
        &browser.read(&path).await,
        &[
            "Succeeded",
            "Deactivated 10",
            &format!("the plan of run {id} was allowed"),
        ],
    );
    assert_eq!(active(&site).await, 10);
}

#[tokio::test]
async fn what_was_allowed_is_that_plan_and_no_other() {
    let site = emptied().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    browser.follow("/sync", "do=preview").await;
    held::outcomes(&site).await;
    let id = refused(&site).await;
    site.on_remote("delete from meter where id = 10").await;
    browser
        .follow("/sync", &format!("do=sync&sure=yes&allow={id}"))
        .await;
    assert_eq!(
        held::outcomes(&site).await,
        json!(["succeeded", "dry_run", "refused"])
    );
    assert_eq!(active(&site).await, 20);
    assert_ne!(refused(&site).await, id, "it is asked about anew");
}

#[tokio::test]
async fn what_was_allowed_once_is_asked_about_again_when_it_comes_again() {
    let site = emptied().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    browser.follow("/sync", "do=sync").await;
    held::outcomes(&site).await;
    let allow = format!("do=sync&sure=yes&allow={}", refused(&site).await);
    browser.follow("/sync", &allow).await;
    held::outcomes(&site).await;
    // They come back, and are gone once more.
    site.on_remote("insert into meter (id, tenant_id, name) select n, 7, 'Meter ' || n from generate_series(11, 20) n")
        .await;
    site.sync().await;
    site.on_remote("delete from meter where id > 10").await;
    assert_eq!(browser.send("/sync", &allow).await.status(), 403);
    assert_eq!(active(&site).await, 20);
    let page = browser
        .read(&format!("/runs/{}", refused(&site).await))
        .await;
    assert_says(&page, &["A sync has succeeded since"]);
    assert!(!page.contains("name=\"allow\""), "{page}");
}

#[tokio::test]
async fn what_was_allowed_for_one_table_is_not_for_another() {
    let site = emptied().await;
    site.on_local(
        "create table meter_b (like meter including all); insert into meter_b select * from meter",
    )
    .await;
    let other = site.settings().with(Setting::LocalTable, "meter_b");
    let (here, there) = (served(&site).await, Served::new(&other).await);
    let (here, there) = (Browser::new(&here), Browser::new(&there));
    finish(&runs(&other), Request::new(Trigger::Cli)).await;
    let theirs = refused(&site).await;
    here.follow("/sync", "do=sync").await;
    held::outcomes(&site).await;
    let ours = refused(&site).await;
    let digests = rows(
        &site.local,
        "select distinct held_back->>'digest' from meter_sync.meter_sync_log where held_back is not null",
    );
    assert_eq!(digests.await.as_array().map(Vec::len), Some(2));
    let allow = |id: &str| format!("do=sync&sure=yes&allow={id}");
    assert_eq!(here.send("/sync", &allow(&theirs)).await.status(), 403);
    assert_eq!(there.send("/sync", &allow(&ours)).await.status(), 403);
    assert_eq!(here.open(&format!("/runs/{theirs}")).await.status(), 404);
    assert_eq!(active(&site).await, 20);
}

#[tokio::test]
async fn a_run_whose_process_died_is_not_called_running() {
    let site = Site::new().await;
    let run = site.sync().await.run_id;
    site.on_local("update meter_sync.meter_sync_log set outcome = null, finished_at = null")
        .await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    for path in ["/runs", &format!("/runs/{run}")] {
        let page = browser.read(path).await;
        assert_says(&page, &["Interrupted"]);
        assert!(!words(&page).contains("Running"), "{page}");
    }
    // The strip and the table of the status, too.
    assert!(!words(&browser.read("/").await).contains("Running"));
}

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
async fn assert_only_our_own(browser: &Browser<'_>, path: &str) {
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
    let closed = Served::new(&site.settings().with(Setting::Tokens, tokens)).await;
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
    let served = Served::new(&settings).await;
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
    held::outcomes(&site).await;
    let mcp = served
        .request("POST /mcp")
        .header("cookie", browser.cookie.clone().expect("a cookie"));
    assert_eq!(send(mcp).await.status(), 401, "a cookie is for the page");

    let out = browser.send("/sign-out", "").await;
    assert!(header(&out, "set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn who_may_only_read_has_no_buttons_and_cannot_send_their_forms() {
    let site = Site::new().await;
    let tokens = site
        .settings()
        .with(Setting::Tokens, format!("read:{READ}"));
    let served = Served::new(&tokens).await;
    let mut browser = Browser::new(&served);
    browser.sign_in(READ).await;
    let read_only = Served::new(&site.settings().with(Setting::ReadOnly, "true")).await;
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
    held::outcomes(&site).await;
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
        assert!(
            header(&response, "cache-control").contains("immutable"),
            "{asset}"
        );
    }
    assert_eq!(
        browser.open("/assets/0000000000000000.css").await.status(),
        404
    );
}

#[tokio::test]
async fn what_is_not_there_is_said_on_a_page() {
    let site = Site::new().await;
    site.sync().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    for path in [
        "/runs/none",
        "/runs/0190c2f1-7a00-7000-8000-000000000001",
        "/meters?id=99",
        "/meters?nothing=1",
        "/meters",
    ] {
        let response = browser.open(path).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_says(
            &response.text().await.expect("a body"),
            &["There is no such", "Back to the status"],
        );
    }
}

#[tokio::test]
async fn a_meter_has_a_page_with_its_row_and_its_history() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'Boiler')")
        .await;
    site.sync().await;
    site.on_remote("update meter set name = 'Main boiler'")
        .await;
    site.sync().await;
    let served = served(&site).await;
    let page = Browser::new(&served).read("/meters?id=1").await;
    assert_says(
        &page,
        &[
            "Main boiler (id 1)",
            "site_note ours",
            "name Boiler → becomes Main boiler",
            "Inserted",
        ],
    );
}

#[tokio::test]
async fn a_change_names_its_meter_even_where_the_name_is_not_what_changed() {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name, notes) values (1, 7, 'Boiler', ''), (2, 7, 'Chiller', ''), (3, 7, null, '')",
    )
    .await;
    site.sync().await;
    site.on_remote(
        "update meter set notes = 'moved' where id <> 2; delete from meter where id = 2",
    )
    .await;
    let run = site.sync().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    let run = format!("/runs/{}", run.run_id);
    for path in ["/", run.as_str()] {
        assert_says(
            &browser.read(path).await,
            &[
                "Deactivated Chiller (id 2)",
                "Updated Boiler (id 1)",
                "Updated id 3",
            ],
        );
    }
    site.on_local("alter table meter rename name to label")
        .await;
    assert_says(&browser.read(&run).await, &["Updated id 1"]);
}

#[tokio::test]
async fn every_page_says_whose_meters_it_is_about() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'Boiler')")
        .await;
    let run = site.sync().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    let run = format!("/runs/{}", run.run_id);
    for path in ["/", "/runs", run.as_str(), "/meters?id=1", "/connections"] {
        assert_says(&browser.read(path).await, &["Acme (7) at "]);
    }
}

#[tokio::test]
async fn the_runs_are_listed_page_by_page_and_filtered() {
    let site = Site::new().await;
    site.sync().await;
    let earlier = "insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, started_at, finished_at, outcome)
        select gen_random_uuid(), l.tenant, l.local_table, 'schedule', l.started_at - n * interval '1 hour',
            l.started_at - n * interval '1 hour', case when n % 10 = 0 then 'failed' else 'no_change' end
        from meter_sync.meter_sync_log l, generate_series(1, 119) n";
    site.on_local(earlier).await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    let mut path = "/runs".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = browser.read(&path).await;
        let links = page.split('"').filter(|text| text.starts_with("/runs/"));
        seen.extend(links.map(str::to_owned));
        let next = page.split('"').find(|text| text.contains("before="));
        let Some(next) = next else { break };
        path = next.replace("&amp;", "&");
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((all, seen.len()), (120, 120));
    let problems = browser.read("/runs?show=problems").await;
    assert_eq!(problems.matches("/runs/").count(), 11);
    assert!(!problems.contains("No change"), "{problems}");
}

#[tokio::test]
async fn a_page_stays_small_however_much_there_is_to_tell() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name, notes) select n, 7, 'Meter ' || n, repeat('note ', 500) from generate_series(1, 10000) n").await;
    site.sync().await;
    let earlier = "insert into meter_sync.meter_sync_log
            (id, tenant, local_table, trigger, started_at, finished_at, outcome, updated, error_code, error_message)
        select gen_random_uuid(), l.tenant, l.local_table, 'schedule', l.started_at - n * interval '1 hour',
            l.started_at - n * interval '1 hour', 'failed', n, 'REMOTE_UNREACHABLE', repeat('long ', 100)
        from meter_sync.meter_sync_log l, generate_series(1, 5000) n";
    site.on_local(earlier).await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    let page = browser.read("/").await;
    assert!(page.len() < 100_000, "{} bytes", page.len());
    assert_says(&page, &["10 000 active"]);
}

#[tokio::test]
async fn the_check_of_both_connections_can_be_read_on_a_page() {
    let site = Site::new().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    assert_says(
        &browser.read("/connections").await,
        &["remote connection", "connected in", "clocks", "remote +"],
    );
    assert_says(
        &browser.read("/").await,
        &["Checked", "connected in", "clocks"],
    );
}
