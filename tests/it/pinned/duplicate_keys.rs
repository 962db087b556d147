//! Remote rows with a duplicate key, beside others that differ or do not: a sum over both must not hide them.

use meter_sync::check::{self, Finding, Verdict};
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;
use meter_sync::reports::run_report::RunReport;
use serde_json::json;

use crate::support::site::{Site, config, rows};

/// A remote view over `meter_kept` that can give rows twice.
const REMOTE: &str = "
    create table meter_kept (id text, tenant_id bigint not null, name text, active boolean not null);
    create view meter as select * from meter_kept;
    insert into meter_kept select n::text, 7, 'meter ' || n, true from generate_series(1, 300) n";

async fn synced(local_key: &str) -> Site {
    let local = format!(
        "create table tenant (id bigint primary key, name text);
         insert into tenant values (7, 'Acme');
         create table meter (id {local_key} primary key, name text, active boolean not null)"
    );
    let site = Site::with_schemas(REMOTE, &local).await;
    let run = site.sync().await;
    assert_eq!(run.counts.inserted, 300, "{run:#?}");
    site
}

async fn assert_refused(site: &Site, run: &RunReport) {
    let code = run.error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::DuplicateSourceKey), "{run:#?}");
    let changed = "select count(*) from meter where name not like 'meter %'";
    assert_eq!(rows(&site.local, changed).await, json!([{"count": 0}]));
}

#[tokio::test]
async fn new_rows_given_twice_are_noticed_beside_a_change() {
    let site = synced("bigint").await;
    site.on_remote(
        "insert into meter_kept select '1000', 7, 'twice', true from generate_series(1, 2);
         update meter_kept set name = 'changed' where id = '5'",
    )
    .await;
    assert_refused(&site, &site.sync().await).await;
}

#[tokio::test]
async fn a_known_row_given_three_times_is_noticed() {
    let site = synced("bigint").await;
    site.on_remote(
        "insert into meter_kept select k.* from meter_kept k, generate_series(1, 2) where id = '5'",
    )
    .await;
    assert_refused(&site, &site.sync().await).await;
}

#[tokio::test]
async fn a_known_row_and_one_of_the_same_key_that_differs_are_noticed() {
    let site = synced("bigint").await;
    site.on_remote("insert into meter_kept values ('5', 7, 'other', true)")
        .await;
    assert_refused(&site, &site.sync().await).await;
}

/// The number of rows stays the same, and row versions tell which remote row is new.
#[tokio::test]
async fn a_duplicate_that_comes_as_another_meter_goes_is_noticed() {
    let remote = "create table meter (id bigint, tenant_id bigint not null, name text, active boolean not null);
        insert into meter select n, 7, 'meter ' || n, true from generate_series(1, 300) n";
    let local = "create table tenant (id bigint primary key, name text);
        insert into tenant values (7, 'Acme');
        create table meter (id bigint primary key, name text, active boolean not null)";
    let site = Site::with_schemas(remote, local).await;
    for _ in 0..3 {
        site.sync().await;
    }
    site.on_remote(
        "insert into meter select * from meter where id = 5; delete from meter where id = 6",
    )
    .await;
    assert_refused(&site, &site.sync().await).await;
}

/// An exclusive or of all rows is the same on both sides.
#[tokio::test]
async fn different_duplicates_on_both_sides_do_not_pass_for_equal_rows() {
    let site = synced("bigint").await;
    site.on_remote(
        "insert into meter_kept select * from meter_kept where id = '5'; delete from meter_kept where id = '6'",
    )
    .await;
    site.on_local(
        "create table kid () inherits (meter); insert into kid select * from meter where id = 6; delete from meter where id = 5",
    )
    .await;
    assert_refused(&site, &site.sync().await).await;
}

#[tokio::test]
async fn keys_that_only_the_local_type_takes_for_one_are_noticed() {
    let site = synced("numeric").await;
    site.on_remote("insert into meter_kept values ('5.0', 7, 'other', true)")
        .await;
    assert_refused(&site, &site.sync().await).await;
}

#[tokio::test]
async fn a_key_that_an_inheriting_table_holds_again_is_named() {
    let site = super::site("name text", "").await;
    site.on_local("create table kid () inherits (meter)").await;
    site.on_remote("insert into meter select n, 7, 'name', true from generate_series(1, 10) n")
        .await;
    site.sync().await;
    let told = async || {
        let findings = check::run(&config(&site.settings())).await;
        let of_kids = |finding: &Finding| finding.subject == "keys of inheriting tables";
        findings.into_iter().find(of_kids).expect("a finding")
    };
    let well = told().await;
    assert!(matches!(well.verdict, Verdict::Ok(_)), "{well:?}");
    for (twice, again) in [
        // as the remote has it, of another name, and gone from there
        (
            "(3, 'name', true)",
            "update meter set name = 'a' where id = 3",
        ),
        (
            "(3, 'other', true)",
            "update meter set name = 'b' where id = 3",
        ),
        ("(3, 'other', true)", "delete from meter where id = 3"),
    ] {
        site.on_local(&format!("delete from kid; insert into kid values {twice}"))
            .await;
        site.on_remote(again).await;
        for run in [site.sync().await, site.dry_run().await] {
            let error = run.error.as_ref().unwrap_or_else(|| panic!("{run:#?}"));
            assert_eq!(error.code, ErrorCode::LocalSchema, "{run:#?}");
            assert!(error.message.contains(r#"{"id": 3}"#), "{run:#?}");
        }
        let Verdict::Failed(failure) = told().await.verdict else {
            panic!("a check should tell")
        };
        assert!(failure.message.contains(r#"{"id": 3}"#), "{failure:?}");
        site.on_local("delete from kid").await;
        let run = site.sync().await;
        assert!(run.outcome.is_some_and(RunOutcome::is_success), "{run:#?}");
    }
}
