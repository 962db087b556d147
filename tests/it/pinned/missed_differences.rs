//! Differences that a digest would miss, and where it fails though a comparison of all rows does not.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::json;

use crate::support::postgres::{connect, postgres_18, start_server};
use crate::support::site::{Site, finish, mirror, rows, settings};

/// A local table of plain types.
const LOCAL: &str = "create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme');
    create table meter (id bigint primary key, name text, active boolean not null)";

/// The remote shows `meter_kept` through a view, so that what the rows hold is compared.
async fn viewed(columns: &str, values: &str, local: &str) -> Site {
    let remote = format!(
        "create table meter_kept (id bigint primary key, tenant_id bigint not null, {columns}, active boolean not null);
         create view meter as select * from meter_kept;
         insert into meter_kept select n, 7, {values}, true from generate_series(1, 50) n"
    );
    let local = format!(
        "create table tenant (id bigint primary key, name text);
         insert into tenant values (7, 'Acme');
         create table meter (id bigint primary key, {local}, active boolean not null)"
    );
    let site = Site::with_schemas(&remote, &local).await;
    let run = site.sync().await;
    assert_eq!(run.counts.inserted, 50, "{run:#?}");
    site
}

#[tokio::test]
async fn two_flags_that_turn_together_are_noticed() {
    let site = viewed("billable boolean", "true", "billable boolean").await;
    site.on_remote("update meter_kept set active = false, billable = false where id = 5")
        .await;
    let run = site.sync().await;
    assert_eq!(run.counts.updated, 1, "{run:#?}");
}

#[tokio::test]
async fn two_flags_that_somebody_turns_here_are_put_right() {
    let site = super::site("billable boolean, prepaid boolean", "").await;
    site.on_remote("insert into meter select n, 7, true, true, true from generate_series(1, 50) n")
        .await;
    site.sync().await;
    site.on_local("update meter set billable = false, prepaid = false where id = 5")
        .await;
    let run = site.sync().await;
    assert_eq!(run.counts.updated, 1, "{run:#?}");
}

/// Seeds that follow each other cancel out in fours, in every second run.
#[tokio::test]
async fn four_flags_that_are_set_together_are_noticed() {
    let flags = "a boolean, b boolean, c boolean, d boolean";
    let site = viewed(flags, "null, null, null, null", flags).await;
    for id in 1..=12 {
        site.on_remote(&format!(
            "update meter_kept set a = true, b = true, c = true, d = true where id = {id}"
        ))
        .await;
        let run = site.sync().await;
        assert_eq!(run.counts.updated, 1, "{id} {run:#?}");
    }
}

/// Repaired (or made) mojibake: the same bytes in another encoding. The servers do not hash texts alike then,
/// and find the difference all the same.
#[tokio::test]
async fn texts_whose_bytes_agree_in_different_encodings_are_told_apart() {
    let site = Site::with_schemas("", LOCAL).await;
    let (server, name) = site.pair.remote_url.rsplit_once('/').unwrap();
    let latin = format!("latin_{name}");
    for statement in [
        format!("drop database if exists {latin}"),
        format!("create database {latin} encoding 'LATIN1' locale 'C' template template0"),
    ] {
        site.on_remote(&statement).await;
    }
    let url = format!("{server}/{latin}");
    let remote = connect(&url).await;
    let on_remote = async |sql: &str| remote.batch_execute(sql).await.unwrap();
    on_remote(
        "create table meter_kept (id bigint primary key, tenant_id bigint, name text, active boolean);
         create view meter as select * from meter_kept;
         insert into meter_kept select n, 7, 'é ' || n, true from generate_series(1, 2000) n",
    )
    .await;
    let reader = mirror(&settings(&url, &site.pair.local_url));
    let sync = async || finish(&reader, RunRequest::new(RunTrigger::Cli)).await;
    let load = sync().await;
    assert_eq!(load.counts.inserted, 2000, "{load:#?}");
    on_remote("update meter_kept set name = 'Ã© 1' where id = 1").await;
    let run = sync().await;
    assert_eq!(run.counts.updated, 1, "{run:#?}");
    let again = sync().await;
    assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
    for run in [run, again] {
        assert!(run.remote_bytes < load.remote_bytes / 4, "{run:#?}");
    }
}

/// A role with these grants on the remote loads the meters, and finds nothing to do twice.
async fn assert_syncs_as_reader(site: &Site, grants: &str) {
    let (_, name) = site.pair.remote_url.rsplit_once('/').unwrap();
    let role = format!("reader_{}_{name}", std::process::id());
    site.on_remote(&format!(
        "drop role if exists {role}; create role {role} login"
    ))
    .await;
    site.on_remote(&grants.replace("reader", &role)).await;
    let url = site
        .pair
        .remote_url
        .replace("postgres@", &format!("{role}@"));
    let reader = mirror(&site.settings().with(Setting::RemoteUrl, url));
    for expected in [
        RunOutcome::Succeeded,
        RunOutcome::NoChange,
        RunOutcome::NoChange,
    ] {
        let run = finish(&reader, RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.outcome, Some(expected), "{run:#?}");
    }
    site.on_remote(&format!("drop owned by {role}; drop role {role}"))
        .await;
}

#[tokio::test]
async fn a_role_that_may_read_some_columns_only_can_sync_them() {
    let site = super::site("name text", "").await;
    site.on_remote("alter table meter add column secret text; insert into meter select n, 7, 'm' || n, true, 'x' from generate_series(1, 50) n")
        .await;
    let grants = "grant select (id, tenant_id, name, active) on meter to reader";
    assert_syncs_as_reader(&site, grants).await;
}

#[tokio::test]
async fn a_role_that_may_not_use_the_schema_of_a_type_can_sync_it() {
    let remote = "create schema kinds; create type kinds.kind as enum ('gas', 'water');
        create table meter (id bigint primary key, tenant_id bigint not null, kind kinds.kind, active boolean not null);
        insert into meter select n, 7, 'gas', true from generate_series(1, 50) n";
    let site = Site::with_schemas(
        remote,
        &LOCAL.replace("name text, active", "kind text, active"),
    )
    .await;
    assert_syncs_as_reader(&site, "grant select on meter to reader").await;
}

async fn triggered(body: &str) -> Site {
    let site = super::site("name text", "").await;
    site.on_local(&format!(
        "create function mine() returns trigger language plpgsql as $$ begin {body} return new; end $$;
         create trigger mine before insert or update on meter for each row execute function mine()"
    ))
    .await;
    site.on_remote(
        "insert into meter select n, 7, 'meter ' || n, true from generate_series(1, 300) n",
    )
    .await;
    site
}

#[tokio::test]
async fn a_value_that_a_local_trigger_changes_in_a_late_row_is_told_in_each_run() {
    let site = triggered("if new.id = 290 then new.name = 'mine'; end if;").await;
    for _ in 0..2 {
        let run = site.sync().await;
        assert_ne!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
        assert_warns_of(&run, "name");
    }
    let name = rows(&site.local, "select name from meter where id = 290").await;
    assert_eq!(name, json!([{"name": "mine"}]));
}

#[tokio::test]
async fn meters_that_a_local_trigger_keeps_active_are_told_in_each_run() {
    let site = triggered("new.active = true;").await;
    site.sync().await;
    site.on_remote("delete from meter where id = 5").await;
    let run = site.sync().await;
    assert_eq!(run.counts.deactivated, 1, "{run:#?}");
    assert_warns_of(&run, "active");
    let again = site.sync().await;
    assert_warns_of(&again, "active");
    let active = rows(&site.local, "select active from meter where id = 5").await;
    assert_eq!(active, json!([{"active": true}]));
    assert_ne!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
}

#[tokio::test]
async fn meters_that_a_local_trigger_takes_away_are_told_in_each_run() {
    for (body, key) in [
        ("delete from meter where id = 5 and id = new.id;", "id"),
        (
            "if new.id = 5 then update meter set id = -5 where id = 5; end if;",
            "id",
        ),
    ] {
        let site = triggered("").await;
        site.sync().await;
        site.on_local(&format!(
            "create function take() returns trigger language plpgsql as $$ begin {body} return null; end $$;
             create trigger take after insert or update of name on meter for each row execute function take()"
        ))
        .await;
        site.on_remote("update meter set name = 'new' where id in (4, 5)")
            .await;
        let run = site.sync().await;
        assert_eq!(run.counts.updated, 2, "{run:#?}");
        assert_warns_of(&run, key);
    }
}

/// Such a trigger is not one of the local table.
#[tokio::test]
async fn a_value_that_a_trigger_of_an_inheriting_table_changes_is_told() {
    let site = super::site("name text", "").await;
    site.on_local(
        "create table kid () inherits (meter);
         create function mine() returns trigger language plpgsql as $$ begin new.name = 'mine'; return new; end $$;
         create trigger mine before update on kid for each row execute function mine();
         insert into kid values (1, 'old', true)",
    )
    .await;
    site.on_remote("insert into meter values (1, 7, 'new', true), (2, 7, 'new', true)")
        .await;
    for _ in 0..2 {
        let run = site.sync().await;
        assert_eq!(run.counts.updated, 1, "{run:#?}");
        assert_warns_of(&run, "name");
    }
}

fn assert_warns_of(run: &RunReport, column: &str) {
    let warning = run.warning.as_deref().unwrap_or_default();
    assert!(
        warning.contains(&format!("what is written to {column} ")),
        "{run:#?}"
    );
}

#[tokio::test]
async fn keys_that_the_local_type_cuts_blanks_off_are_noticed_as_given_twice() {
    let remote = "create table meter (id text primary key, tenant_id bigint not null, name text, active boolean not null);
        insert into meter select rpad('k' || n, 5), 7, 'meter ' || n, true from generate_series(1, 300) n";
    let local = "create table tenant (id bigint primary key, name text);
        insert into tenant values (7, 'Acme');
        create table meter (id varchar(5) primary key, name text, active boolean not null)";
    let site = Site::with_schemas(remote, local).await;
    assert_eq!(site.sync().await.counts.inserted, 300);
    site.on_remote("insert into meter values ('k1    ', 7, 'other', true)")
        .await;
    let run = site.sync().await;
    let code = run.error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::DuplicateSourceKey), "{run:#?}");
}

#[tokio::test]
async fn a_view_that_takes_longer_than_a_statement_may_is_read_all_the_same() {
    let remote = "create table meter_kept (id bigint primary key, tenant_id bigint not null, name text, active boolean not null);
        create view meter as select k.* from meter_kept k, pg_sleep(1.4);
        insert into meter_kept select n, 7, 'meter ' || n, true from generate_series(1, 50) n";
    let local = "create table tenant (id bigint primary key, name text);
        insert into tenant values (7, 'Acme');
        create table meter (id bigint primary key, name text, active boolean not null)";
    let site = Site::with_schemas(remote, local).await;
    let reader = mirror(&site.settings().with(Setting::StatementTimeout, "1s"));
    let sync = async || finish(&reader, RunRequest::new(RunTrigger::Cli)).await;
    let first = sync().await;
    assert_eq!(first.outcome, Some(RunOutcome::Succeeded), "{first:#?}");
    let second = sync().await;
    assert_eq!(second.outcome, Some(RunOutcome::NoChange), "{second:#?}");
}

#[tokio::test]
async fn a_value_that_never_fits_does_not_make_every_run_read_everything() {
    let site = viewed(
        "port text, note text",
        "n::text, repeat('note ', 40)",
        "port integer, note text",
    )
    .await;
    site.on_remote("insert into meter_kept select n, 7, n::text, repeat('note ', 40), true from generate_series(51, 5000) n;
        update meter_kept set port = 'none' where id = 5")
        .await;
    let all = site.sync().await;
    assert_eq!(all.counts.rejected, 1, "{all:#?}");
    let again = site.sync().await;
    assert_eq!(again.counts.rejected, 1, "{again:#?}");
    assert!(again.remote_bytes < 200 * 1024, "{again:#?}");
}

/// A virtual generated column (Postgres 18) gets other values and no row another version.
#[tokio::test]
async fn a_virtual_column_that_is_computed_otherwise_is_noticed() {
    let binaries = postgres_18().await;
    let remote_server = start_server(&binaries, "remote").await;
    let local_server = start_server(&binaries, "local").await;
    let urls = [remote_server.url("postgres"), local_server.url("postgres")];
    let remote = connect(&urls[0]).await;
    let local = connect(&urls[1]).await;
    remote
        .batch_execute(
            "create table meter (id bigint primary key, tenant_id bigint, active boolean, n integer,
                name text generated always as (case when n > 1 then 'many' else 'one' end) virtual);
             insert into meter select n, 7, true, n from generate_series(1, 3) n",
        )
        .await
        .unwrap();
    local
        .batch_execute("create table meter (id bigint primary key, name text, active boolean)")
        .await
        .unwrap();
    let runs = mirror(&settings(&urls[0], &urls[1]).with(Setting::TenantId, "7"));
    let sync = async || finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
    sync().await;
    sync().await;
    remote
        .batch_execute("alter table meter alter column name set expression as (case when n > 1 then 'several' else 'one' end)")
        .await
        .unwrap();
    let run = sync().await;
    assert_eq!(run.counts.updated, 2, "{run:#?}");
}
