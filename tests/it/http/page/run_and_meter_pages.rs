//! The pages of runs, of one run, of a meter and of the connections.

use super::{Browser, assert_says, served, words};
use crate::support::site::Site;

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
async fn the_check_of_both_connections_can_be_read_on_a_page() {
    let site = Site::new().await;
    let served = served(&site).await;
    let browser = Browser::new(&served);
    assert_says(
        &browser.read("/connections").await,
        &["Nothing has been looked at", "Check both now"],
    );
    assert_eq!(browser.follow("/connections", "").await, "/connections");
    assert_says(
        &browser.read("/connections").await,
        &["remote connection", "connected in", "clocks", "remote +"],
    );
    assert_says(
        &browser.read("/").await,
        &["Checked", "connected in", "clocks"],
    );
}
