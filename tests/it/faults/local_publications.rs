//! Publications of the local table that forbid updates: the remedy names them, and `check` finds them beforehand.

use meter_sync::check::{self, Finding};
use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;

use super::event_triggers_and_row_security::{failure, finding};
use crate::support::breakable_site::BreakableSite;
use crate::support::site::{Site, config};

#[tokio::test]
async fn a_published_table_without_a_replica_identity_is_told_and_found_beforehand() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[(Setting::Key, "id")]);
    broken
        .site
        .on_local(
            "alter table meter_reading drop constraint meter_reading_meter_id_fkey;
             alter table meter drop constraint meter_pkey;
             create unique index meter_id on meter (id);
             create publication of_all for all tables",
        )
        .await;
    let settings = broken.settings().with(Setting::Key, "id");
    let found = failure(finding(&settings, "local replica identity").await);
    assert!(found.message.contains("public.meter"), "{found:?}");
    let run = broken.fails_with(ErrorCode::LocalSchema).await;
    let remedy = run.error.expect("an error").remedy;
    for remedy in [&remedy, &found.remedy] {
        assert!(remedy.contains("replica identity using index"), "{remedy}");
    }
    broken
        .site
        .on_local("alter table meter replica identity full")
        .await;
    broken.heals().await;
    let findings = check::run(&config(&settings)).await;
    let is_gone = |f: &Finding| f.subject != "local replica identity";
    assert!(findings.iter().all(is_gone), "{findings:#?}");
}

/// A local table, a publication, what refuses updates, and what ends that.
const PUBLICATIONS: &[(&str, &str, &str)] = &[
    (
        "",
        "create publication p for table meter where (active)",
        "replica identity full",
    ),
    (
        "",
        "create publication p for table meter (name)",
        "replica identity using index named",
    ),
    (
        "",
        "alter table meter replica identity full; create publication p for table meter (id, name)",
        "replica identity default",
    ),
    (
        "partition by range (id)",
        "create publication p for table m1 where (active)",
        "replica identity full",
    ),
    (
        "partition by range (id)",
        "create publication p for table meter where (active) with (publish_via_partition_root)",
        "replica identity full",
    ),
];

#[tokio::test]
async fn a_publication_that_the_replica_identity_does_not_cover_is_told_and_found_beforehand() {
    for (partitioned, publication, mended) in PUBLICATIONS {
        let site = Site::with_schemas(
            "create table meter (id bigint primary key, tenant_id int, name text, active boolean not null)",
            &format!(
                "create table tenant (id bigint primary key); insert into tenant values (7);
                 create table meter (id bigint primary key, name text not null, active boolean not null) {partitioned}"
            ),
        )
        .await;
        let table = match partitioned.is_empty() {
            true => "meter",
            false => "m1",
        };
        if table == "m1" {
            site.on_local("create table m1 partition of meter for values from (0) to (100)")
                .await;
        }
        site.on_remote("insert into meter values (1, 7, 'a', true)")
            .await;
        site.sync().await;
        site.on_local(&format!(
            "create unique index named on {table} (name); {publication}"
        ))
        .await;
        let found = failure(finding(&site.settings(), "local publications").await);
        assert!(found.message.contains(table), "{publication}: {found:?}");
        assert!(
            found.message.contains("publication p"),
            "{publication}: {found:?}"
        );
        site.on_remote("update meter set active = false").await;
        let run = site.sync().await;
        let error = run.error.expect(publication);
        assert_eq!(
            error.code,
            ErrorCode::LocalSchema,
            "{publication}: {error:?}"
        );
        assert!(
            error.message.contains("replica identity"),
            "{publication}: {error:?}"
        );
        assert_eq!(error.remedy, found.remedy, "{publication}");
        site.on_local(&format!("alter table {table} {mended}"))
            .await;
        let findings = check::run(&config(&site.settings())).await;
        let is_gone = |f: &Finding| f.subject != "local publications";
        assert!(findings.iter().all(is_gone), "{publication}: {findings:#?}");
        let run = site.sync().await;
        assert_eq!(run.counts.updated, 1, "{publication}: {run:#?}");
    }
}

#[tokio::test]
async fn a_partition_published_as_its_root_without_a_replica_identity_is_found_beforehand() {
    let site = Site::with_schemas(
        "create table meter (id bigint primary key, tenant_id int, name text, active boolean not null)",
        "create table tenant (id bigint primary key); insert into tenant values (7);
         create table meter (id bigint not null, name text, active boolean not null) partition by range (id);
         create table m1 partition of meter for values from (0) to (100); create unique index on meter (id);
         create publication p for table meter with (publish_via_partition_root)",
    )
    .await;
    let settings = site.settings().with(Setting::Key, "id");
    let found = failure(finding(&settings, "local replica identity").await);
    assert!(found.message.contains("public.m1"), "{found:?}");
}

#[tokio::test]
async fn a_published_table_that_inherits_from_the_local_one_is_found_beforehand() {
    let broken = BreakableSite::with_changes().await;
    broken
        .site
        .on_local(
            "create table other () inherits (meter); create publication of_other for table other",
        )
        .await;
    let found = failure(finding(&broken.settings(), "local replica identity").await);
    assert!(found.message.contains("public.other"), "{found:?}");
}
