//! Remote rows that share a key, among others that differ and others that do not: a sum over both must
//! not hide them.

use meter_sync::error::ErrorCode;
use meter_sync::runs::report::RunReport;
use serde_json::json;

use crate::support::site::{Site, rows};

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

#[tokio::test]
async fn keys_that_only_the_local_type_takes_for_one_are_noticed() {
    let site = synced("numeric").await;
    site.on_remote("insert into meter_kept values ('5.0', 7, 'other', true)")
        .await;
    assert_refused(&site, &site.sync().await).await;
}
