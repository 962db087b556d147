//! Sweeps by row versions: what counts for which tenant, and watermarks that a look at contents renews.

use meter_sync::config::Setting;
use meter_sync::mirrors::{Mirrors, RunRequest};
use meter_sync::model::RunTrigger;
use serde_json::json;

use super::{LOCAL, REMOTE, many_tenants, of_all, sweep, three_tenants};
use crate::support::site::{self, Site, rows};
use crate::support::wait;

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

/// Writes both tables to new files, so that their old row versions prove nothing.
async fn rewrite(site: &Site) {
    site.on_remote("vacuum full meter").await;
    site.on_local("vacuum full meter").await;
}

const MARKS: &str = "select tenant, basis, remote_rows, remote_sum, local_rows, local_sum
    from meter_sync.meter_sync_seen order by tenant";

#[tokio::test]
async fn after_a_rewrite_one_look_at_contents_is_enough() {
    let site = many_tenants().await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 43));
    // A meter that is gone from the remote. Contents are equal only with its tombstone, versions without it, too.
    site.on_remote("delete from meter where id = 1").await;
    assert_eq!(swept(&mirrors).await, (42, 1));
    rewrite(&site).await;
    let old = rows(&site.local, MARKS).await;
    let dry = RunRequest {
        dry_run: true,
        ..RunRequest::new(RunTrigger::Cli)
    };
    let report = mirrors.sweep(&dry, |_, _| {}).await.expect("a sweep");
    assert_eq!(report.record.counts.unchanged, 43);
    assert_eq!(rows(&site.local, MARKS).await, old, "a dry run stores none");
    assert_eq!(swept(&mirrors).await, (43, 0), "by contents");
    assert_eq!(
        rows(&site.local, WATERMARKS).await,
        json!([{"count": 43, "bases": 1}])
    );
    site.on_local("delete from meter_sync.meter_sync_gone")
        .await;
    assert_eq!(swept(&mirrors).await, (43, 0), "by versions");
    // A run finds the same versions as the sweep.
    let before = rows(&site.local, MARKS).await;
    site.on_local("delete from meter_sync.meter_sync_seen")
        .await;
    for known in mirrors.all().await.expect("mirrors").iter() {
        site::finish(&known.mirror, RunRequest::new(RunTrigger::Cli)).await;
    }
    assert_eq!(rows(&site.local, MARKS).await, before);
}

#[tokio::test]
async fn changes_after_a_look_at_contents_are_found() {
    let site = many_tenants().await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 43));
    rewrite(&site).await;
    site.on_remote("update meter set name = 'before' where tenant_id = 110")
        .await;
    assert_eq!(swept(&mirrors).await, (42, 1));
    site.on_remote("update meter set name = 'after' where tenant_id = 120")
        .await;
    site.on_local("update meter set name = 'after' where tenant_id = 130")
        .await;
    assert_eq!(swept(&mirrors).await, (41, 2));
    let found = "select tenant, sum(updated)::bigint as updated from meter_sync.meter_sync_log
        where outcome = 'succeeded' and updated > 0 group by 1 order by 1";
    let expected = json!([
        {"tenant": "110", "updated": 1}, {"tenant": "120", "updated": 1}, {"tenant": "130", "updated": 1},
    ]);
    assert_eq!(rows(&site.local, found).await, expected);
    let meters = "select id, tenant_id, name from meter order by id";
    assert_eq!(
        rows(&site.local, meters).await,
        rows(&site.remote, meters).await
    );
}

/// Sweeps, and meanwhile writes to the local database, after the versions were read and before the contents are. The look at
/// contents reads the tombstones, so it waits for a lock on their table.
async fn swept_during(site: &Site, mirrors: &Mirrors, write: &str) -> (i64, i64) {
    site.on_local("begin; lock table meter_sync.meter_sync_gone in access exclusive mode")
        .await;
    let write = async {
        wait::until("the sweep waits", async || {
            let waiting = "select count(*) > 0 as yes from pg_locks l join pg_database d on d.oid = l.database
                where not l.granted and d.datname = current_database()";
            rows(&site.local, waiting).await[0]["yes"] == true
        })
        .await;
        site.on_local(&format!("{write}; commit")).await;
    };
    let (looked, ()) = tokio::join!(Box::pin(swept(mirrors)), write);
    looked
}

#[tokio::test]
async fn a_local_write_during_a_look_at_contents_is_part_of_what_it_compares() {
    let site = many_tenants().await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 43));
    rewrite(&site).await;
    let write = "update meter set name = 'x' where tenant_id = 130; update meter set name = 'one' where tenant_id = 130";
    let looked = swept_during(&site, &mirrors, write).await;
    assert_eq!(looked, (43, 0));
    site.on_local("update meter set name = 'y' where tenant_id = 131")
        .await;
    assert_eq!(swept(&mirrors).await, (42, 1));
}

#[tokio::test]
async fn a_run_during_a_look_at_contents_leaves_no_watermark_of_before_it() {
    let site = many_tenants().await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 43));
    let meter = rows(&site.local, "select * from meter where tenant_id = 130").await;
    assert_eq!(
        meter,
        json!([{"id": 1130, "tenant_id": 130, "name": "one", "active": true}])
    );
    let lose = "delete from meter where tenant_id = 130";
    site.on_local(lose).await;
    rewrite(&site).await;
    // The versions are read without the meter, the contents with it.
    let write = "insert into meter values (1130, 130, 'one', true)";
    let looked = swept_during(&site, &mirrors, write).await;
    assert_eq!(looked, (43, 0));
    // The versions are now those that were read without the meter.
    site.on_local(lose).await;
    assert_eq!(swept(&mirrors).await, (42, 1));
    assert_eq!(
        rows(&site.local, "select * from meter where tenant_id = 130").await,
        meter
    );
}
