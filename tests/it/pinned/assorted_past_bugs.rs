//! Assorted data and schemas that look harmless and once were synced wrongly, or kept a whole site from being
//! synced.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::{Counts, RunOutcome};
use serde_json::json;

use crate::support::site::{Site, rows};

const REMOTE: &str =
    "create table meter (id bigint primary key, tenant_id bigint not null, name text,
    parent_id bigint, pos int, cfg json, tags text[], active boolean not null default true)";

async fn site(local_columns: &str) -> Site {
    let local = format!(
        "create table tenant (id bigint primary key); insert into tenant values (7);
         create table meter (id bigint primary key, active boolean not null default true, {local_columns})"
    );
    Site::with_schemas(REMOTE, &local).await
}

#[tokio::test]
async fn a_text_too_long_for_a_domain_is_rejected_and_not_cut() {
    let local = "create domain short as varchar(5); create domain shorter as short;
         create table tenant (id bigint primary key); insert into tenant values (7);
         create table meter (id bigint primary key, active boolean not null, name shorter)";
    let site = Site::with_schemas(REMOTE, local).await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) values (1, 7, 'abcdefgh'), (2, 7, 'abc')",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let names = rows(&site.local, "select id, name from meter").await;
    assert_eq!(names, json!([{"id": 2, "name": "abc"}]));
}

#[tokio::test]
async fn a_null_in_an_array_stays_null_whatever_the_database_has_set() {
    let mut site = site("tags text[]").await;
    site.on_local("do $$ begin execute format('alter database %I set array_nulls = off', current_database()); end $$").await;
    site.on_remote(
        "insert into meter (id, tenant_id, tags) values (1, 7, array['NULL', null, 'a,b'])",
    )
    .await;
    let settings = site.settings();
    site.reconfigure(&settings);
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let tags = rows(
        &site.local,
        "select tags[1] as a, tags[2] is null as b from meter",
    )
    .await;
    assert_eq!(tags, json!([{"a": "NULL", "b": true}]));
}

#[tokio::test]
async fn rows_without_a_usable_key_do_not_pass_for_meters_at_the_brake() {
    let remote = "create table meter (id text, tenant_id bigint not null, active boolean not null default true)";
    let local = "create table tenant (id bigint primary key); insert into tenant values (7);
         create table meter (id bigint primary key, active boolean not null);
         insert into meter select n, true from generate_series(1, 5) n";
    for unusable in ["'n/a'", "null"] {
        let site = Site::with_schemas(remote, local).await;
        site.on_remote(&format!(
            "insert into meter (id, tenant_id) values ({unusable}, 7)"
        ))
        .await;
        let run = site.sync().await;
        assert_eq!(
            run.outcome,
            Some(RunOutcome::Refused),
            "{unusable}: {run:#?}"
        );
        assert_eq!(run.error.unwrap().code, ErrorCode::SourceEmptyRefused);
        let active = rows(&site.local, "select count(*) as n from meter where active").await;
        assert_eq!(active, json!([{"n": 5}]));
    }
}

#[tokio::test]
async fn a_value_that_a_change_row_cannot_hold_is_synced_all_the_same() {
    let site = site("cfg json, name text").await;
    site.on_remote(
        "insert into meter (id, tenant_id, cfg, name) values
         (1, 7, '{\"a\": \"\\u0000\"}', 'x'), (2, 7, null, repeat('long ', 100000))",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let here = rows(
        &site.local,
        "select id, cfg::text as cfg, length(name) as l from meter order by id",
    )
    .await;
    assert_eq!(
        here,
        json!([{"id": 1, "cfg": "{\"a\": \"\\u0000\"}", "l": 1}, {"id": 2, "cfg": null, "l": 500_000}])
    );
    let recorded = "select max(length(after->>'name')) as l from meter_sync.meter_sync_change";
    assert_eq!(rows(&site.local, recorded).await, json!([{"l": 10_003}]));
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
}

#[tokio::test]
async fn a_local_row_without_the_chosen_key_is_left_alone() {
    let remote = "create table meter (serial text, tenant_id bigint not null, active boolean not null default true)";
    let local = "create table tenant (id bigint primary key); insert into tenant values (7);
         create table meter (own_id bigint generated always as identity primary key,
             serial text unique, active boolean not null);
         insert into meter (serial, active) values (null, true)";
    let mut site = Site::with_schemas(remote, local).await;
    let settings = site.settings().with(Setting::Key, "serial");
    site.reconfigure(&settings);
    site.on_remote("insert into meter (serial, tenant_id) values ('S1', 7)")
        .await;
    let run = site.sync().await;
    assert_eq!(
        run.counts,
        Counts {
            inserted: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
    let active = rows(&site.local, "select count(*) as n from meter where active").await;
    assert_eq!(active, json!([{"n": 2}]));
}

#[tokio::test]
async fn one_bad_row_does_not_count_those_that_only_wait_for_another_as_bad() {
    let mut site = site("parent_id bigint references meter, name text not null").await;
    let settings = site.settings().with(Setting::RejectedLimit, "30");
    site.reconfigure(&settings);
    site.on_remote(
        "insert into meter (id, tenant_id, parent_id, name)
         select n, 7, 301, 'child' from generate_series(1, 300) n;
         insert into meter (id, tenant_id, name) values (301, 7, 'parent'), (302, 7, null)",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(
        run.counts,
        Counts {
            inserted: 301,
            rejected: 1,
            ..Counts::default()
        }
    );
}

#[tokio::test]
async fn many_pairs_exchange_their_unique_values_also_where_they_are_unique_among_active_ones_only()
{
    for unique in ["pos int unique", "pos int"] {
        let site = site(unique).await;
        if unique == "pos int" {
            site.on_local("create unique index on meter (pos) where active")
                .await;
        }
        site.on_remote(
            "insert into meter (id, tenant_id, pos) select n, 7, n from generate_series(1, 100) n",
        )
        .await;
        site.sync().await;
        site.on_remote("update meter set pos = case pos % 2 when 0 then pos - 1 else pos + 1 end")
            .await;
        let run = site.sync().await;
        assert_eq!(
            run.counts,
            Counts {
                updated: 100,
                ..Counts::default()
            },
            "{unique}: {run:#?}"
        );
    }
}

#[tokio::test]
async fn a_trigger_that_refuses_a_row_by_a_code_of_its_own_refuses_that_row_only() {
    let site = site("name text").await;
    site.on_local(
        "create function refuse() returns trigger language plpgsql as $$ begin
             if new.name = 'bad' then raise 'not here' using errcode = 'MS001'; end if; return new;
         end $$;
         create trigger refuse before insert on meter for each row execute function refuse()",
    )
    .await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'bad'), (2, 7, 'good')")
        .await;
    let run = site.sync().await;
    assert_eq!(
        run.counts,
        Counts {
            inserted: 1,
            rejected: 1,
            ..Counts::default()
        },
        "{run:#?}"
    );
}

#[tokio::test]
async fn more_rows_without_a_key_than_may_be_set_aside_fail_the_run() {
    let remote = "create table meter (id bigint, tenant_id bigint not null, active boolean not null default true)";
    let mut site = Site::with_schemas(
        remote,
        "create table tenant (id bigint primary key); insert into tenant values (7);
         create table meter (id bigint primary key, active boolean not null)",
    )
    .await;
    let settings = site.settings().with(Setting::RejectedLimit, "10");
    site.reconfigure(&settings);
    site.on_remote("insert into meter (id, tenant_id) select null, 7 from generate_series(1, 11)")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Failed), "{run:#?}");
    assert_eq!(run.error.unwrap().code, ErrorCode::LocalConstraint);
}

#[tokio::test]
async fn an_active_column_in_the_key_is_refused() {
    let mut site = site("name text").await;
    site.on_local("alter table meter add unique (id, active)")
        .await;
    let settings = site.settings().with(Setting::Key, "id,active");
    site.reconfigure(&settings);
    let run = site.sync().await;
    assert_eq!(run.error.unwrap().code, ErrorCode::LocalSchema);
}
