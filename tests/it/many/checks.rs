//! `meter-sync check` of many tenants: what it looks at for all of them.

use meter_sync::check::{self, Finding, Verdict};
use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::error::ErrorCode;

use super::{of_all, three_tenants};
use crate::support::site::{Site, config};

async fn check(settings: &CommandLineSettings) -> Vec<Finding> {
    check::run(&config(settings)).await
}

/// What was found of a subject, as one text.
fn found(findings: &[Finding], subject: &str) -> (&'static str, String) {
    let finding = findings.iter().find(|finding| finding.subject == subject);
    let finding = finding.unwrap_or_else(|| panic!("no finding of {subject}: {findings:#?}"));
    match &finding.verdict {
        Verdict::Ok(text) => ("ok", text.clone()),
        Verdict::Warning(text) => ("warning", text.clone()),
        Verdict::Failed(failure) => ("failed", failure.message.clone()),
    }
}

#[tokio::test]
async fn tenants_without_meters_on_the_remote_are_named() {
    let site = three_tenants().await;
    let well = check(&of_all(&site)).await;
    assert_eq!(
        found(&well, "remote tenants"),
        ("ok", "each of the 3 has meters there".to_owned())
    );
    site.on_local("insert into tenant select n, 'new' from generate_series(100, 109) n")
        .await;
    let (verdict, text) = found(&check(&of_all(&site)).await, "remote tenants");
    assert_eq!(verdict, "warning");
    let expected = "of 13, 10 have no meters there: 100, 101, 102, 103, 104 and 5 more.";
    assert!(text.starts_with(expected), "{text}");
}

#[tokio::test]
async fn an_id_that_the_remote_column_does_not_take_is_found() {
    let site = three_tenants().await;
    site.on_local("alter table meter alter tenant_id type text")
        .await;
    let settings = site.settings().with(Setting::Tenants, "7,8,9,seven");
    let (verdict, text) = found(&check(&settings).await, "remote tenants");
    assert_eq!(verdict, "failed");
    assert!(text.contains("bigint"), "{text}");
}

#[tokio::test]
async fn local_tables_that_are_missing_or_can_have_no_name_are_named() {
    let site = three_tenants().await;
    site.on_local("create schema site_7; create table site_7.meter (like meter including all)")
        .await;
    let long = "9".repeat(60);
    site.on_local(&format!(
        "alter table tenant alter id type text; insert into tenant values ('{long}', 'long')"
    ))
    .await;
    let settings = of_all(&site).with(Setting::LocalTable, "site_{tenant}.meter");
    let findings = check(&settings).await;
    assert_eq!(
        found(&findings, "local tables"),
        (
            "failed",
            "Of 3 local tables, 2 are missing: site_8.meter, site_9.meter.".to_owned()
        )
    );
    let (verdict, text) = found(&findings, "local table names");
    assert_eq!(verdict, "failed");
    assert!(text.contains(&long), "{text}");
    site.on_local(
        "create schema site_8; create table site_8.meter (like meter including all);
         create schema site_9; create table site_9.meter (like meter including all)",
    )
    .await;
    let settings = settings.with(Setting::Tenants, "7,8,9");
    let findings = check(&settings).await;
    let expected = ("ok", "each of the 3 tenants has one".to_owned());
    assert_eq!(found(&findings, "local tables"), expected);
}

/// The URL of the remote with a role that may read it and open so many connections.
pub(super) async fn limited(site: &Site, connections: u32) -> String {
    let database = site.pair.remote_url.rsplit('/').next().unwrap();
    let role = format!("few_of_{database}");
    let sql = format!(
        "do $$ begin if not exists (select from pg_roles where rolname = '{role}') then create role {role} login; end if; end $$;
         alter role {role} connection limit {connections}; grant select on meter to {role}"
    );
    site.on_remote(&sql).await;
    site.pair
        .remote_url
        .replace("postgres@", &format!("{role}@"))
}

#[tokio::test]
async fn a_connection_limit_is_compared_with_what_the_workers_need() {
    let site = three_tenants().await;
    let few = of_all(&site).with(Setting::RemoteUrl, limited(&site, 6).await);
    let (verdict, text) = found(&check(&few).await, "remote connections");
    assert_eq!(verdict, "warning");
    let is_told = ["METER_SYNC_WORKERS", "connection limit 7"];
    assert!(is_told.iter().all(|part| text.contains(part)), "{text}");
    let fewer = few.with(Setting::Workers, "3");
    let (verdict, text) = found(&check(&fewer).await, "remote connections");
    assert_eq!(verdict, "ok", "{text}");
    let none = of_all(&site).with(Setting::RemoteUrl, limited(&site, 0).await);
    let findings = check(&none).await;
    let failed = findings
        .iter()
        .any(|finding| matches!(&finding.verdict, Verdict::Failed(failure) if failure.code == ErrorCode::RemoteUnreachable));
    assert!(failed, "{findings:#?}");
    assert!(
        findings
            .iter()
            .all(|found| found.subject != "remote tenants"),
        "{findings:#?}"
    );
}
