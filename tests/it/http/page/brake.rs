//! The question that the brake leaves to a person, and what a yes to it is worth.

use meter_sync::config::Setting;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::RunTrigger;
use serde_json::{Value, json};

use super::{Browser, assert_says, served};
use crate::support::http_server::HttpServer;
use crate::support::run_hold;
use crate::support::site::{Site, finish, mirror, rows};

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
    run_hold::outcomes(&site).await;
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
        run_hold::outcomes(&site).await,
        json!(["succeeded", "refused", "succeeded"])
    );
    assert_says(
        &browser.read(&path).await,
        &[
            "Succeeded",
            "Deactivated 10",
            &format!("to carry out the deactivations that run {id} showed"),
        ],
    );
    assert_eq!(active(&site).await, 10);
}

#[tokio::test]
async fn no_meter_is_deactivated_that_was_not_shown() {
    let site = emptied().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    browser.follow("/sync", "do=preview").await;
    run_hold::outcomes(&site).await;
    let id = refused(&site).await;
    site.on_remote("delete from meter where id = 10").await;
    let path = browser
        .follow("/sync", &format!("do=sync&sure=yes&allow={id}"))
        .await;
    assert_eq!(
        run_hold::outcomes(&site).await,
        json!(["succeeded", "dry_run", "refused"])
    );
    assert_eq!(active(&site).await, 20);
    let anew = refused(&site).await;
    assert_ne!(anew, id, "it is asked about anew");
    assert_says(
        &browser.read(&path).await,
        &[
            "does not cover 1 of them",
            "11 of 20 active meters",
            "This needs a person",
        ],
    );
    browser
        .follow("/sync", &format!("do=sync&sure=yes&allow={anew}"))
        .await;
    run_hold::outcomes(&site).await;
    assert_eq!(active(&site).await, 9);
}

#[tokio::test]
async fn a_remote_that_changes_each_minute_can_be_approved() {
    let site = emptied().await;
    site.on_remote("update meter set active = false where id = 1")
        .await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    browser.follow("/sync", "do=sync").await;
    run_hold::outcomes(&site).await;
    let id = refused(&site).await;
    let page = browser.read(&format!("/runs/{id}")).await;
    assert_says(
        &page,
        &[
            "10 are gone from the central database, 1 was switched off there",
            "Meter 1 (id 1)",
        ],
    );
    site.on_remote("update meter set notes = 'a minute later'; insert into meter (id, tenant_id) values (30, 7)").await;
    browser
        .follow("/sync", &format!("do=sync&sure=yes&allow={id}"))
        .await;
    assert_eq!(
        run_hold::outcomes(&site).await,
        json!(["succeeded", "refused", "succeeded"])
    );
    assert_eq!(active(&site).await, 10);
}

#[tokio::test]
async fn what_was_allowed_once_is_asked_about_again_when_it_comes_again() {
    let site = emptied().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    browser.follow("/sync", "do=sync").await;
    run_hold::outcomes(&site).await;
    let allow = format!("do=sync&sure=yes&allow={}", refused(&site).await);
    browser.follow("/sync", &allow).await;
    run_hold::outcomes(&site).await;
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
async fn a_run_that_held_nothing_back_cannot_be_approved() {
    let site = emptied().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    let log = rows(&site.local, "select id from meter_sync.meter_sync_log").await;
    let id = log[0]["id"].as_str().expect("an id");
    let path = browser
        .follow("/sync", &format!("do=sync&sure=yes&allow={id}"))
        .await;
    assert!(path.starts_with(&format!("/runs/{id}")), "{path}");
    assert_says(
        &browser.read(&path).await,
        &["Nothing was started: this run held no meters back."],
    );
    assert_eq!(run_hold::outcomes(&site).await, json!(["succeeded"]));
}

#[tokio::test]
async fn what_was_allowed_for_one_table_is_not_for_another() {
    let site = emptied().await;
    site.on_local(
        "create table meter_b (like meter including all); insert into meter_b select * from meter",
    )
    .await;
    let other = site.settings().with(Setting::LocalTable, "meter_b");
    let (here, there) = (served(&site).await, HttpServer::new(&other).await);
    let (here, there) = (Browser::new(&here), Browser::new(&there));
    finish(&mirror(&other), RunRequest::new(RunTrigger::Cli)).await;
    let theirs = refused(&site).await;
    here.follow("/sync", "do=sync").await;
    run_hold::outcomes(&site).await;
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
