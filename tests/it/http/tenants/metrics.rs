//! The metrics of a process that keeps several tenants.

use meter_sync::config::Setting;

use super::{of_three, site, sync};
use crate::http::v1::api_client::ApiClient;
use crate::support::proxy::{Fault, Proxy};
use crate::support::scrape::scrape;
use crate::support::site::{Site, settings};

const LAST_SUCCESS: &str = "meter_sync_last_success_timestamp_seconds";

#[tokio::test]
async fn tenants_are_counted_by_health_and_few_have_series_of_their_own() {
    let site = site().await;
    let api = ApiClient::new(&of_three(&site)).await;
    sync(&api, "7").await;
    sync(&api, "8").await;
    let two = scrape(&api.served.address).await;
    assert_eq!(two.value("meter_sync_tenants{health=\"paused\"}"), 2.0);
    assert_eq!(two.value("meter_sync_tenants{health=\"never_run\"}"), 1.0);
    assert_eq!(two.value("meter_sync_tenants{health=\"failing\"}"), 0.0);
    assert_eq!(two.sum("meter_sync_tenants"), 3.0);
    assert_eq!(two.health(), "never_run");
    let of = |tenant: &str, health: &str| {
        two.value(&format!(
            "meter_sync_tenant_health{{tenant=\"{tenant}\",health=\"{health}\"}}"
        ))
    };
    assert_eq!((of("7", "paused"), of("7", "ok")), (1.0, 0.0));
    assert_eq!(of("9", "never_run"), 1.0);
    assert!(!two.has(LAST_SUCCESS), "tenant 9 was never in sync");
    let success = "meter_sync_tenant_last_success_timestamp_seconds";
    assert!(two.has(&format!("{success}{{tenant=\"8\"}}")));
    assert!(!two.has(&format!("{success}{{tenant=\"9\"}}")));
    sync(&api, "9").await;
    let three = scrape(&api.served.address).await;
    let first = three.value(&format!("{success}{{tenant=\"7\"}}"));
    assert_eq!(three.value(LAST_SUCCESS), first, "the oldest counts");
    assert_eq!(three.value("meter_sync_running"), 0.0);
    assert_eq!(three.value("meter_sync_tenants_running"), 0.0);
}

#[tokio::test]
async fn drifted_columns_of_all_tenants_are_counted() {
    let site = site().await;
    let api = ApiClient::new(&of_three(&site)).await;
    let drifted = "meter_sync_drifted_columns";
    let before = scrape(&api.served.address).await;
    assert_eq!(before.value(drifted), 0.0, "nothing is recorded yet");
    sync(&api, "7").await;
    sync(&api, "8").await;
    site.on_remote("alter table meter rename column name to label")
        .await;
    sync(&api, "7").await;
    let one = scrape(&api.served.address).await;
    assert_eq!(one.value(drifted), 1.0);
    sync(&api, "8").await;
    let both = scrape(&api.served.address).await;
    assert_eq!(both.value(drifted), 2.0);
}

#[tokio::test]
async fn beyond_a_hundred_tenants_none_has_a_series_of_its_own() {
    let site = site().await;
    for (count, has_series) in [(100, true), (101, false)] {
        let fill = format!(
            "delete from tenant; insert into tenant select n, 'tenant ' || n from generate_series(1, {count}) n"
        );
        site.on_local(&fill).await;
        let settings = site.settings().with(Setting::Tenants, "all");
        let api = ApiClient::new(&settings).await;
        let scrape = scrape(&api.served.address).await;
        assert_eq!(scrape.sum("meter_sync_tenants"), f64::from(count));
        assert_eq!(scrape.text.contains("tenant=\""), has_series, "{count}");
    }
}

#[tokio::test]
async fn an_id_cannot_break_out_of_its_label() {
    let local = "create table meter (id bigint primary key, tenant_id text not null, name text, active boolean not null default true)";
    let remote = "create table meter (id bigint primary key, tenant_id text not null, name text, active boolean not null default true)";
    let site = Site::with_schemas(remote, local).await;
    let query = r#"select E'a"b\\c\nd' as id union all select 'e'"#;
    let api = ApiClient::new(&site.settings().with(Setting::TenantsQuery, query)).await;
    let scrape = scrape(&api.served.address).await;
    let series = r#"meter_sync_tenant_health{tenant="a\"b\\c\nd",health="never_run"}"#;
    assert_eq!(scrape.value(series), 1.0);
}

#[tokio::test]
async fn a_local_database_that_hangs_is_down_and_the_scrape_ends() {
    let site = site().await;
    let (proxy, url) = Proxy::before(&site.pair.local_url).await;
    let settings = settings(&site.pair.remote_url, &url).with(Setting::Tenants, "7,8,9");
    let api = ApiClient::new(&settings).await;
    assert_eq!(
        scrape(&api.served.address).await.sum("meter_sync_tenants"),
        3.0
    );
    proxy.set(Fault::Stall);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await; // what was published is old by then
    let begun = std::time::Instant::now();
    let frozen = scrape(&api.served.address).await;
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    assert_eq!(frozen.value("meter_sync_database_up{side=\"local\"}"), 0.0);
    assert_eq!(frozen.health(), "failing");
    assert!(!frozen.has("meter_sync_tenants_running"), "it is not known");
}
