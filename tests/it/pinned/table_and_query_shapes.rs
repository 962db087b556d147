//! Shapes of tables, views and queries.

use meter_sync::config::Setting;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{Counts, RunOutcome, RunTrigger};
use serde_json::json;

use super::{counts, names, site};
use crate::support::postgres::{connect, start_pair};
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, Site, finish, mirror, rows, settings};

#[tokio::test]
async fn odd_names_sync_as_others_do() {
    let site = site(
        r#"name text, "meter sync n" text, "meter sync action" text, "meter_sync step" text, "Mixed ""Case" text,
           "select" text, run_id text, n text, key text, action text, "a%b$1" text, "old" text, before text, l text, s text, p text, d text, f text"#,
        "",
    )
    .await;
    let values = "'a','b','c','d','e','f','g','h','i','j','k','l','m','n','o','p','q','r'";
    site.on_remote(&format!(
        "insert into meter values (1, 7, {values}, true), (2, 7, {values}, true)"
    ))
    .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 2,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote(r#"update meter set "meter sync n" = 'x', n = 'y', action = 'z', "Mixed ""Case" = 'w' where id = 1"#).await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 1,
            unchanged: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(run.changes[0].after.len(), 4);
}

#[tokio::test]
async fn a_key_by_an_odd_name_syncs() {
    let remote = r#"create table meter ("select" text, "Key ""1" bigint, tenant_id bigint, name text, active boolean, primary key ("select", "Key ""1"))"#;
    let local = format!("create table tenant (id bigint); insert into tenant values (7); {remote}")
        .replace("tenant_id bigint, ", "");
    let site = Site::with_schemas(remote, &local).await;
    site.on_remote("insert into meter values ('a', 1, 7, 'x', true), ('a', 2, 7, 'y', true)")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 2,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("update meter set name = 'z'").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 2,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn three_hundred_columns_sync() {
    let columns: Vec<String> = (0..300).map(|n| format!("c{n} text")).collect();
    let site = site(&columns.join(", "), "").await;
    site.on_remote(
        "insert into meter (id, tenant_id, active) select n, 7, true from generate_series(1, 30) n",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 30,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("update meter set c7 = '', c299 = 'x' where id < 11")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 10,
            unchanged: 20,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(run.changes[0].after.len(), 2);
}

#[tokio::test]
async fn a_partitioned_local_table_syncs_across_partitions() {
    let remote =
        "create table meter (id bigint primary key, tenant_id bigint, name text, active boolean)";
    let local = "create table tenant (id bigint); insert into tenant values (7);
        create table meter (id bigint primary key, name text, active boolean) partition by range (id);
        create table meter_low partition of meter for values from (0) to (10);
        create table meter_high partition of meter for values from (10) to (20)";
    let site = Site::with_schemas(remote, local).await;
    site.on_remote("insert into meter select n, 7, 'm', true from generate_series(5, 22) n")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 15,
            rejected: 3,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("update meter set name = 'n'").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 15,
            rejected: 3,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn a_rename_in_case_alone_arrives_under_a_case_blind_collation() {
    let remote =
        "create table meter (id text primary key, tenant_id bigint, name text, active boolean)";
    let local = "create table tenant (id bigint); insert into tenant values (7);
        create collation blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        create table meter (id text collate blind primary key, name text collate blind, active boolean)";
    let site = Site::with_schemas(remote, local).await;
    site.on_remote("insert into meter values ('a', 7, 'Main', true)")
        .await;
    site.sync().await;
    site.on_remote("update meter set name = 'MAIN'").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("update meter set id = 'A'").await;
    let run = site.sync().await;
    // To the local table it is the same key.
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
}

#[tokio::test]
async fn columns_come_and_go_between_runs() {
    let site = site("name text", "").await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    site.sync().await;
    site.on_remote("alter table meter add extra text; update meter set extra = 'e'")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    site.on_local("alter table meter add extra text").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("alter table meter drop extra").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    site.on_local("alter table meter drop name").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
}

#[tokio::test]
async fn a_remote_view_serves_as_a_table() {
    let site = Site::new().await;
    site.on_remote("alter table meter rename to base; create view meter as select * from base where status is distinct from 'hidden';
        insert into base (id, tenant_id, name) values (1, 7, 'a'); insert into base (id, tenant_id, status) values (2, 7, 'hidden')").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn a_key_that_is_an_always_generated_identity_and_computed_columns_sync() {
    let site = site(
        "name text",
        ", loud text generated always as (upper(name)) stored",
    )
    .await;
    site.on_local("alter table meter alter id add generated always as identity")
        .await;
    site.on_remote("alter table meter add loud text default 'remote'; insert into meter values (10, 7, 'a', true)").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    site.on_remote("update meter set name = 'b'").await;
    site.sync().await;
    let loud = rows(&site.local, "select id, loud from meter").await;
    assert_eq!(loud, json!([{"id": 10, "loud": "B"}]));
}

#[tokio::test]
async fn a_field_that_is_an_always_generated_identity_is_left_alone() {
    let site = site("name text", ", number bigint generated always as identity").await;
    site.on_remote(
        "alter table meter add number bigint; insert into meter values (1, 7, 'a', true, 99)",
    )
    .await;
    site.sync().await;
    site.on_remote("update meter set name = 'b', number = 100")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(names(&site).await, json!([{"id": 1, "name": "b"}]));
}

#[tokio::test]
async fn a_remote_query_serves_as_a_table() {
    let mut site = Site::new().await;
    let query = r#"select id, 7 as tenant_id, 'it''s "' || name || '"' as name, true as active
        from meter -- of all tenants, said with a comment at the end"#;
    site.reconfigure(&site.settings().with(Setting::RemoteQuery, query));
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'a'), (2, 8, null)")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            inserted: 2,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(
        names(&site).await,
        json!([{"id": "1", "name": "it's \"a\""}, {"id": "2", "name": null}])
    );
    site.on_remote("delete from meter where id = 2").await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            deactivated: 1,
            unchanged: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn a_run_without_changes_logs_itself_and_little_else() {
    // What other tests write is counted with what a server writes; no other test has these servers.
    let (there, here) = start_pair().await;
    let urls = [there.url("postgres"), here.url("postgres")];
    let [remote, local] = [connect(&urls[0]).await, connect(&urls[1]).await];
    remote.batch_execute(REMOTE_SCHEMA).await.unwrap();
    local.batch_execute(LOCAL_SCHEMA).await.unwrap();
    remote.batch_execute("insert into meter (id, tenant_id, name) select n, 7, repeat('x', 70) from generate_series(1, 5000) n").await.unwrap();
    let runs = mirror(&settings(&urls[0], &urls[1]));
    let sync = async || finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
    sync().await;
    sync().await;
    let written = "select md5(string_agg(ctid::text || xmin::text, ',' order by id)) from meter";
    local.batch_execute("checkpoint").await.unwrap();
    let before = rows(&local, "select pg_current_wal_lsn()::text as at").await;
    let written_before = rows(&local, written).await;
    let run = sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            unchanged: 5000,
            ..Counts::default()
        },
        "{run:#?}"
    );
    assert_eq!(rows(&local, written).await, written_before);
    let grown = format!(
        "select pg_current_wal_lsn() - '{}'::pg_lsn < 500000 as little",
        before[0]["at"].as_str().unwrap()
    );
    // The catalogs of the staging tables, with full pages after the checkpoint; the meters take 700 kB.
    assert_eq!(rows(&local, &grown).await, json!([{"little": true}]));
}
