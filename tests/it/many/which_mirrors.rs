//! Which mirrors a process keeps, how one is found, and the list of them.

use std::time::Duration;

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{Mirrors, RunRequest};
use meter_sync::model::{Health, RunTrigger};
use meter_sync::reports::status::StatusQuery;
use meter_sync::reports::tenant_list::TenantsQuery;
use serde_json::json;

use super::{loaded, of_all, sweep, three_tenants};
use crate::support::run_hold::RunHold;
use crate::support::site::{self, rows};

async fn ids(mirrors: &Mirrors) -> Vec<(String, Option<String>)> {
    let all = mirrors.all().await.expect("the mirrors");
    all.iter()
        .map(|known| (known.id.as_str().to_owned(), known.name.clone()))
        .collect()
}

fn named(list: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
    list.iter()
        .map(|(id, name)| ((*id).to_owned(), name.map(str::to_owned)))
        .collect()
}

#[tokio::test]
async fn the_tenants_are_those_of_the_list_the_table_or_the_query() {
    let site = three_tenants().await;
    let settings = site.settings();
    let listed = site::mirrors(&settings.clone().with(Setting::Tenants, "9,07,12"));
    let expected = [("7", Some("Acme")), ("9", Some("Cole")), ("12", None)];
    assert_eq!(ids(&listed).await, named(&expected));
    let all = site::mirrors(&of_all(&site));
    let expected = [
        ("7", Some("Acme")),
        ("8", Some("Byte")),
        ("9", Some("Cole")),
    ];
    assert_eq!(ids(&all).await, named(&expected));
    let query = "select id, upper(name) as name from tenant where id > 7";
    let asked = site::mirrors(&settings.with(Setting::TenantsQuery, query));
    assert_eq!(
        ids(&asked).await,
        named(&[("8", Some("BYTE")), ("9", Some("COLE"))])
    );
}

#[tokio::test]
async fn a_tenant_that_is_added_while_the_process_runs_is_known_without_a_restart() {
    let site = three_tenants().await;
    let mirrors = loaded(&site).await;
    site.on_local("insert into tenant values (10, 'Dome')")
        .await;
    site.on_remote("insert into tenant values (10, 'Dome'); insert into meter values (1000, 10, 'its first', true)")
        .await;
    assert!(mirrors.find(Some("10")).await.is_ok());
    let report = sweep(&mirrors).await.record;
    assert_eq!((report.counts.mirrors, report.counts.succeeded), (4, 1));
    site.on_local("delete from tenant where id = 10").await;
    assert_eq!(sweep(&mirrors).await.record.counts.mirrors, 3);
}

#[tokio::test]
async fn a_tenant_must_be_named_among_several_and_an_unknown_one_is_told_the_nearest() {
    let site = three_tenants().await;
    let mirrors = site::mirrors(&of_all(&site));
    let refused = mirrors.find(None).await.expect_err("none is named");
    assert_eq!(refused.code, ErrorCode::TenantRequired);
    assert!(refused.message.contains("7 (Acme)"), "{refused}");
    let refused = mirrors.find(Some("Byt")).await.expect_err("no id");
    assert_eq!(refused.code, ErrorCode::TenantUnknown);
    assert!(
        refused.message.contains("the nearest are 8 (Byte)"),
        "{refused}"
    );
    let found = mirrors.find(Some("008")).await.expect("tenant 8");
    let given = found.mapping().tenant.as_ref().map(ToString::to_string);
    assert_eq!(given.as_deref(), Some("8"));
}

#[tokio::test]
async fn each_tenant_can_have_a_table_of_its_own() {
    let site = three_tenants().await;
    site.on_local(
        "drop table meter; create schema site_7; create schema site_8; create schema \"site_A-9\"",
    )
    .await;
    for schema in ["site_7", "site_8"] {
        let table = format!(
            "create table {schema}.meter (id bigint primary key, name text, active boolean not null default true)"
        );
        site.on_local(&table).await;
    }
    let settings = site
        .settings()
        .with(Setting::Tenants, "7,8")
        .with(Setting::LocalTable, "site_{tenant}.meter");
    let mirrors = site::mirrors(&settings);
    let report = sweep(&mirrors).await;
    assert_eq!(report.record.counts.succeeded, 2, "{report:?}");
    for (table, tenant) in [("site_7.meter", 7), ("site_8.meter", 8)] {
        let here = format!("select id, name from {table} order by id");
        let there = format!("select id, name from meter where tenant_id = {tenant} order by id");
        assert_eq!(
            rows(&site.local, &here).await,
            rows(&site.remote, &there).await
        );
    }
    let status = mirrors.overview(&TenantsQuery::default()).await;
    assert_eq!(status.health, Health::Paused, "{status:#?}");
    assert_eq!(sweep(&mirrors).await.record.counts.failed, 0);
}

#[tokio::test]
async fn the_list_counts_all_and_shows_the_worst_first_in_pages() {
    let site = three_tenants().await;
    let mirrors = loaded(&site).await;
    site.on_remote("delete from meter where tenant_id = 8")
        .await;
    sweep(&mirrors).await;
    let status = mirrors.overview(&TenantsQuery::default()).await;
    let tenants = status.tenants.expect("a list");
    assert_eq!(
        (
            tenants.total,
            tenants.by_health.failing,
            tenants.by_health.paused
        ),
        (3, 1, 2)
    );
    let shown: Vec<&str> = tenants
        .list
        .iter()
        .map(|one| one.tenant_id.as_str())
        .collect();
    assert_eq!(shown.first(), Some(&"8"), "{shown:?}");
    assert_eq!(status.summary, "2 of 3 tenants are in sync; 1 failing.");
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let query = TenantsQuery {
            limit: 1,
            before: before.take(),
            ..TenantsQuery::default()
        };
        let page = mirrors.overview(&query).await;
        let list = page.tenants.expect("a list").list;
        seen.extend(list.into_iter().map(|one| one.tenant_id));
        before = page.next_before;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, shown);
    let beyond = TenantsQuery {
        before: Some("unknown".to_owned()),
        ..TenantsQuery::default()
    };
    let beyond = mirrors.overview(&beyond).await;
    assert_eq!(beyond.tenants.expect("a list").list, []);
    let found = TenantsQuery {
        search: Some("cOL".to_owned()),
        ..TenantsQuery::default()
    };
    let found = mirrors.overview(&found).await.tenants.expect("a list");
    assert_eq!((found.matching, found.total), (1, 3));
    let visible = TenantsQuery {
        visible: Some(vec!["7".to_owned()]),
        ..TenantsQuery::default()
    };
    let visible = mirrors.overview(&visible).await.tenants.expect("a list");
    assert_eq!(
        (visible.total, visible.by_health.failing, visible.last_sweep),
        (1, 0, None)
    );
}

#[tokio::test]
async fn runs_of_other_processes_are_seen_within_seconds_and_ones_own_at_once() {
    let site = three_tenants().await;
    let (ours, theirs) = (loaded(&site).await, site::mirrors(&of_all(&site)));
    let shutdown = tokio_util::sync::CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();
    #[expect(clippy::disallowed_methods, reason = "it ends with the token")]
    tokio::spawn(ours.clone().observe(shutdown));
    let counts = async |mirrors: &Mirrors| {
        let status = mirrors.overview(&TenantsQuery::default()).await;
        status.tenants.map(|tenants| tenants.by_health.failing)
    };
    assert_eq!(counts(&ours).await, Some(0));
    site.on_remote("delete from meter where tenant_id = 9")
        .await;
    sweep(&theirs).await;
    let seen = tokio::time::timeout(Duration::from_secs(5), async {
        while counts(&ours).await != Some(1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(seen.await.is_ok());
    site.on_remote("delete from meter where tenant_id = 8")
        .await;
    sweep(&ours).await;
    assert_eq!(counts(&ours).await, Some(2));
    let logged = rows(
        &site.local,
        "select count(*) from meter_sync.meter_sync_sweep",
    )
    .await;
    assert_eq!(logged, json!([{"count": 3}]));
}

#[tokio::test]
async fn a_tenant_whose_id_cannot_be_used_fails_alone_and_shows_nothing_of_others() {
    let site = three_tenants().await;
    let settings = site.settings().with(Setting::Tenants, "7,8,x9");
    let mirrors = site::mirrors(&settings);
    let report = sweep(&mirrors).await.record;
    assert_eq!((report.counts.succeeded, report.counts.failed), (2, 1));
    let history = async |id: &str| {
        let mirror = mirrors.find(Some(id)).await.expect("a mirror");
        let status = mirror.status(&StatusQuery::default()).await;
        status.expect("a status")
    };
    assert_eq!(history("7").await.health, Health::Paused);
    assert_eq!(history("7").await.history.len(), 1);
    let strange = history("x9").await;
    assert_eq!(strange.history.len(), 1, "{strange:#?}");
    let code = strange.history[0].error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::ConfigInvalid));
    let list = mirrors.overview(&TenantsQuery::default()).await;
    let by_health = list.tenants.expect("a list").by_health;
    assert_eq!((by_health.failing, by_health.paused), (1, 2));
}

#[tokio::test]
async fn a_sweep_waits_for_requested_runs_that_use_all_connections() {
    let site = three_tenants().await;
    site.on_remote("insert into meter values (1010, 10, 'one', true)")
        .await;
    let settings = site.settings().with(Setting::Tenants, "7,8,9,10");
    let settings = settings
        .with(Setting::Workers, "1")
        .with(Setting::ConnectTimeout, "3s");
    let mirrors = site::mirrors(&settings);
    let held = RunHold::new(&site).await;
    let mut tickets = Vec::new();
    for id in ["7", "8", "9"] {
        let mirror = mirrors.find(Some(id)).await.expect("a mirror");
        let requested = mirror.request(RunRequest::new(RunTrigger::Cli)).await;
        tickets.push(requested.expect("a run"));
    }
    // Longer than a request waits.
    let release = async {
        tokio::time::sleep(Duration::from_millis(3500)).await;
        held.release().await;
    };
    let (report, ()) = tokio::join!(sweep(&mirrors), release);
    let failed = report
        .failed
        .iter()
        .map(|(known, code)| (known.id.as_str(), *code));
    for (id, code) in failed {
        assert_ne!(id, "10", "{code:?}");
        assert_eq!(code, ErrorCode::AlreadyRunning, "tenant {id}");
    }
    let synced = "select count(*) from meter where tenant_id = 10";
    assert_eq!(rows(&site.local, synced).await, json!([{"count": 1}]));
}
