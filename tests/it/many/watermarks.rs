//! Sweeps by row versions: what counts for which tenant.

use meter_sync::config::Setting;
use meter_sync::mirrors::Mirrors;
use serde_json::json;

use super::{LOCAL, REMOTE, of_all, sweep, three_tenants};
use crate::support::site::{self, Site, rows};

/// How many mirrors a sweep finds unchanged, and how many get a run that succeeds.
async fn swept(mirrors: &Mirrors) -> (i64, i64) {
    let report = sweep(mirrors).await.record;
    assert_eq!((report.error, report.counts.failed), (None, 0));
    (report.counts.unchanged, report.counts.succeeded)
}

#[tokio::test]
async fn rows_of_tenants_that_are_not_ours_do_not_count() {
    let site = three_tenants().await;
    let mirrors = site::mirrors(&site.settings().with(Setting::Tenants, "7,8"));
    assert_eq!(swept(&mirrors).await, (0, 2));
    site.on_remote("update meter set name = 'other' where tenant_id = 9")
        .await;
    site.on_local(
        "insert into meter select 1000 + n, 9, 'other', true from generate_series(1, 9) n",
    )
    .await;
    assert_eq!(swept(&mirrors).await, (2, 0));
    site.on_remote(
        "update meter set tenant_id = 7 where id = (select min(id) from meter where tenant_id = 9)",
    )
    .await;
    assert_eq!(swept(&mirrors).await, (1, 1));
    site.on_remote(
        "update meter set tenant_id = 9 where id = (select min(id) from meter where tenant_id = 8)",
    )
    .await;
    assert_eq!(swept(&mirrors).await, (1, 1));
    assert_eq!(swept(&mirrors).await, (2, 0));
}

#[tokio::test]
async fn ids_with_any_characters_are_swept_by_versions() {
    let tables = |schema: &str| {
        let texts = schema.replace("id bigint primary key, name", "id text primary key, name");
        let texts = texts.replace("tenant_id bigint", "tenant_id text");
        texts.replace(
            "(7, 'Acme'), (8, 'Byte'), (9, 'Cole')",
            r#"('a,b', 'Acme'), ('"{}\''''', 'Byte'), ('NULL', 'Cole')"#,
        )
    };
    let meters = r#"(array['a,b', '"{}\''''', 'NULL'])[1 + n % 3]"#;
    let remote = tables(REMOTE).replace("7 + n % 3", meters);
    let site = Site::with_schemas(&remote, &tables(LOCAL)).await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 3));
    let before = rows(&site.local, WATERMARKS).await;
    assert_eq!(swept(&mirrors).await, (3, 0));
    site.on_remote("update meter set name = 'new' where id = 1")
        .await;
    assert_eq!(swept(&mirrors).await, (2, 1));
    site.on_local("update meter set name = 'new' where id = 2")
        .await;
    assert_eq!(swept(&mirrors).await, (2, 1));
    assert_eq!(rows(&site.local, WATERMARKS).await, before);
}

/// How many tenants have a watermark, and on how many bases.
const WATERMARKS: &str =
    "select count(*), count(distinct basis) as bases from meter_sync.meter_sync_seen";
