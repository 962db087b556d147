//! Event triggers, row security and connection limits of a database: the remedy names them, and `check` finds them
//! beforehand.

use meter_sync::check::{self, Finding, Verdict};
use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::error::{ErrorCode, Failure};
use meter_sync::model::RunOutcome;

use super::schemas::with_role;
use crate::support::breakable_site::BreakableSite;
use crate::support::site::{Site, config};

pub(super) async fn finding(settings: &CommandLineSettings, subject: &str) -> Verdict {
    let findings = check::run(&config(settings)).await;
    let found = findings.iter().find(|finding| finding.subject == subject);
    let Some(Finding { verdict, .. }) = found else {
        panic!("no finding of {subject}: {findings:#?}")
    };
    verdict.clone()
}

pub(super) fn failure(verdict: Verdict) -> Failure {
    match verdict {
        Verdict::Failed(failure) => failure,
        other @ (Verdict::Ok(_) | Verdict::Warning(_)) => panic!("it should fail: {other:?}"),
    }
}

fn warning(verdict: Verdict) -> String {
    match verdict {
        Verdict::Warning(text) => text,
        other @ (Verdict::Ok(_) | Verdict::Failed(_)) => panic!("it should warn: {other:?}"),
    }
}

#[tokio::test]
async fn an_event_trigger_that_refuses_our_tables_is_named_with_its_hint() {
    let broken = BreakableSite::with_changes().await;
    broken
        .site
        .on_local(
            "create function no_ddl() returns event_trigger language plpgsql as
                 $$begin raise exception 'DDL is frozen' using hint = 'ticket DBA-1'; end$$;
             create event trigger no_new_tables on ddl_command_start
                 when tag in ('CREATE TABLE', 'CREATE TABLE AS') execute function no_ddl()",
        )
        .await;
    let found = warning(finding(&broken.settings(), "local event triggers").await);
    assert!(found.contains("no_new_tables"), "{found}");
    let run = broken.fails_with(ErrorCode::LocalConstraint).await;
    let error = run.error.expect("an error");
    assert!(error.message.contains("no_ddl()"), "{error:?}");
    assert!(error.remedy.contains("event trigger"), "{error:?}");
    assert!(error.remedy.contains("ticket DBA-1"), "{error:?}");
    assert!(!error.remedy.contains("remote"), "{error:?}");
    broken
        .site
        .on_local("drop event trigger no_new_tables")
        .await;
    broken.heals().await;
}

#[tokio::test]
async fn an_event_trigger_that_refuses_what_an_exchange_makes_and_drops_is_named_with_its_hint() {
    for refused in [
        "sql_drop",
        "sql_drop when tag in ('DROP VIEW')",
        "sql_drop when tag in ('DROP TABLE')",
        "ddl_command_start when tag in ('CREATE VIEW')",
        "ddl_command_end when tag in ('DROP TABLE')",
    ] {
        let site = crate::pinned::site("name text", ", unique (name)").await;
        site.on_remote(
            "insert into meter select n, 7, 'S' || n, true from generate_series(1, 4) n",
        )
        .await;
        site.sync().await;
        site.on_local(&format!(
            "create function no_ddl() returns event_trigger language plpgsql as
                 $$begin raise exception 'nobody drops here' using hint = 'ticket DBA-1'; end$$;
             create event trigger no_drops on {refused} execute function no_ddl()"
        ))
        .await;
        let found = warning(finding(&site.settings(), "local event triggers").await);
        assert!(found.contains("no_drops"), "{refused}: {found}");
        // Two rules, so that each of our tables is made more than once.
        site.on_local("create unique index lower_name on meter (lower(name))")
            .await;
        site.on_remote(
            "update meter set name = 'T' where id = 1; update meter set name = 'S1' where id = 2;
             update meter set name = 'S2' where id = 1",
        )
        .await;
        for _ in 0..2 {
            let run = site.sync().await;
            let error = run.error.expect(refused);
            assert_eq!(
                error.code,
                ErrorCode::LocalConstraint,
                "{refused}: {error:?}"
            );
            assert!(error.message.contains("no_ddl()"), "{refused}: {error:?}");
            let remedy = error.remedy;
            assert!(remedy.contains("event trigger"), "{refused}: {remedy}");
            assert!(remedy.contains("ticket DBA-1"), "{refused}: {remedy}");
        }
        site.on_local("drop event trigger no_drops").await;
        let run = site.sync().await;
        assert_eq!(run.counts.updated, 2, "{refused}: {run:#?}");
    }
}

#[tokio::test]
async fn row_security_of_the_local_table_is_found_beforehand() {
    let site = Site::new().await;
    let url = with_role(
        &site.pair.local_url,
        &site.local,
        "grant all on meter to $role; grant select on tenant to $role; alter table meter enable row level security;
         create policy seen on meter for select using (true)",
    )
    .await;
    let settings = site.settings().with(Setting::LocalUrl, &url);
    let found = warning(finding(&settings, "local row security").await);
    assert!(found.contains("insert or update rows"), "{found}");
    site.on_local("create policy written on meter using (name <> '')")
        .await;
    let found = warning(finding(&settings, "local row security").await);
    assert!(found.contains("its policies apply"), "{found}");
    let findings = check::run(&config(&site.settings())).await;
    let is_other = |f: &Finding| f.subject != "local row security";
    assert!(findings.iter().all(is_other), "{findings:#?}");
}

#[tokio::test]
async fn row_security_that_shows_nothing_is_named() {
    let mut site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) select n, 7, 'M' from generate_series(1, 9) n",
    )
    .await;
    let url = with_role(
        &site.pair.remote_url,
        &site.remote,
        "grant select on meter to $role; alter table meter enable row level security;
         create policy own on meter for select using (tenant_id = current_setting('app.tenant')::int)",
    )
    .await;
    let settings = site.settings().with(Setting::RemoteUrl, &url);
    site.reconfigure(&settings);
    let run = site.sync().await;
    let error = run.error.expect("an error");
    assert!(error.remedy.contains("options=-c app.tenant="), "{error:?}");
    let found = failure(finding(&settings, "remote meters").await);
    assert!(found.remedy.contains("options=-c app.tenant="), "{found:?}");

    let given = format!("{url}?options=-c%20app.tenant%3D7");
    site.reconfigure(&site.settings().with(Setting::RemoteUrl, given));
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");

    site.on_remote(
        "drop policy own on meter;
         create policy own on meter for select using (tenant_id = current_setting('app.tenant', true)::int)",
    )
    .await;
    site.reconfigure(&settings);
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Refused), "{run:#?}");
    let error = run.error.expect("an error");
    assert!(error.remedy.contains("row security"), "{error:?}");
    let found = warning(finding(&settings, "remote meters").await);
    assert!(found.contains("row security"), "{found}");
}

#[tokio::test]
async fn row_security_below_a_view_or_a_query_is_named() {
    let mut site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) select n, 7, 'M' from generate_series(1, 9) n",
    )
    .await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    let url = with_role(
        &site.pair.remote_url,
        &site.remote,
        "grant select on meter to $role; alter table meter enable row level security;
         create view below as select * from meter where current_user <> '$role';
         grant select on below to $role",
    )
    .await;
    let of_role = site.settings().with(Setting::RemoteUrl, &url);
    for settings in [
        of_role.clone().with(Setting::RemoteTable, "below"),
        of_role.with(Setting::RemoteQuery, "select * from meter"),
    ] {
        site.reconfigure(&settings);
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Refused), "{run:#?}");
        let error = run.error.expect("an error");
        assert!(error.remedy.contains("row security"), "{error:?}");
    }
}

#[tokio::test]
async fn a_role_with_too_few_connections_is_told_so_and_found_beforehand() {
    let mut broken = BreakableSite::with_changes().await;
    broken.site.on_local("drop schema meter_sync cascade").await;
    let database = broken.site.pair.local_url.rsplit('/').next().unwrap();
    let url = with_role(
        &broken.site.pair.local_url,
        &broken.site.local,
        &format!(
            "alter role $role connection limit 1; grant create on database {database} to $role;
             grant select, insert, update on meter to $role; grant select on tenant to $role"
        ),
    )
    .await;
    let settings = broken.settings().with(Setting::LocalUrl, &url);
    let found = failure(finding(&settings, "local connections").await);
    broken.reconfigure(&[(Setting::LocalUrl, &url)]);
    let run = broken.site.sync().await;
    let error = run.error.expect("an error");
    assert_eq!(error.code, ErrorCode::LocalUnreachable, "{error:?}");
    assert!(!error.message.contains("of_test"), "{error:?}");
    for remedy in [&error.remedy, &found.remedy] {
        assert!(remedy.contains("connection limit"), "{remedy}");
    }
}

#[tokio::test]
async fn a_query_that_reads_no_table_with_row_security_is_told_of_none() {
    let mut site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) select n, 7 from generate_series(1, 9) n")
        .await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    let url = with_role(
        &site.pair.remote_url,
        &site.remote,
        "create table shown (id bigint); create table hidden (id bigint); alter table hidden enable row level security;
         create function made() returns setof bigint language sql stable as 'select id from shown';
         grant select on shown, hidden to $role",
    )
    .await;
    let of_role = site.settings().with(Setting::RemoteUrl, &url);
    for (from, is_told) in [
        ("generate_series(1, 0) g (id)", false),
        ("(values (1)) v (id) where false", false),
        ("made() f (id)", false),
        ("shown", false),
        ("hidden", true),
        (
            "(select id from hidden union all select id from shown) u",
            true,
        ),
    ] {
        let query = format!("select id, 7 as tenant_id, true as active from {from}");
        let settings = of_role.clone().with(Setting::RemoteQuery, &query);
        site.reconfigure(&settings);
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Refused), "{query}: {run:#?}");
        let remedy = run.error.expect("an error").remedy;
        assert_eq!(
            remedy.contains("row security"),
            is_told,
            "{query}: {remedy}"
        );
        let found = warning(finding(&settings, "remote meters").await);
        assert_eq!(found.contains("row security"), is_told, "{query}: {found}");
    }
}
