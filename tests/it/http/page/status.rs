//! What the page at `/` says in every state.

use chrono::{DurationRound, TimeDelta};
use meter_sync::config::Setting;
use meter_sync::machine_clock;
use meter_sync::mirrors::SlotClaimOutcome;
use serde_json::json;

use super::{Browser, assert_says, served, words};
use crate::support::http_server::HttpServer;
use crate::support::run_hold::{self, RunHold};
use crate::support::site::{NOWHERE, Site, mirror, rows};

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
        let served = HttpServer::new(&settings).await;
        assert_says(&Browser::new(&served).read("/").await, &[said]);
    }
}

#[tokio::test]
async fn missed_slots_and_who_holds_the_schedule_are_those_of_our_tenant() {
    let site = Site::new().await;
    let settings = site.settings().with(Setting::Schedule, "0 * * * *");
    let runs = mirror(&settings);
    let hours_ago = |hours| {
        machine_clock::now()
            .duration_trunc(TimeDelta::hours(1))
            .expect("an hour")
            - TimeDelta::hours(hours)
    };
    let claim = runs.claim_slot(hours_ago(5), false).await;
    assert_eq!(claim.expect("a claim"), SlotClaimOutcome::Ours);
    site.sync().await;
    site.on_local("update meter_sync.meter_sync_log set started_at = started_at - interval '5 h', finished_at = finished_at - interval '5 h'")
        .await;
    site.on_local("insert into meter_sync.meter_sync_slot (tenant, local_table, slot, claimed_by) values ('8', 'public.meter', now(), 'host-of-another 1 x')")
        .await;
    let claim = runs.claim_slot(hours_ago(2), false).await;
    assert_eq!(claim.expect("a claim"), SlotClaimOutcome::Ours);
    // A process that only shows takes no slot itself.
    let served = HttpServer::new(&settings.with(Setting::ReadOnly, "true")).await;
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
    let served = HttpServer::new(&meter_sync::config::CommandLineSettings::default()).await;
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
    assert_eq!(page.matches("disabled").count(), 3, "all buttons: {page}");
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
    assert_eq!(run_hold::outcomes(&site).await, json!(["succeeded"]));
    site.on_remote("update meter set name = 'Main boiler' where id = 1")
        .await;
    browser.follow("/sync", "do=sync").await;
    run_hold::outcomes(&site).await;
    let page = browser.read("/").await;
    assert_says(
        &page,
        &[
            "In sync as of ",
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
    assert_eq!(run_hold::outcomes(&site).await, json!(["dry_run"]));
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
    let held = RunHold::new(&site).await;
    Browser::new(&elsewhere).follow("/sync", "do=sync").await;
    run_hold::running(&site).await;
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
    assert_eq!(run_hold::outcomes(&site).await, json!(["succeeded"]));
}

#[tokio::test]
async fn a_failure_shows_its_time_its_cause_and_what_to_do() {
    let site = Site::new().await;
    site.on_remote("alter table meter rename to gone").await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    browser.follow("/sync", "do=sync").await;
    assert_eq!(run_hold::outcomes(&site).await, json!(["failed"]));
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
    let settings = Site::new()
        .await
        .settings()
        .with(Setting::LocalUrl, NOWHERE);
    let served = HttpServer::new(&settings).await;
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
