//! The commands in a process that keeps several tenants.

use meter_sync::config::Setting;
use serde_json::json;

use super::{assert_as_shown, object, run};
use crate::support::program::{CommandOutput, MoreSettings};
use crate::support::site::{NOWHERE, REMOTE_SCHEMA, Site, rows};

const LOCAL_SCHEMA: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme'), (8, 'Byte'), (9, 'Cole');
    create table meter (
        id bigint primary key, tenant_id bigint not null, name varchar(10), active boolean not null default true)";
const THREE: MoreSettings<'_> = &[(Setting::Tenants, "7,8,9")];

async fn site() -> Site {
    let site = Site::with_schemas(REMOTE_SCHEMA, LOCAL_SCHEMA).await;
    let meters = "insert into meter (id, tenant_id, name) values (1, 7, 'a'), (2, 7, 'b'), (3, 8, 'c'), (4, 9, 'd')";
    site.on_remote(meters).await;
    site
}

/// The status goes on to tell of a sweep that failed, until another one is logged. A sync tells of itself.
#[tokio::test]
async fn an_earlier_sweep_that_failed_is_no_warning_of_this_sync() {
    let site = site().await;
    let unreachable = [THREE[0], (Setting::RemoteUrl, NOWHERE)];
    assert_eq!(run(&site, &["sync"], THREE).await.code, 0);
    assert_eq!(run(&site, &["sync"], &unreachable).await.code, 1);
    let ended = run(&site, &["sync", "--dry-run", "--json"], THREE).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(object(&ended)["warnings"], json!([]));
}

#[tokio::test]
async fn sync_syncs_all_tenants_and_tells_of_those_that_changed() {
    let site = site().await;
    let ended = run(&site, &["sync"], THREE).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let mut lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(
        lines.pop(),
        Some("3 tenants: 0 unchanged, 3 synced, 0 not synced in full.")
    );
    // The runs go on at the same time and end in any order.
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "succeeded   7 (Acme): Synced: 2 inserted, 0 unchanged.",
            "succeeded   8 (Byte): Synced: 1 inserted, 0 unchanged.",
            "succeeded   9 (Cole): Synced: 1 inserted, 0 unchanged.",
        ]
    );
    site.on_remote("update meter set name = 'C' where id = 3")
        .await;
    let ended = run(&site, &["sync", "--dry-run", "--json"], THREE).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let planned = object(&ended);
    assert_eq!(
        (&planned["unchanged"], &planned["succeeded"]),
        (&json!(2), &json!(1))
    );
    let ended = run(&site, &["sync", "--json", "--reason", "by hand"], THREE).await;
    let synced = object(&ended);
    assert_eq!(synced["tenants"], 3);
    assert_eq!(
        (
            &synced["unchanged"],
            &synced["succeeded"],
            &synced["failed"]
        ),
        (&json!(2), &json!(1), &json!(0))
    );
    let runs = synced["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(
        (&runs[0]["tenant_id"], &runs[0]["name"]),
        (&json!("8"), &json!("Byte"))
    );
    assert_as_shown("meter_sync_trigger", &runs[0]["run"]);
    let log = "select count(*) from meter_sync.meter_sync_log where trigger = 'cli' and reason = 'by hand'";
    assert_eq!(rows(&site.local, log).await, json!([{"count": 1}]));
}

#[tokio::test]
async fn the_worst_tenant_gives_the_exit_code_and_none_holds_back_another() {
    let site = site().await;
    run(&site, &["sync"], THREE).await;
    let many =
        "insert into meter (id, tenant_id, name) select n, 8, 'm' from generate_series(100, 120) n";
    site.on_remote(many).await;
    run(&site, &["sync"], THREE).await;
    // Tenant 7 gets a row that is rejected, the brake refuses tenant 8, and tenant 9 is fine.
    site.on_remote("update meter set name = 'much too long' where id = 1; delete from meter where tenant_id = 8; update meter set name = 'D' where id = 4").await;
    let ended = run(&site, &["sync"], THREE).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    ended.assert_says(&[
        "partial     7 (Acme): ",
        "refused     8 (Byte): ",
        "[SOURCE_EMPTY_REFUSED]",
        "succeeded   9 (Cole): Synced: 1 updated, ",
        "3 tenants: 0 unchanged, 1 synced, 2 not synced in full.",
    ]);
    let two = [(Setting::Tenants, "7,9")];
    assert_eq!(run(&site, &["sync"], &two).await.code, 5);
    let down = [(Setting::Tenants, "7,8"), (Setting::RemoteUrl, NOWHERE)];
    let ended = run(&site, &["sync", "--json"], &down).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(object(&ended)["failed"], 2);
}

#[tokio::test]
async fn what_a_person_allows_is_of_one_tenant() {
    let site = site().await;
    for flags in [
        &["sync", "--allow-mass-deactivation", "--yes"][..],
        &["sync", "--allow-tenant-change"],
        &[
            "sync",
            "--allow-plan",
            "0190c2f1-7a00-7000-8000-000000000001",
        ],
    ] {
        let ended = run(&site, flags, THREE).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(
            ended.stderr.contains("--tenant") && ended.stderr.contains("TENANT_REQUIRED"),
            "{ended:?}"
        );
    }
    let ended = run(
        &site,
        &[
            "sync",
            "--tenant",
            "8",
            "--allow-mass-deactivation",
            "--yes",
        ],
        THREE,
    )
    .await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let held = "select distinct tenant_id from meter";
    assert_eq!(rows(&site.local, held).await, json!([{"tenant_id": 8}]));
    let read_only = [(Setting::Tenants, "7,8"), (Setting::ReadOnly, "true")];
    assert_eq!(run(&site, &["sync"], &read_only).await.code, 2);
}

#[tokio::test]
async fn status_counts_the_tenants_and_shows_the_worst_first() {
    let site = site().await;
    run(&site, &["sync", "--tenant", "8"], THREE).await;
    let ended = run(&site, &["status"], THREE).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    ended.assert_says(&[
        "tenants    3: 2 never_run, 1 paused",
        "never_run      never",
    ]);
    let place = |text: &str| ended.stdout.find(text).expect(text);
    assert!(
        place("7 (Acme)") < place("9 (Cole)") && place("9 (Cole)") < place("8 (Byte)"),
        "{}",
        ended.stdout
    );
    let ended = run(&site, &["status", "--json"], THREE).await;
    let status = object(&ended);
    assert_as_shown("meter_sync_status", &status);
    assert_eq!(status["tenants"]["total"], 3);
    let one = run(&site, &["status", "--json", "--tenant", "8"], THREE).await;
    assert_eq!(
        (one.code, &object(&one)["tenant"]["name"]),
        (0, &json!("Byte"))
    );
    let run_id = object(&one)["last_run"]["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    for about_runs in [&["--run", &run_id], &["--history", "3"]] {
        let unnamed = run(&site, &[&["status"][..], about_runs].concat(), THREE).await;
        assert_eq!(unnamed.code, 2, "{unnamed:?}");
        assert!(unnamed.stderr.contains("--tenant"), "{unnamed:?}");
    }
    let named = run(&site, &["status", "--run", &run_id, "--tenant", "8"], THREE).await;
    assert_eq!(named.code, 0, "{named:?}");
}

#[tokio::test]
async fn the_table_of_many_tenants_is_short() {
    let site = site().await;
    site.on_local("insert into tenant select n, 'tenant ' || n from generate_series(100, 196) n")
        .await;
    let ended = run(&site, &["status"], &[(Setting::Tenants, "all")]).await;
    assert!(
        ended.stdout.contains("tenants    100: 100 never_run\n"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("and 80 others, which are no worse\n"),
        "{}",
        ended.stdout
    );
    let ended = run(&site, &["status", "--json"], &[(Setting::Tenants, "all")]).await;
    let status = object(&ended);
    assert_eq!(
        status["tenants"]["list"].as_array().expect("a list").len(),
        100
    );
}

#[tokio::test]
async fn check_looks_at_the_first_tenants_and_says_how_many_it_left_out() {
    let site = site().await;
    let ended = run(&site, &["check"], THREE).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.assert_says(&[
        "ok      remote meters: 2 of tenant 7\n",
        "ok      tenant 8: remote meters: 1 of tenant 8\n",
        "ok      tenant 9: remote meters: 1 of tenant 9\n",
        "ok      tenants: 3 are kept in sync, and the rows of all were looked at\n",
    ]);
    let schedules = ended.stdout.matches("schedule: ").count();
    assert_eq!(schedules, 1, "{}", ended.stdout);
    let five = [(Setting::Tenants, "7,8,9,10,11")];
    let ended = run(&site, &["check"], &five).await;
    let expected =
        "tenants: 5 are kept in sync; the rows of 7, 8, 9 were looked at, and those of 2 were not";
    assert!(ended.stdout.contains(expected), "{}", ended.stdout);
    site.on_local("drop table tenant").await;
    let ended = run(&site, &["check"], &[(Setting::Tenants, "all")]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("FAILED  tenant: METER_SYNC_TENANTS is all"),
        "{}",
        ended.stdout
    );
}

/// Where each tenant has a table of its own, Postgres can have no table for a long id.
#[tokio::test]
async fn sync_tells_of_a_tenant_that_was_left_out_as_status_does() {
    let long = "x".repeat(70);
    let local = format!(
        "create table tenant (id text primary key, name text);
        insert into tenant values ('7', 'Acme'), ('{long}', 'Long');
        create schema site_7;
        create table site_7.meter (id bigint primary key, name text, active boolean not null default true)"
    );
    let site = Site::with_schemas(REMOTE_SCHEMA, &local).await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'a')")
        .await;
    let more: MoreSettings<'_> = &[
        (Setting::Tenants, "all"),
        (Setting::LocalTable, "site_{tenant}.meter"),
    ];
    let status = run(&site, &["status", "--json"], more).await;
    let told = object(&status)["warnings"].clone();
    let warning = told[0].as_str().expect("a warning");
    assert!(
        warning.contains(&long) && warning.contains("63 bytes"),
        "{warning}"
    );
    let synced = run(&site, &["sync", "--json"], more).await;
    assert_eq!((synced.code, status.code), (1, 1), "{synced:?}");
    let synced = object(&synced);
    assert_eq!(synced["warnings"], told);
    assert_eq!(
        (&synced["tenants"], &synced["succeeded"]),
        (&json!(1), &json!(1))
    );
    let ended = run(&site, &["sync"], more).await;
    let line = format!("warning     {warning}\n");
    assert!(ended.stdout.contains(&line), "{ended:?}");
}

#[tokio::test]
async fn status_of_one_tells_when_a_sweep_found_nothing_changed() {
    let site = site().await;
    let of_7 = ["status", "--tenant", "7"];
    run(&site, &["sync"], THREE).await;
    let before = run(&site, &of_7, THREE).await;
    run(&site, &["sync"], THREE).await;
    let ended = run(&site, &of_7, THREE).await;
    let told = |ended: &CommandOutput| ended.stdout.matches("\nchecked    20").count();
    assert_eq!((told(&before), told(&ended)), (0, 1), "{ended:?}");
}
