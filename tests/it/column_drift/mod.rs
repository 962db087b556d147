//! Columns that the remote drops, renames or gives another type after they were synced: every surface warns until
//! that is settled, and a run fails where that is asked for.

use meter_sync::check::{self, Finding, Verdict};
use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;
use meter_sync::reports::run_report::RunReport;
use serde_json::{Value, json};

use crate::support::site::{REMOTE_SCHEMA, Site, config, rows};

mod advice;
mod fail_on_drift;
mod surfaces;
mod views_and_queries;
mod ways_to_settle;

/// A local table as the remote has it, but for the tenant.
fn same_schema() -> String {
    let table = REMOTE_SCHEMA.replace("tenant_id bigint not null, ", "");
    table.replace(", (8, 'Byte'), (9, 'Cole')", "")
}

/// A site with two meters that have been synced once.
async fn synced() -> Site {
    let site = Site::with_schemas(REMOTE_SCHEMA, &same_schema()).await;
    site.on_remote(
        "insert into meter (id, tenant_id, name, port, notes)
         values (1, 7, 'a', 1, 'first'), (2, 7, 'b', 2, 'second')",
    )
    .await;
    let first = site.sync().await;
    assert_eq!(first.outcome, Some(RunOutcome::Succeeded), "{first:#?}");
    assert_eq!(first.warning, None);
    site
}

/// What a check says of drift, a text each.
async fn told_by_check(settings: &CommandLineSettings) -> Vec<String> {
    let findings = check::run(&config(settings)).await;
    let is_drift = |finding: &&Finding| finding.subject == "drift";
    let told = findings.iter().filter(is_drift);
    told.filter_map(|finding| match &finding.verdict {
        Verdict::Ok(_) => None,
        Verdict::Warning(text) => Some(text.clone()),
        Verdict::Failed(failure) => Some(format!("{} {}", failure.message, failure.remedy)),
    })
    .collect()
}

/// A sync that warns of all of these.
async fn warned(site: &Site, texts: &[&str]) -> RunReport {
    let run = site.sync().await;
    let warning = run.warning.clone().unwrap_or_default();
    for text in texts {
        assert!(warning.contains(text), "{text}: {run:#?}");
    }
    run
}

/// A sync after which no surface tells of drift any more.
async fn quiet(site: &Site, settings: &CommandLineSettings) {
    let run = site.sync().await;
    assert_eq!(run.warning, None, "{run:#?}");
    assert_eq!(site.status().await.warnings, Vec::<String>::new());
    assert_eq!(told_by_check(settings).await, Vec::<String>::new());
    let drifted = "select column_name from meter_sync.meter_sync_column where drift is not null";
    assert_eq!(rows(&site.local, drifted).await, json!([]));
}

async fn known(site: &Site) -> Value {
    let known = "select column_name, xmin::text as written from meter_sync.meter_sync_column order by column_name";
    rows(&site.local, known).await
}

/// The settings of a site that name some columns.
fn naming(site: &Site, columns: &str) -> CommandLineSettings {
    site.settings().with(Setting::Columns, columns)
}

#[tokio::test]
async fn a_dropped_column_is_warned_of_until_it_is_back() {
    let site = synced().await;
    site.on_remote("alter table meter drop column notes").await;
    for _ in 0..2 {
        let run = warned(&site, &["notes is gone", "keeps its last values"]).await;
        assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
        assert_eq!(site.status().await.warnings, [run.warning.unwrap()]);
    }
    let kept = rows(&site.local, "select notes from meter order by id").await;
    assert_eq!(kept, json!([{"notes": "first"}, {"notes": "second"}]));
    let told = told_by_check(&site.settings()).await;
    assert!(told[0].contains("notes is gone"), "{told:#?}");
    site.on_remote("alter table meter add column notes text")
        .await;
    quiet(&site, &site.settings()).await;
    let arrived = rows(&site.local, "select distinct notes from meter").await;
    assert_eq!(arrived, json!([{"notes": null}]));
}

#[tokio::test]
async fn a_column_whose_name_another_one_has_now_is_warned_of_until_it_is_accepted() {
    let mut site = synced().await;
    site.on_remote("alter table meter rename notes to remarks; alter table meter add notes text")
        .await;
    for _ in 0..2 {
        warned(&site, &["notes is another column now", "called remarks"]).await;
    }
    let told = told_by_check(&site.settings()).await;
    let (_, accept) = told[0]
        .split_once("To take the values of the new column: ")
        .unwrap();
    let (accept, _) = accept.split_once(". To keep").unwrap();
    let settings = site.settings().with(Setting::OnDrift, "fail");
    site.reconfigure(&settings);
    let run = site.sync().await;
    let code = run.error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::SchemaDrift), "{run:#?}");
    site.on_local(accept).await;
    quiet(&site, &settings).await;
}

#[tokio::test]
async fn a_renamed_column_is_told_by_its_new_name_and_followed_by_the_statement_of_check() {
    let site = synced().await;
    site.on_remote(
        "alter table meter rename column notes to remarks; update meter set remarks = 'new'",
    )
    .await;
    warned(&site, &["notes is called remarks now"]).await;
    let told = told_by_check(&site.settings()).await;
    let statement = "rename column notes to remarks";
    assert!(told[0].contains(statement), "{told:#?}");
    site.on_local(&format!("alter table meter {statement}"))
        .await;
    quiet(&site, &site.settings()).await;
    let arrived = rows(&site.local, "select distinct remarks from meter").await;
    assert_eq!(arrived, json!([{"remarks": "new"}]));
}

#[tokio::test]
async fn a_column_of_another_type_is_warned_of_until_the_local_type_follows() {
    let site = synced().await;
    site.on_remote("alter table meter alter column port type bigint")
        .await;
    let run = warned(&site, &["port is bigint now and was integer"]).await;
    assert!(!run.warning.unwrap().contains("last values"));
    site.on_remote("update meter set port = 3000000000 where id = 1")
        .await;
    let run = warned(&site, &["port is bigint now"]).await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let told = told_by_check(&site.settings()).await;
    let (_, statement) = told[0].split_once("To follow: ").expect("a statement");
    let (statement, _) = statement.split_once(". ").expect("its end");
    site.on_local(statement).await;
    quiet(&site, &site.settings()).await;
    let arrived = rows(&site.local, "select port from meter where id = 1").await;
    assert_eq!(arrived, json!([{"port": 3000000000_i64}]));
}

#[tokio::test]
async fn every_change_of_a_type_is_told_and_a_limit_that_nothing_here_has_is_none() {
    let columns = "a varchar(10), b varchar(10), c numeric(10, 2), d numeric(10, 2), e timestamp, f text, g integer";
    let site = crate::pinned::site(columns, "").await;
    site.on_local("alter table meter alter b type varchar, alter d type numeric")
        .await;
    site.on_remote("insert into meter (id, tenant_id, active) values (1, 7, true)")
        .await;
    site.sync().await;
    site.on_remote(
        "alter table meter alter a type varchar(20), alter b type varchar(20), alter c type numeric(12, 4),
         alter d type numeric(12, 4), alter e type timestamptz, alter f type jsonb using f::jsonb, alter g type text",
    )
    .await;
    let run = site.sync().await;
    let warning = run.warning.expect("a warning");
    for told in [
        "a is character varying(20) now and was character varying(10);",
        "c is numeric(12,4) now and was numeric(10,2);",
        "e is timestamp with time zone now and was timestamp without time zone;",
        "f is jsonb now and was text;",
        "g is text now and was integer.",
    ] {
        assert!(warning.contains(told), "{told}: {warning}");
    }
    assert!(
        !warning.contains(" b is") && !warning.contains(" d is"),
        "{warning}"
    );
    assert_eq!(told_by_check(&site.settings()).await.len(), 5);
}

#[tokio::test]
async fn drift_adds_up_over_runs_and_a_new_column_just_starts_to_sync() {
    let site = synced().await;
    site.on_remote("alter table meter drop column notes").await;
    warned(&site, &["notes is gone"]).await;
    site.on_remote("alter table meter rename column protocol to dialect; alter table meter add column depth integer")
        .await;
    site.on_local("alter table meter add column depth integer")
        .await;
    site.on_remote("update meter set depth = 3").await;
    let run = warned(&site, &["notes is gone", "protocol is called dialect now"]).await;
    assert!(!run.warning.unwrap().contains("depth"));
    assert_eq!(
        rows(&site.local, "select distinct depth from meter").await,
        json!([{"depth": 3}])
    );
    assert_eq!(told_by_check(&site.settings()).await.len(), 2);
    site.on_remote("alter table meter add column notes text")
        .await;
    let run = warned(&site, &["protocol is called dialect now"]).await;
    assert!(!run.warning.unwrap().contains("notes"));
}

#[tokio::test]
async fn a_run_that_finds_the_columns_as_they_were_writes_nothing_of_them() {
    let site = synced().await;
    let first = known(&site).await;
    site.on_remote("update meter set name = 'new'").await;
    site.sync().await;
    assert_eq!(known(&site).await, first);
    site.on_remote("alter table meter drop column notes").await;
    site.dry_run().await;
    assert_eq!(
        known(&site).await,
        first,
        "a dry run writes nothing of them either"
    );
    warned(&site, &["notes is gone"]).await;
    let second = known(&site).await;
    assert_ne!(second, first);
    warned(&site, &["notes is gone"]).await;
    assert_eq!(known(&site).await, second);
}

#[tokio::test]
async fn the_columns_of_one_mirror_are_nothing_to_another() {
    let site = synced().await;
    site.on_local("create table other (like meter including all)")
        .await;
    site.on_remote("alter table meter drop column notes").await;
    let other = site.settings().with(Setting::LocalTable, "other");
    let runs = crate::support::site::mirror(&other);
    let request = meter_sync::mirrors::RunRequest::new(meter_sync::model::RunTrigger::Cli);
    let run = crate::support::site::finish(&runs, request).await;
    assert_eq!(
        (run.outcome, run.warning),
        (Some(RunOutcome::Succeeded), None)
    );
    warned(&site, &["notes is gone"]).await;
    assert_eq!(told_by_check(&other).await, Vec::<String>::new());
}
