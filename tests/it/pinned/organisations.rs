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

const TENANTS: &str = "select distinct tenant from meter_sync.meter_sync_log";

#[tokio::test]
async fn spellings_of_one_number_are_one_organisation() {
    let site = site("name text", "").await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    for tenant in ["7", "007", "+7"] {
        let runs = runs(&of_tenant(&site, tenant));
        let run = finish(&runs, Request::new(Trigger::Cli)).await;
        assert!(run.outcome.is_some_and(Outcome::is_success), "{run:#?}");
        assert_eq!(run.counts.changes() + run.counts.unchanged, 1, "{run:#?}");
    }
    assert_eq!(rows(&site.local, TENANTS).await, json!([{"tenant": "7"}]));
    let slot = "2026-11-23T10:00:00Z".parse().expect("a time");
    let (one, other) = (runs(&of_tenant(&site, "07")), runs(&of_tenant(&site, "7")));
    assert_eq!(one.claim_slot(slot).await, Ok(true));
    assert_eq!(other.claim_slot(slot).await, Ok(false));
}

#[tokio::test]
async fn a_uuid_in_capitals_is_the_same_organisation() {
    let id = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
    let meters = "name text, active boolean not null";
    let site = Site::with_schemas(
        &format!(
            "create table meter (id bigint primary key, tenant_id uuid, {meters});
             insert into meter values (1, '{id}', 'a', true)"
        ),
        &format!("create table meter (id bigint primary key, {meters})"),
    )
    .await;
    for tenant in [id, &id.to_uppercase()] {
        let runs = runs(&of_tenant(&site, tenant));
        let run = finish(&runs, Request::new(Trigger::Cli)).await;
        assert!(run.outcome.is_some_and(Outcome::is_success), "{run:#?}");
    }
    assert_eq!(rows(&site.local, TENANTS).await, json!([{"tenant": id}]));
}

#[tokio::test]
async fn an_id_that_the_local_tenant_column_refuses_is_a_wrong_setting() {
    let meters = "id bigint primary key, tenant_id bigint, active boolean";
    let create = format!("create table meter ({meters})");
    let mut site = Site::with_schemas(&create, &create).await;
    site.reconfigure(&of_tenant(&site, "Acme"));
    let run = site.sync().await;
    let error = run.error.as_ref().expect("an error");
    assert_eq!(error.code, ErrorCode::ConfigInvalid, "{run:#?}");
    assert!(error.message.contains("Acme"), "{error:?}");
    assert!(error.remedy.contains("METER_SYNC_TENANT_ID"), "{error:?}");
    let status = site.status().await;
    let last = status.last_run.map(|run| run.run_id);
    assert_eq!(last, Some(run.run_id));
    assert!(status.next_step.contains("METER_SYNC_TENANT_ID"));
}
