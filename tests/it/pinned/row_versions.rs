//! What a comparison of row versions must not miss. Before each test two runs in a row have found nothing, so the
//! next one compares versions.

use meter_sync::config::Setting;
use meter_sync::model::{Counts, RunOutcome};
use meter_sync::reports::run_report::RunReport;
use serde_json::{Value as Json, json};
use tokio_postgres::Client;

use crate::support::postgres::{connect, start_pair};
use crate::support::site::{Site, finish, mirror, rows, settings};
use meter_sync::mirrors::RunRequest;
use meter_sync::model::RunTrigger;

const METERS: i64 = 100;

async fn settled() -> Site {
    let site = super::site("name text", "").await;
    site.on_remote(&format!(
        "insert into meter select n, 7, 'meter ' || n, true from generate_series(1, {METERS}) n;
         insert into meter select n, 8, 'other ' || n, true from generate_series(1001, 1010) n"
    ))
    .await;
    site.sync().await;
    let runs = [site.sync().await, site.sync().await];
    assert!(
        runs.iter()
            .all(|run| run.outcome == Some(RunOutcome::NoChange))
    );
    site
}

/// One more run, and then the tables are alike but for what is inactive here.
async fn assert_arrives(site: &Site, counts: Counts) {
    let run = site.sync().await;
    let unchanged = counts.unchanged;
    assert_eq!(
        run.counts,
        Counts {
            unchanged,
            ..counts
        },
        "{run:#?}"
    );
    let of_ours = "select id, name from meter where tenant_id = 7 and active order by id";
    let here = "select id, name from meter where active order by id";
    assert_eq!(
        rows(&site.local, here).await,
        rows(&site.remote, of_ours).await
    );
    let again = site.sync().await;
    assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
}

fn updated(n: i64) -> Counts {
    Counts {
        updated: n,
        unchanged: METERS - n,
        ..Counts::default()
    }
}

#[tokio::test]
async fn a_row_written_before_a_run_and_committed_after_it_arrives() {
    let site = settled().await;
    let late = connect(&site.pair.remote_url).await;
    late.batch_execute("begin; update meter set name = 'late' where id = 5; savepoint a; update meter set name = 'late' where id = 6")
        .await
        .unwrap();
    // What is newer is committed and read meanwhile.
    for id in [7, 8] {
        site.on_remote(&format!("update meter set name = 'early' where id = {id}"))
            .await;
        assert_arrives(&site, updated(1)).await;
    }
    late.batch_execute("commit").await.unwrap();
    assert_arrives(&site, updated(2)).await;
}

#[tokio::test]
async fn a_meter_that_goes_as_another_comes_is_deactivated() {
    let site = settled().await;
    site.on_remote(
        "delete from meter where id = 5; insert into meter values (500, 7, 'new', true)",
    )
    .await;
    let counts = Counts {
        inserted: 1,
        deactivated: 1,
        unchanged: METERS - 1,
        ..Counts::default()
    };
    assert_arrives(&site, counts).await;
}

#[tokio::test]
async fn meters_that_change_their_tenant_or_key_come_and_go() {
    let site = settled().await;
    site.on_remote(
        "update meter set tenant_id = 8 where id in (5, 6); update meter set tenant_id = 7 where id = 1001;
         update meter set id = 600 where id = 60",
    )
    .await;
    let counts = Counts {
        inserted: 2,
        deactivated: 3,
        unchanged: METERS - 3,
        ..Counts::default()
    };
    assert_arrives(&site, counts).await;
}

#[tokio::test]
async fn a_meter_that_was_gone_comes_back_as_another_goes() {
    let site = settled().await;
    site.on_remote("delete from meter where id = 5").await;
    let gone = Counts {
        deactivated: 1,
        unchanged: METERS - 1,
        ..Counts::default()
    };
    assert_arrives(&site, gone).await;
    site.on_remote(
        "insert into meter values (5, 7, 'meter 5', true); delete from meter where id = 6",
    )
    .await;
    let counts = Counts {
        reactivated: 1,
        deactivated: 1,
        unchanged: METERS - 2,
        ..Counts::default()
    };
    assert_arrives(&site, counts).await;
}

#[tokio::test]
async fn what_others_write_here_is_put_right() {
    let site = settled().await;
    site.on_local("update meter set name = 'mine' where id = 5; delete from meter where id = 6; update meter set active = false where id = 7")
        .await;
    site.on_remote("update meter set name = 'theirs' where id = 8")
        .await;
    let counts = Counts {
        inserted: 1,
        updated: 2,
        reactivated: 1,
        unchanged: METERS - 4,
        ..Counts::default()
    };
    assert_arrives(&site, counts).await;
}

#[tokio::test]
async fn a_remote_table_that_is_written_anew_is_compared_by_what_it_holds() {
    for anew in [
        "vacuum full meter",
        "create table copy as select * from meter; truncate meter; insert into meter select * from copy order by id desc; drop table copy",
        "alter table meter alter name type varchar(100)",
        "alter table meter rename to old; create table meter (like old including all); insert into meter select * from old; drop table old",
    ] {
        let site = settled().await;
        site.on_remote(anew).await;
        site.on_remote("update meter set name = 'new' where id = 5")
            .await;
        assert_arrives(&site, updated(1)).await;
    }
}

#[tokio::test]
async fn once_a_day_contents_are_compared() {
    let site = settled().await;
    let compared = async || {
        site.sync().await;
        let last =
            "select compared from meter_sync.meter_sync_log order by started_at desc limit 1";
        rows(&site.local, last).await[0]["compared"].clone()
    };
    assert_eq!(compared().await, "differences");
    site.on_local("update meter_sync.meter_sync_log set started_at = started_at - interval '25 hours', finished_at = finished_at - interval '25 hours'")
        .await;
    assert_eq!(compared().await, "contents");
    assert_eq!(compared().await, "differences");
}

#[tokio::test]
async fn what_is_remembered_wrongly_does_no_harm() {
    let site = settled().await;
    site.on_remote(
        "delete from meter where id in (5, 6); update meter set active = false where id = 7",
    )
    .await;
    let counts = Counts {
        deactivated: 2,
        updated: 1,
        unchanged: METERS - 3,
        ..Counts::default()
    };
    assert_arrives(&site, counts).await;
    let swaps = [
        "delete from meter_sync.meter_sync_gone",
        "update meter_sync.meter_sync_gone set key_hash = key_hash + 1",
        "insert into meter_sync.meter_sync_gone
         select distinct g.tenant, g.local_table, n from meter_sync.meter_sync_gone g, generate_series(1, 100) n",
    ];
    for (n, swap) in (10..).zip(swaps) {
        site.on_local(swap).await;
        // What the rows hold decides.
        site.on_local("delete from meter_sync.meter_sync_seen")
            .await;
        site.on_remote(&format!(
            "update meter set name = 'new' where id = {n}; delete from meter where id = {n} + 50"
        ))
        .await;
        let counts = Counts {
            updated: 1,
            deactivated: 1,
            unchanged: METERS - 4 - (n - 10),
            ..Counts::default()
        };
        assert_arrives(&site, counts).await;
    }
}

#[tokio::test]
async fn rows_that_a_policy_shows_and_hides_come_and_go() {
    let site = settled().await;
    let role = format!("reader_{}", std::process::id());
    site.on_remote(&format!(
        "create table shown (id bigint primary key); insert into shown select id from meter where id <> 50;
         drop role if exists {role}; create role {role} login; grant select on meter, shown to {role};
         alter table meter enable row level security;
         create policy p on meter for select to {role} using (id in (select id from shown))"
    ))
    .await;
    let url = site
        .pair
        .remote_url
        .replace("postgres@", &format!("{role}@"));
    let reader = mirror(&site.settings().with(Setting::RemoteUrl, url));
    let sync = async || finish(&reader, RunRequest::new(RunTrigger::Cli)).await;
    let expected = [(1, 0), (0, 0), (0, 0)];
    for (deactivated, reactivated) in expected {
        let run = sync().await;
        assert_eq!(
            (run.counts.deactivated, run.counts.reactivated),
            (deactivated, reactivated),
            "{run:#?}"
        );
    }
    site.on_remote("insert into shown values (50); delete from shown where id = 51")
        .await;
    let run = sync().await;
    assert_eq!(
        (run.counts.deactivated, run.counts.reactivated),
        (1, 1),
        "{run:#?}"
    );
    site.on_remote(&format!("drop owned by {role}; drop role {role}"))
        .await;
}

#[tokio::test]
async fn after_a_crash_of_either_server_what_the_rows_hold_decides() {
    let (mut remote_server, mut local_server) = start_pair().await;
    let urls = [remote_server.url("postgres"), local_server.url("postgres")];
    let local_schema = "create table meter (id bigint primary key, name text, active boolean)";
    let remote_schema =
        "create table meter (id bigint primary key, tenant_id bigint, name text, active boolean);
        insert into meter select n, 7, 'meter ' || n, true from generate_series(1, 100) n";
    for (url, schema) in urls.iter().zip([remote_schema, local_schema]) {
        connect(url).await.batch_execute(schema).await.unwrap();
    }
    let sync = async || -> RunReport {
        let settings = settings(&urls[0], &urls[1]).with(Setting::TenantId, "7");
        finish(&mirror(&settings), RunRequest::new(RunTrigger::Cli)).await
    };
    for _ in 0..3 {
        sync().await;
    }
    let basis = async |client: &Client| -> Json {
        rows(client, "select basis from meter_sync.meter_sync_seen").await
    };
    let before = basis(&connect(&urls[1]).await).await;
    for server in [&mut remote_server, &mut local_server] {
        server.restart().await.unwrap();
        let change = "update meter set name = name || '!' where id = 5";
        connect(&urls[0]).await.batch_execute(change).await.unwrap();
        let run = sync().await;
        assert_eq!(run.counts, updated(1), "{run:#?}");
    }
    let local = connect(&urls[1]).await;
    assert_ne!(basis(&local).await, before);
    let name = rows(&local, "select name from meter where id = 5").await;
    assert_eq!(name, json!([{"name": "meter 5!!"}]));
}

#[tokio::test]
async fn what_the_catalog_renames_arrives() {
    for (type_, value) in [
        ("regclass", "'thing'"),
        ("regclass[]", "'{thing}'"),
        ("aclitem", "'=r/postgres'"),
    ] {
        let site = Site::with_schemas(
            &format!("create table thing (id bigint); create table meter (id bigint primary key, tenant_id int, name {type_}, active boolean not null)"),
            "create table tenant (id bigint primary key); insert into tenant values (7);
             create table meter (id bigint primary key, name text, active boolean not null)",
        )
        .await;
        site.on_remote(&format!("insert into meter values (1, 7, {value}, true)"))
            .await;
        for _ in 0..3 {
            site.sync().await;
        }
        site.on_remote("alter table thing rename to other_thing")
            .await;
        let run = site.sync().await;
        let renamed = i64::from(type_ != "aclitem");
        assert_eq!(run.counts.updated, renamed, "{type_}: {run:#?}");
        let remembered = rows(
            &site.local,
            "select count(*) as n from meter_sync.meter_sync_seen",
        )
        .await;
        assert_eq!(remembered, json!([{"n": 0}]), "{type_}");
    }
}
