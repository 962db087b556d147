//! Roles with fewer rights than they need, or no more than they need: a check tells before a run does, and names the right.

use meter_sync::check::{self, Finding, Verdict};
use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{Health, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::json;

use super::site;
use super::table_reloads::as_role;
use crate::support::site::{Site, config, mirrors, rows};

/// A site whose sides are entered as roles that may do nothing yet with the tables; gives the role's name.
pub(super) async fn with_roles(site: &mut Site) -> String {
    let (_, database) = site.pair.local_url.rsplit_once('/').unwrap();
    let role = format!("bounded_{database}");
    for client in [&site.remote, &site.local] {
        let make = format!(
            "do $$ begin if exists (select from pg_roles where rolname = '{role}') then drop owned by {role}; drop role {role}; end if; end $$;
             create role {role} login; grant usage on schema public to {role}"
        );
        client.batch_execute(&make).await.unwrap();
    }
    let grant = format!("grant create on database {database} to {role}");
    site.on_local(&grant).await;
    let settings = site
        .settings()
        .with(Setting::RemoteUrl, as_role(&site.pair.remote_url, &role))
        .with(Setting::LocalUrl, as_role(&site.pair.local_url, &role));
    site.reconfigure(&settings);
    role
}

pub(super) async fn verdict(site: &Site, role: &str, subject: &str) -> Verdict {
    let settings = site
        .settings()
        .with(Setting::RemoteUrl, as_role(&site.pair.remote_url, role))
        .with(Setting::LocalUrl, as_role(&site.pair.local_url, role));
    let findings = check::run(&config(&settings)).await;
    let found = |finding: &&Finding| finding.subject == subject;
    let finding = findings.iter().find(found);
    finding
        .unwrap_or_else(|| panic!("{findings:#?}"))
        .verdict
        .clone()
}

pub(super) fn failure(run: &RunReport) -> (ErrorCode, String) {
    let error = run.error.as_ref().unwrap_or_else(|| panic!("{run:#?}"));
    (error.code, format!("{} {}", error.message, error.remedy))
}

pub(super) const METERS: &str =
    "insert into meter select n, 7, 'name', true from generate_series(1, 10) n";

#[tokio::test]
async fn rights_on_columns_alone_are_told_by_a_check_and_select_on_the_table_is_enough() {
    let mut site = site("name text", ", secret text default 'x'").await;
    let role = with_roles(&mut site).await;
    site.on_remote(METERS).await;
    site.on_remote(&format!("grant select on meter to {role}"))
        .await;
    site.on_local(&format!(
        "grant select on tenant to {role}; grant select (id, name, active), insert (id, name, active), update (name, active) on meter to {role}"
    ))
    .await;
    let Verdict::Failed(told) = verdict(&site, &role, "local privileges").await else {
        panic!("a check should tell that select on the table is lacking")
    };
    assert_eq!(told.code, ErrorCode::LocalAuth);
    assert!(told.remedy.contains("grant select on"), "{told:?}");
    let (code, text) = failure(&site.sync().await);
    assert_eq!(code, ErrorCode::LocalAuth);
    assert!(text.contains("meter-sync check"), "{text}");
    site.on_local(&format!("grant select on meter to {role}"))
        .await;
    let told = verdict(&site, &role, "local privileges").await;
    assert!(matches!(told, Verdict::Ok(_)), "{told:?}");
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    site.on_remote("update meter set name = 'new' where id < 3; delete from meter where id = 4; insert into meter values (11, 7, 'm', true)")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
}

#[tokio::test]
async fn a_type_in_a_schema_that_the_role_may_not_use_is_told_by_a_check() {
    let mut site = site("name text", "").await;
    let role = with_roles(&mut site).await;
    site.on_remote(&format!("{METERS}; grant select on meter to {role}"))
        .await;
    site.on_local(&format!(
        "create schema hidden; create type hidden.mood as enum ('name', 'new'); create domain hidden.moods as hidden.mood[];
         alter table meter drop column name, add name hidden.mood, add other hidden.moods;
         grant select on tenant to {role}; grant all on meter to {role}"
    ))
    .await;
    let Verdict::Warning(told) = verdict(&site, &role, "local privileges").await else {
        panic!("a check should tell that usage is lacking")
    };
    assert!(
        told.contains("hidden.mood") && told.contains("grant usage on schema hidden"),
        "{told}"
    );
    site.on_local(&format!("grant usage on schema hidden to {role}"))
        .await;
    let told = verdict(&site, &role, "local privileges").await;
    assert!(matches!(told, Verdict::Ok(_)), "{told:?}");
    site.on_remote("update meter set name = 'none of them' where id = 1")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
}

#[tokio::test]
async fn a_schema_without_usage_is_told_with_its_grant() {
    let mut site = site("name text", "").await;
    let role = with_roles(&mut site).await;
    site.on_remote(&format!("{METERS}; grant select on meter to {role}"))
        .await;
    site.on_local(&format!(
        "grant select on tenant to {role}; grant all on meter to {role}"
    ))
    .await;
    let revoke = format!("revoke usage on schema public from public, {role}");
    let grant = format!("grant usage on schema public to {role}");
    site.on_remote(&revoke).await;
    let (code, text) = failure(&site.sync().await);
    assert_eq!(code, ErrorCode::RemotePermission, "{text}");
    assert!(
        text.contains("no usage on schema public") && text.contains("METER_SYNC_REMOTE_URL"),
        "{text}"
    );
    for subject in ["columns", "remote privileges"] {
        let Verdict::Failed(told) = verdict(&site, &role, subject).await else {
            panic!("a check should tell that usage is lacking")
        };
        assert_eq!(told.code, ErrorCode::RemotePermission, "{told:?}");
        assert!(
            told.remedy.contains("grant usage on schema public"),
            "{told:?}"
        );
    }
    site.on_remote(&grant).await;
    site.on_local(&revoke).await;
    let settings = site
        .settings()
        .with(Setting::RemoteUrl, as_role(&site.pair.remote_url, &role))
        .with(Setting::LocalUrl, as_role(&site.pair.local_url, &role))
        .with(Setting::TenantId, "7");
    site.reconfigure(&settings);
    let (code, text) = failure(&site.sync().await);
    assert_eq!(code, ErrorCode::LocalAuth, "{text}");
    assert!(text.contains("no usage on schema public"), "{text}");
    // What is in no schema of the path does not exist for the role.
    site.on_local(&grant).await;
    site.on_remote("create schema elsewhere; alter table meter set schema elsewhere")
        .await;
    let (code, text) = failure(&site.sync().await);
    assert_eq!(code, ErrorCode::RemoteSchema, "{text}");
}

#[tokio::test]
async fn of_the_tenant_row_only_id_and_name_are_read() {
    let mut site = site("name text", "").await;
    site.on_remote(METERS).await;
    site.on_local(
        r#"alter table tenant add conf json; update tenant set conf = '{"a": "\u0000"}'"#,
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let role = with_roles(&mut site).await;
    site.on_remote(&format!("grant select on meter to {role}"))
        .await;
    site.on_local(&format!(
        "grant select (id) on tenant to {role}; grant all on meter to {role};
         grant all on schema meter_sync to {role}; grant all on all tables in schema meter_sync to {role}"
    ))
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    let Verdict::Ok(told) = verdict(&site, &role, "tenant").await else {
        panic!("the tenant should be known")
    };
    assert!(told.starts_with("7,"), "{told}");
    site.on_local(&format!("grant select (name) on tenant to {role}"))
        .await;
    let Verdict::Ok(told) = verdict(&site, &role, "tenant").await else {
        panic!("the tenant should be known")
    };
    assert!(told.starts_with("7 (Acme)"), "{told}");
}

/// A site whose meter table is in a schema of its own, which the role of the program may use, and that role.
async fn with_table_in_schema_site(local: &str) -> (Site, String) {
    let mut site = site("name text", local).await;
    let role = with_roles(&mut site).await;
    site.on_remote(&format!("{METERS}; grant select on meter to {role}"))
        .await;
    site.on_local(&format!(
        "create schema site; alter table meter set schema site; grant usage on schema site to {role};
         grant select on tenant to {role}; grant all on site.meter to {role};
         alter role {role} set search_path = site, public"
    ))
    .await;
    (site, role)
}

/// The name of a table in the log does not depend on whether the role may use the table's schema: otherwise the runs
/// before and after it lost that right would be those of two tables, and a status would know only one half.
#[tokio::test]
async fn a_status_tells_of_a_schema_without_usage_and_of_the_runs_before() {
    let (site, role) = with_table_in_schema_site("").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    site.on_local(&format!("revoke usage on schema site from {role}"))
        .await;
    let status = site.status().await;
    let told = status.warnings.join("\n");
    assert!(
        told.contains("no usage on schema site") && told.contains("grant usage on schema site"),
        "{told}"
    );
    assert!(status.last_success_at.is_some(), "{status:#?}");
    let (code, text) = failure(&site.sync().await);
    assert_eq!(code, ErrorCode::LocalAuth, "{text}");
    let status = site.status().await;
    assert_eq!(status.history.len(), 2, "{:#?}", status.history);
    assert!(!status.summary.contains("No sync"), "{}", status.summary);
    let tables = "select distinct local_table from meter_sync.meter_sync_log";
    assert_eq!(
        rows(&site.local, tables).await,
        json!([{"local_table": "site.meter"}])
    );
}

#[tokio::test]
async fn a_status_tells_of_a_schema_without_usage_that_has_the_tenant_too() {
    let mut site = site("name text", "").await;
    let role = with_roles(&mut site).await;
    site.on_remote(&format!("{METERS}; grant select on meter to {role}"))
        .await;
    site.on_local(&format!(
        "grant select on tenant to {role}; grant all on meter to {role}"
    ))
    .await;
    site.sync().await;
    site.on_local(&format!(
        "revoke usage on schema public from public, {role}"
    ))
    .await;
    let (code, text) = failure(&site.sync().await);
    assert_eq!(code, ErrorCode::LocalAuth, "{text}");
    assert!(text.contains("no usage on schema public"), "{text}");
    let status = site.status().await;
    assert_eq!(status.health, Health::Failing, "{status:#?}");
    let summary = &status.summary;
    assert!(summary.contains("no usage on schema public"), "{summary}");
}

/// With several tenants, the names of all their tables are looked up at once.
#[tokio::test]
async fn a_sweep_names_a_table_in_a_schema_without_usage_as_before() {
    let (site, role) = with_table_in_schema_site(", tenant_id bigint").await;
    let settings = site
        .settings()
        .with(Setting::RemoteUrl, as_role(&site.pair.remote_url, &role))
        .with(Setting::LocalUrl, as_role(&site.pair.local_url, &role))
        .with(Setting::Tenants, "7,8");
    let mirrors = mirrors(&settings);
    let request = RunRequest::new(RunTrigger::Cli);
    for _ in 0..2 {
        let swept = mirrors.sweep(&request, |_, _| {}).await;
        assert!(swept.is_ok(), "{swept:?}");
        site.on_local(&format!("revoke usage on schema site from {role}"))
            .await;
    }
    for log in ["meter_sync_log", "meter_sync_sweep"] {
        let tables = format!("select distinct local_table from meter_sync.{log}");
        assert_eq!(
            rows(&site.local, &tables).await,
            json!([{"local_table": "site.meter"}]),
            "{log}"
        );
    }
}
