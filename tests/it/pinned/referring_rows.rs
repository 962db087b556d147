//! Rows of other tables that refer to meters whose unique values are exchanged or given up: they keep their meter,
//! or the meters stay as they are.

use meter_sync::check::{self, Verdict};
use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;
use serde_json::{Value, json};

use super::site;
use super::table_reloads::as_role;
use crate::support::site::{Site, config, rows};

const THREE: &str =
    "insert into meter values (1, 7, 'A', true), (2, 7, 'B', true), (3, 7, 'C', true)";
const EXCHANGE: &str =
    "update meter set name = 'T' where id = 1; update meter set name = 'A' where id = 2;
    update meter set name = 'B' where id = 1; update meter set active = false where id = 3";

/// Meters with readings that lose their meter where nothing is done for them.
async fn with_readings(local: &str, type_: &str) -> Site {
    let site = site("name text", "").await;
    site.on_local(&format!(
        "{local}; alter table meter alter name type {type_}, add unique (name);
         create schema kept; create table kept.reading (
             id bigint primary key, meter {type_} references meter (name) on update set null)"
    ))
    .await;
    site.on_remote(THREE).await;
    site.sync().await;
    site
}

async fn readings(site: &Site) -> Value {
    rows(
        &site.local,
        "select id, meter from kept.reading order by id",
    )
    .await
}

#[tokio::test]
async fn a_reference_that_is_blind_to_case_is_followed_as_it_compares() {
    let site = with_readings("create extension citext", "citext").await;
    site.on_local("insert into kept.reading values (1, 'a'), (2, 'B')")
        .await;
    site.on_remote(EXCHANGE).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let moved = json!([{"id": 1, "meter": "B"}, {"id": 2, "meter": "A"}]);
    assert_eq!(readings(&site).await, moved);
    // Entered anew under another key, the meter does not get a value that a reading rests on.
    site.on_remote("update meter set id = 101 where id = 1")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(readings(&site).await, moved);
}

#[tokio::test]
async fn a_reference_of_another_collation_is_followed() {
    let site = with_readings("select", "text collate \"C\"").await;
    site.on_local(
        "alter table kept.reading alter meter type text collate \"POSIX\";
         insert into kept.reading values (1, 'A')",
    )
    .await;
    site.on_remote(EXCHANGE).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(readings(&site).await, json!([{"id": 1, "meter": "B"}]));
}

/// The exchange is rejected, the rest of the run goes on, and nothing is lost.
async fn assert_left_alone(site: &Site, what: &str) {
    let before = readings(site).await;
    site.on_remote(EXCHANGE).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{what}: {run:#?}");
    assert_eq!(readings(site).await, before, "{what}");
    let names = "select id, name, active from meter order by id";
    assert_eq!(
        rows(&site.local, names).await,
        json!([
            {"id": 1, "name": "A", "active": true}, {"id": 2, "name": "B", "active": true},
            {"id": 3, "name": "C", "active": false}
        ]),
        "{what}"
    );
}

#[tokio::test]
async fn what_refers_out_of_our_sight_keeps_the_meters_as_they_are() {
    for (hidden, grants) in [
        (
            "alter table kept.reading enable row level security",
            "grant usage on schema kept to $role",
        ),
        ("select", "select"),
    ] {
        let mut site = with_readings("select", "text").await;
        let role = format!("follows_{}", std::process::id());
        let grants = grants.replace("$role", &role);
        site.on_local(&format!(
            "insert into kept.reading values (1, 'A'), (2, 'B'); {hidden};
             drop role if exists {role}; create role {role} login;
             grant all on meter, kept.reading, tenant to {role}; {grants};
             grant usage, create on schema meter_sync to {role};
             grant all on all tables in schema meter_sync to {role};
             grant all on all sequences in schema meter_sync to {role}"
        ))
        .await;
        let settings = site.settings();
        let url = as_role(&site.pair.local_url, &role);
        site.reconfigure(&settings.with(Setting::LocalUrl, &url));
        assert_left_alone(&site, hidden).await;
        site.on_local(&format!("drop owned by {role}; drop role {role}"))
            .await;
    }
}

#[tokio::test]
async fn what_a_trigger_keeps_from_following_keeps_the_meters_as_they_are() {
    for body in ["return null;", "new.meter = null; return new;"] {
        let site = with_readings("select", "text").await;
        site.on_local(&format!(
            "create function stays() returns trigger language plpgsql as $$ begin {body} end $$;
             create trigger stays before update on kept.reading for each row when (new.meter is not null)
             execute function stays();
             insert into kept.reading values (1, 'A'), (2, 'B')"
        ))
        .await;
        assert_left_alone(&site, body).await;
    }
}

#[tokio::test]
async fn meters_that_refer_to_meters_say_what_the_remote_says() {
    for action in ["cascade", "set null", "set default"] {
        let site = site("name text, parent text", ", unique (name)").await;
        site.on_local(&format!(
            "alter table meter add foreign key (parent) references meter (name) on update {action}"
        ))
        .await;
        site.on_remote(
            "insert into meter values (1, 7, 'A', null, true), (2, 7, 'B', null, true), (3, 7, 'C', 'A', true), (4, 7, 'D', 'B', true)",
        )
        .await;
        site.sync().await;
        site.on_remote(
            "update meter set name = 'T' where id = 1; update meter set name = 'A' where id = 2;
             update meter set name = 'B' where id = 1; update meter set parent = 'C' where id = 4",
        )
        .await;
        let run = site.sync().await;
        assert_eq!(
            run.outcome,
            Some(RunOutcome::Succeeded),
            "{action}: {run:#?}"
        );
        let here = rows(
            &site.local,
            "select id, name, parent from meter order by id",
        )
        .await;
        let there = rows(
            &site.remote,
            "select id, name, parent from meter order by id",
        )
        .await;
        assert_eq!(here, there, "{action}");
        let again = site.sync().await;
        assert_eq!(
            again.outcome,
            Some(RunOutcome::NoChange),
            "{action}: {again:#?}"
        );
    }
}

/// Rows that refer to readings, which follow their meter.
#[tokio::test]
async fn rows_behind_a_table_that_refers_to_meters_keep_what_they_refer_to() {
    for (reading, note, mark, expected) in [
        ("cascade", "cascade", "cascade", RunOutcome::Succeeded),
        ("cascade", "set null", "cascade", RunOutcome::Partial),
        ("cascade", "cascade", "set null", RunOutcome::Partial),
        ("set null", "cascade", "set null", RunOutcome::Partial),
        ("set null", "set default", "cascade", RunOutcome::Partial),
    ] {
        let site = site("name text", "").await;
        site.on_local(&format!(
            "alter table meter add unique (name);
             create table reading (meter text unique references meter (name) on update {reading});
             create table note (reading text unique references reading (meter) on update {note});
             create table mark (id bigint primary key, note text references note (reading) on update {mark})"
        ))
        .await;
        site.on_remote(THREE).await;
        site.sync().await;
        site.on_local(
            "insert into reading values ('A'), ('B'); insert into note values ('A'), ('B'); insert into mark values (1, 'A'), (2, 'B')",
        )
        .await;
        let lost = "select k.id, m.id as meter from mark k left join meter m on m.name = k.note order by 1";
        let before = rows(&site.local, lost).await;
        site.on_remote(EXCHANGE).await;
        let run = site.sync().await;
        assert_eq!(
            run.outcome,
            Some(expected),
            "{reading} {note} {mark}: {run:#?}"
        );
        assert_eq!(
            rows(&site.local, lost).await,
            before,
            "{reading} {note} {mark}"
        );
        assert_eq!(run.counts.changes() + run.counts.rejected, 3, "{run:#?}");
        assert_eq!(run.counts.updated + run.counts.rejected, 3, "{run:#?}");
    }
}

/// Without rows there nothing is lost.
#[tokio::test]
async fn an_empty_table_behind_another_one_keeps_nobody_out() {
    let site = site("name text", "").await;
    site.on_local(
        "alter table meter add unique (name);
         create table reading (meter text unique references meter (name) on update cascade);
         create table note (reading text references reading (meter) on update set null)",
    )
    .await;
    site.on_remote(THREE).await;
    site.sync().await;
    site.on_local("insert into reading values ('A'), ('B')")
        .await;
    site.on_remote(EXCHANGE).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
}

/// A partitioned table and its partition, and a table that another one inherits from.
const PARTS: &str =
    "drop table meter; create table whole (id bigint, name text, part int, active boolean not null,
        primary key (id, part), unique (name, part)) partition by list (part);
    create table one partition of whole default;";
const INHERITED: &str = "alter table meter add unique (name, part);
    create table one (primary key (id), unique (name, part)) inherits (meter);";

/// Foreign keys that refer to a part of the local table, or to the table that it is a part of.
#[tokio::test]
async fn readings_of_a_part_of_the_table_keep_their_meter() {
    for action in ["set null", "cascade"] {
        assert_readings_stay(PARTS, "whole", "one", action).await;
        assert_readings_stay(PARTS, "one", "whole", action).await;
        assert_readings_stay(INHERITED, "meter", "one", action).await;
    }
}

async fn assert_readings_stay(made: &str, table: &str, referred: &str, action: &str) {
    let mut site = site("name text, part int", "").await;
    site.on_local(&format!(
        "{made} create table reading (id bigint primary key, meter text, part int,
             foreign key (meter, part) references {referred} (name, part) on update {action})"
    ))
    .await;
    let settings = site.settings().with(Setting::LocalTable, table);
    site.reconfigure(&settings.with(Setting::Key, "id,part"));
    site.on_remote(
        "insert into meter values (1, 7, 'A', 1, true), (2, 7, 'B', 1, true), (3, 7, 'C', 1, true)",
    )
    .await;
    site.sync().await;
    if made == INHERITED {
        site.on_local("with moved as (delete from only meter returning *) insert into one select * from moved")
            .await;
    }
    site.on_local("insert into reading values (1, 'A', 1), (2, 'B', 1)")
        .await;
    site.on_remote(EXCHANGE).await;
    let run = site.sync().await;
    assert_eq!(
        run.outcome,
        Some(RunOutcome::Succeeded),
        "{table} {action}: {run:#?}"
    );
    let readings = "select id, meter from reading order by id";
    let moved = json!([{"id": 1, "meter": "B"}, {"id": 2, "meter": "A"}]);
    assert_eq!(rows(&site.local, readings).await, moved, "{table} {action}");
    // Entered anew, the meter does not get what a reading rests on.
    site.on_remote("update meter set id = 101 where id = 1")
        .await;
    let run = site.sync().await;
    // No index covers both tables.
    let expected = match table {
        "meter" => RunOutcome::Succeeded,
        _ => RunOutcome::Partial,
    };
    assert_eq!(run.outcome, Some(expected), "{table} {action}: {run:#?}");
    assert_eq!(rows(&site.local, readings).await, moved, "{table} {action}");
}

/// What lets the sessions of a database leave out triggers and foreign keys.
const REPLICA: &str = "do $$ begin execute format('alter database %I set session_replication_role = replica', current_database()); end $$";

#[tokio::test]
async fn readings_follow_their_meter_for_a_role_that_fires_no_triggers() {
    for rule in ["on update cascade", "on update set null", "deferrable"] {
        let site = site("name text unique", "").await;
        site.on_local(&format!(
            "create schema kept; create table kept.reading (id bigint primary key, meter text references meter (name) {rule}); {REPLICA}"
        ))
        .await;
        site.on_remote(THREE).await;
        site.sync().await;
        site.on_local("insert into kept.reading values (1, 'A'), (2, 'B')")
            .await;
        site.on_remote(EXCHANGE).await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{rule}: {run:#?}");
        let moved = match rule {
            "deferrable" => json!([{"id": 1, "meter": "A"}, {"id": 2, "meter": "B"}]),
            _ => json!([{"id": 1, "meter": "B"}, {"id": 2, "meter": "A"}]),
        };
        assert_eq!(readings(&site).await, moved, "{rule}");
    }
}

#[tokio::test]
async fn a_role_that_may_not_fire_triggers_writes_nothing_and_is_told_so() {
    let mut site = site("name text", "").await;
    let role = format!("replica_{}", std::process::id());
    site.on_local(&format!(
        "drop role if exists {role}; create role {role} login; {REPLICA};
         do $$ begin execute format('grant create on database %I to {role}', current_database()); end $$;
         grant select, insert, update on meter to {role}; grant select on tenant to {role}"
    ))
    .await;
    site.on_remote(THREE).await;
    let settings = site
        .settings()
        .with(Setting::LocalUrl, as_role(&site.pair.local_url, &role));
    site.reconfigure(&settings);
    let findings = check::run(&config(&settings)).await;
    let found = findings
        .iter()
        .find(|finding| finding.subject == "local replication role");
    let Some(Verdict::Failed(failure)) = found.map(|finding| &finding.verdict) else {
        panic!("{findings:#?}");
    };
    let run = site.sync().await;
    let error = run.error.expect("an error");
    assert_eq!(error.code, ErrorCode::LocalAuth, "{error:?}");
    assert_eq!(
        (&error.code, &error.remedy),
        (&failure.code, &failure.remedy)
    );
    assert!(
        error.remedy.contains("session_replication_role"),
        "{error:?}"
    );
    site.on_local(&format!("drop owned by {role}; drop role {role}"))
        .await;
}
