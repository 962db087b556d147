//! What `meter-sync check` finds on real databases: what is well, what deserves attention, what is wrong. It writes
//! nothing.

use meter_sync::check::{self, Finding, Verdict};
use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::RunTrigger;
use serde_json::json;

use crate::support::postgres::pair_in;
use crate::support::site::{Site, config, finish, mirror, rows, settings};

async fn check(settings: &CommandLineSettings) -> Vec<Finding> {
    check::run(&config(settings)).await
}

fn verdict<'a>(findings: &'a [Finding], subject: &str) -> &'a Verdict {
    let found = findings.iter().find(|finding| finding.subject == subject);
    &found
        .unwrap_or_else(|| panic!("no finding of {subject}: {findings:#?}"))
        .verdict
}

fn failure(findings: &[Finding], subject: &str) -> (ErrorCode, String) {
    match verdict(findings, subject) {
        Verdict::Failed(failure) => (failure.code, failure.remedy.clone()),
        other @ (Verdict::Ok(_) | Verdict::Warning(_)) => {
            panic!("{subject} should fail: {other:?}")
        }
    }
}

fn failed(findings: &[Finding]) -> Vec<&str> {
    let failed = findings
        .iter()
        .filter(|f| matches!(f.verdict, Verdict::Failed(_)));
    failed.map(|finding| finding.subject.as_str()).collect()
}

#[tokio::test]
async fn a_site_that_can_sync_is_well_in_every_line_and_left_untouched() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7), (2, 7), (3, 8)")
        .await;
    let findings = check(&site.settings()).await;
    assert_eq!(failed(&findings), Vec::<&str>::new(), "{findings:#?}");
    let Verdict::Ok(meters) = verdict(&findings, "remote meters") else {
        panic!("{findings:#?}")
    };
    assert_eq!(meters, "2 of tenant 7");
    let Verdict::Ok(ours) = verdict(&findings, "columns only here") else {
        panic!("{findings:#?}")
    };
    assert!(ours.starts_with("site_note"), "{ours}");
    let left =
        "select to_regclass('meter_sync.meter_sync_log') is null as none, count(*) as n from meter";
    assert_eq!(
        rows(&site.local, left).await,
        json!([{"none": true, "n": 0}])
    );
}

#[tokio::test]
async fn what_fails_on_one_side_does_not_keep_the_other_from_being_looked_at() {
    let site = Site::new().await;
    let settings = site
        .settings()
        .with(Setting::RemoteUrl, "postgres://u:hunter2@127.0.0.1:1/m");
    let findings = check(&settings).await;
    assert_eq!(
        failure(&findings, "remote connection").0,
        ErrorCode::RemoteUnreachable
    );
    assert!(matches!(
        verdict(&findings, "local connection"),
        Verdict::Ok(_)
    ));
    assert!(matches!(verdict(&findings, "tenant"), Verdict::Ok(_)));
    assert!(!format!("{findings:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_role_that_may_not_do_what_a_sync_does_is_told_which_grant_it_lacks() {
    let site = Site::new().await;
    let role = format!("poor_{}", std::process::id());
    for client in [&site.remote, &site.local] {
        let create = format!("drop role if exists {role}; create role {role} login");
        // Roles belong to the whole server, which other tests share.
        client.batch_execute(&create).await.unwrap();
    }
    site.on_local(&format!(
        "grant select on meter to {role}; grant select on tenant to {role}"
    ))
    .await;
    let poor = |url: &str| url.replace("postgres@", &format!("{role}@"));
    let settings = site
        .settings()
        .with(Setting::RemoteUrl, poor(&site.pair.remote_url))
        .with(Setting::LocalUrl, poor(&site.pair.local_url));
    let findings = check(&settings).await;
    let (code, remedy) = failure(&findings, "remote privileges");
    assert_eq!(code, ErrorCode::RemotePermission);
    assert!(remedy.contains("grant select on"), "{remedy}");
    let (code, remedy) = failure(&findings, "local privileges");
    assert_eq!(code, ErrorCode::LocalAuth);
    assert!(
        remedy.contains("grant select, insert, update on"),
        "{remedy}"
    );
    let (code, remedy) = failure(&findings, "sync tables");
    assert_eq!(code, ErrorCode::LocalAuth);
    assert!(remedy.contains("create schema meter_sync"), "{remedy}");
    site.on_local(&format!("drop owned by {role}")).await;
    for client in [&site.remote, &site.local] {
        client
            .batch_execute(&format!("drop role {role}"))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn missing_tables_columns_and_tenants_are_named() {
    let site = Site::new().await;
    let missing = check(&site.settings().with(Setting::LocalTable, "nowhere")).await;
    assert_eq!(failure(&missing, "columns").0, ErrorCode::LocalSchema);
    site.on_remote("alter table meter drop column active").await;
    let without = check(&site.settings()).await;
    assert_eq!(failure(&without, "columns").0, ErrorCode::RemoteSchema);
    site.on_local("delete from tenant").await;
    let nobody = check(&site.settings()).await;
    assert_eq!(failure(&nobody, "tenant").0, ErrorCode::TenantNotConfigured);
}

#[tokio::test]
async fn a_shared_table_without_an_index_on_the_tenant_is_a_warning_with_the_statement() {
    let local = "create table meter (id bigint primary key, tenant_id bigint not null, name text,
        active boolean not null default true)";
    let site = Site::with_schemas(crate::support::site::REMOTE_SCHEMA, local).await;
    let settings = site.settings().with(Setting::TenantId, "7");
    let sides = [("remote", &site.remote), ("local", &site.local)];
    for (side, client) in sides {
        let subject = format!("index on the {side} tenant");
        let rows = "insert into meter (id, tenant_id) values (1, 7)";
        client.batch_execute(rows).await.unwrap();
        let findings = check(&settings).await;
        assert!(
            !findings.iter().any(|f| f.subject == subject),
            "{findings:#?}"
        );
        let shared = "insert into meter (id, tenant_id) values (2, 8)";
        client.batch_execute(shared).await.unwrap();
        let findings = check(&settings).await;
        let Verdict::Warning(text) = verdict(&findings, &subject) else {
            panic!("{findings:#?}")
        };
        let statement = text.find("create index concurrently").map(|n| &text[n..]);
        client.batch_execute(statement.unwrap()).await.unwrap();
        let findings = check(&settings).await;
        assert!(matches!(verdict(&findings, &subject), Verdict::Ok(_)));
    }
}

#[tokio::test]
async fn remote_and_local_leading_to_one_table_are_refused_by_whatever_name() {
    let site = Site::new().await;
    let by_name = site.pair.local_url.replace("127.0.0.1", "localhost");
    let settings = site
        .settings()
        .with(Setting::RemoteUrl, by_name + "?application_name=x");
    let refused = meter_sync::config::Config::load_from(
        &settings,
        &meter_sync::config::Environment::default(),
    );
    let failure = meter_sync::error::Failure::from(refused.expect_err("one database"));
    assert_eq!(failure.code, ErrorCode::ConfigInvalid);
}

/// A view whose 250th row no run gets past, after rows that are fine.
const FAILS_LATE: &str = "
    insert into meter (id, tenant_id) select n, 7 from generate_series(1, 300) n;
    create view meters as select m.id, m.tenant_id, m.active,
        case when m.id = 250 then (select v from (values ('a'), ('b')) t (v)) else m.name end as name
    from meter m";

#[tokio::test]
async fn a_row_that_a_view_fails_on_is_found_wherever_it_stands() {
    let site = Site::new().await;
    site.on_remote(FAILS_LATE).await;
    let settings = site.settings().with(Setting::RemoteTable, "meters");
    let findings = check(&settings).await;
    let (code, remedy) = failure(&findings, "remote meters");
    assert_eq!(code, ErrorCode::RemoteSchema, "{remedy}");
    assert!(remedy.contains("mend it there"), "{remedy}");
}

#[tokio::test]
async fn a_key_that_the_remote_has_twice_is_found() {
    let site = Site::new().await;
    let twice = "insert into meter (id, tenant_id) values (1, 7), (2, 7), (3, 8);
        create view meters as select * from meter union all select * from meter where id <> 1";
    site.on_remote(twice).await;
    let of_view = |view| site.settings().with(Setting::RemoteTable, view);
    let findings = check(&of_view("meters")).await;
    let Verdict::Failed(failure) = verdict(&findings, "remote meters") else {
        panic!("{findings:#?}")
    };
    assert_eq!(failure.code, ErrorCode::DuplicateSourceKey);
    assert!(failure.message.contains(r#"{"id": 2}"#), "{failure:?}");
    assert!(!failure.message.contains(r#"{"id": 3}"#), "{failure:?}");
    let findings = check(&of_view("meter")).await;
    assert!(matches!(
        verdict(&findings, "remote meters"),
        Verdict::Ok(_)
    ));
}

#[tokio::test]
async fn what_changes_or_refuses_the_writes_of_a_sync_is_named() {
    let site = Site::new().await;
    let findings = check(&site.settings()).await;
    let named = ["local rules", "local triggers", "encodings"];
    assert!(
        !findings.iter().any(|f| named.contains(&f.subject.as_str())),
        "{findings:#?}"
    );
    site.on_local(
        "create function keep() returns trigger language plpgsql as 'begin return new; end';
         create trigger keeper before update on meter for each row execute function keep();
         create trigger asleep before update on meter for each row execute function keep();
         alter table meter disable trigger asleep;
         create trigger on_delete before delete on meter for each row execute function keep();
         create rule nothing as on insert to meter do instead nothing",
    )
    .await;
    let findings = check(&site.settings()).await;
    let Verdict::Warning(rules) = verdict(&findings, "local rules") else {
        panic!("{findings:#?}")
    };
    assert!(
        rules.contains("rewrite inserts or updates: nothing. "),
        "{rules}"
    );
    let Verdict::Ok(triggers) = verdict(&findings, "local triggers") else {
        panic!("{findings:#?}")
    };
    assert!(
        triggers.starts_with("keeper (function keep). "),
        "{triggers}"
    );
}

#[tokio::test]
async fn a_table_of_another_tenants_meters_is_found_as_a_sync_finds_it() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7), (2, 8)")
        .await;
    site.sync().await;
    let other = site.settings().with(Setting::TenantId, "8");
    let findings = check(&other).await;
    let refused = finish(&mirror(&other), RunRequest::new(RunTrigger::Cli)).await;
    let Verdict::Failed(found) = verdict(&findings, "tenant") else {
        panic!("{findings:#?}")
    };
    assert_eq!(Some(found), refused.error.as_ref());
    assert_eq!(found.code, ErrorCode::TenantMismatch);
    assert_eq!(failed(&findings), ["tenant"]);
}

#[tokio::test]
async fn encodings_that_differ_are_told_with_what_is_rejected() {
    for (encodings, told) in [
        (["UTF8", "LATIN1"], Some("a character that LATIN1 lacks")),
        (["SQL_ASCII", "UTF8"], Some("bytes that are no UTF8")),
        (["LATIN1", "UTF8"], None),
        (["LATIN1", "LATIN1"], None),
    ] {
        let pair = pair_in(encodings).await;
        let findings = check(&settings(&pair.remote_url, &pair.local_url)).await;
        let found = findings.iter().find(|f| f.subject == "encodings");
        match (found.map(|f| &f.verdict), told) {
            (Some(Verdict::Ok(text)), Some(told)) => assert!(text.contains(told), "{text}"),
            (found, told) => assert!(found.is_none() && told.is_none(), "{encodings:?} {found:?}"),
        }
    }
}

#[tokio::test]
async fn a_remote_that_runs_all_it_can_in_workers_is_still_seen_to_be_only_read() {
    let site = Site::new().await;
    // Version 16 gave the setting another name.
    site.on_remote(
        "do $$ begin execute format('alter database %I set %I = on', current_database(), (
             select name from pg_settings where name in ('force_parallel_mode', 'debug_parallel_query'))); end $$",
    )
    .await;
    let findings = check(&site.settings()).await;
    assert_eq!(failed(&findings), Vec::<&str>::new(), "{findings:#?}");
}
