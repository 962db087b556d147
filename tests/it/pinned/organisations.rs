//! Several organisations and several tables over one local database.

use meter_sync::config::{Setting, Settings};
use meter_sync::error::ErrorCode;
use meter_sync::meter::{Outcome, Trigger};
use meter_sync::runs::Request;
use serde_json::json;

use super::site;
use crate::support::proxy::{Fault, Proxy};
use crate::support::site::{Site, finish, rows, runs, settings};
use crate::support::wait;

fn of_tenant(site: &Site, tenant: &str) -> Settings {
    site.settings().with(Setting::TenantId, tenant)
}

#[tokio::test]
async fn of_two_organisations_that_start_at_once_one_gets_the_table() {
    let site = site("name text", "").await;
    site.on_remote("insert into meter values (1, 7, 'ours', true), (2, 8, 'theirs', true)")
        .await;
    let (remote, remote_url) = Proxy::before(&site.pair.remote_url).await;
    let slow = settings(&remote_url, &site.pair.local_url).with(Setting::TenantId, "8");
    let slow = runs(&slow);
    remote.set(Fault::Stall);
    let others = async {
        let logged = "select tenant from meter_sync.meter_sync_log";
        let started = async || {
            let exists = "select to_regclass('meter_sync.meter_sync_log') is not null as yes";
            rows(&site.local, exists).await == json!([{"yes": true}])
                && rows(&site.local, logged).await == json!([{"tenant": "8"}])
        };
        wait::until("the other organisation's run has begun", started).await;
        let ours = runs(&of_tenant(&site, "7"));
        let ours = finish(&ours, Request::new(Trigger::Cli)).await;
        remote.set(Fault::None);
        ours
    };
    let (theirs, ours) = tokio::join!(finish(&slow, Request::new(Trigger::Cli)), others);
    let code = ours.error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::TenantMismatch), "{ours:#?}");
    assert_eq!(theirs.outcome, Some(Outcome::Succeeded), "{theirs:#?}");
    let meters = rows(&site.local, "select name from meter").await;
    assert_eq!(meters, json!([{"name": "theirs"}]));
}
