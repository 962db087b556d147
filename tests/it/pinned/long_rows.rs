//! Remote rows that are longer than a server sends, though some are stored in few bytes: each type is measured by what comes out
//! of it.

use meter_sync::config::Setting;
use meter_sync::model::RunOutcome;
use serde_json::json;

use super::site;
use crate::support::site::{Site, rows};
use crate::support::test_size::size;

/// A column for each type. `pad` alone almost fills a row: each of its characters is sent with a backslash before it.
const COLUMNS: &str = "pad text, as_json json, as_xml xml, as_jsonb jsonb, digits jsonb, bits bit varying, blind citext,
    blind_too letters, labels text[], pairs hstore";

/// What makes a row too long beside `pad`.
const LONG: &[(&str, &str)] = &[
    ("as_json", "to_json(repeat(E'\\\\', 5000000))"),
    (
        "as_xml",
        "('<a>' || repeat(E'\\\\', 9000000) || '</a>')::xml",
    ),
    ("as_jsonb", "to_jsonb(repeat(E'\\x01', 2500000))"),
    (
        "digits",
        "(select jsonb_agg('1e131071'::numeric) from generate_series(1, 120))",
    ),
    ("bits", "repeat('1', 20000000)::bit varying"),
    ("blind", "repeat(E'\\\\', 9000000)::citext"),
    ("blind_too", "repeat(E'\\\\', 9000000)::letters"),
    ("labels", "array[repeat(E'\\\\', 4000000)]"),
    ("pairs", "hstore('a', repeat(E'\\\\', 4000000))"),
];

/// So many types are tried for each unit of `TEST_SIZE`, as each takes seconds: all in the gate.
const TYPES: usize = 3;

/// An overload for each function and operator that measures, found before those of Postgres.
const OVERLOADS: &str = "
    create function octet_length(jsonb) returns integer language sql as 'select 1 / 0';
    create function length(varbit) returns integer language sql as 'select 1 / 0';
    create function times(bigint, bigint) returns bigint language sql as 'select 1 / 0';
    create operator * (leftarg = bigint, rightarg = bigint, procedure = times);
    create operator + (leftarg = bigint, rightarg = bigint, procedure = times);
    do $$ begin execute format('alter database %I set search_path = public, pg_catalog', current_database()); end $$";

/// Each of these takes gigabytes of memory for a while, so one goes after the other. As tests of their own they would wait
/// for each other, and leave the processors idle.
#[tokio::test]
async fn only_rows_that_are_too_long_to_be_sent_are_left_out() {
    Box::pin(a_row_too_long_to_be_sent_is_left_out_whatever_its_types()).await;
    Box::pin(a_row_that_is_too_long_to_be_sent_keeps_only_itself_out()).await;
    Box::pin(an_array_of_long_numbers_that_is_too_long_to_be_sent_keeps_only_itself_out()).await;
}

async fn a_row_too_long_to_be_sent_is_left_out_whatever_its_types() {
    let types =
        "create extension citext; create extension hstore; create domain letters as citext;";
    let remote = format!(
        "{types} create table meter (id bigint primary key, tenant_id bigint not null, {COLUMNS}, active boolean not null)"
    );
    let local = format!(
        "{types} create table tenant (id bigint primary key); insert into tenant values (7);
         create table meter (id bigint primary key, {COLUMNS}, active boolean not null)"
    );
    let site = Site::with_schemas(&remote, &local).await;
    site.on_remote(
        "create table pad (pad text); insert into pad values (repeat(E'\\\\', 530000000))",
    )
    .await;
    let some = LONG
        .iter()
        .take(TYPES * usize::try_from(size()).unwrap_or(1));
    let count = some.len();
    for (id, (column, value)) in (1..).zip(some) {
        let id: i32 = id;
        let insert = format!(
            "insert into meter (id, tenant_id, pad, {column}, active) select {id}, 7, pad, {value}, true from pad"
        );
        site.on_remote(&insert).await;
        // The same value is sent where it is not beside the other one.
        let short = format!(
            "insert into meter (id, tenant_id, {column}, active) values (100 + {id}, 7, {value}, true)"
        );
        site.on_remote(&short).await;
    }
    site.on_remote(OVERLOADS).await;
    let run = site.sync_gigabytes().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let left_out = "select array_agg((key->>'id')::integer order by (key->>'id')::integer) as ids from meter_sync.meter_sync_rejected
        where reason like 'the row may take 1_________ bytes%'";
    let all: Vec<usize> = (1..=count).collect();
    assert_eq!(rows(&site.local, left_out).await, json!([{"ids": all}]));
    assert_eq!(usize::try_from(run.counts.inserted), Ok(count), "{run:#?}");
}

/// The remote makes the long texts as they are read; its server ends a COPY in which a row comes to a GiB.
async fn a_row_that_is_too_long_to_be_sent_keeps_only_itself_out() {
    let mut site = site("name text, place text", "").await;
    site.on_remote(
        "insert into meter select n, 7, 'old', 'old', true from generate_series(1, 9) n;
         create view seen as select id, tenant_id, active,
             case when name = 'long' then repeat('x', 540000000) else name end as name,
             case when name = 'long' then repeat('y', 540000000) else place end as place from meter",
    )
    .await;
    let settings = site.settings().with(Setting::RemoteTable, "seen");
    site.reconfigure(&settings);
    site.on_remote("update meter set name = 'long' where id = 3")
        .await;
    let run = site.sync_gigabytes().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(
        (run.counts.inserted, run.counts.rejected),
        (8, 1),
        "{run:#?}"
    );
    let rejected = "select key, reason like 'the row may take 10800000__ bytes%' as told from meter_sync.meter_sync_rejected";
    assert_eq!(
        rows(&site.local, rejected).await,
        json!([{"key": {"id": 3}, "told": true}])
    );
    let loaded = "select count(*) as n from meter where id <> 3";
    assert_eq!(rows(&site.local, loaded).await, json!([{"n": 8}]));
}

/// A number of a few bytes comes out as 131,072 digits.
async fn an_array_of_long_numbers_that_is_too_long_to_be_sent_keeps_only_itself_out() {
    let site = site("name text, sizes numeric[]", "").await;
    site.on_remote(
        "insert into meter select n, 7, 'old', '{1,2}', true from generate_series(1, 9) n",
    )
    .await;
    site.sync_gigabytes().await;
    site.on_remote(
        "update meter set sizes = (select array_agg('1e131071'::numeric) from generate_series(1, 8500)) where id = 3;
         update meter set sizes = (select array_agg(n) from generate_series(1, 100000) n) where id = 4;
         update meter set sizes = null where id = 5; update meter set name = 'new' where id = 6",
    )
    .await;
    let run = site.sync_gigabytes().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    assert_eq!(
        (run.counts.updated, run.counts.rejected),
        (3, 1),
        "{run:#?}"
    );
    let rejected = "select key, reason like 'the row may take 111414____ bytes%' as told from meter_sync.meter_sync_rejected";
    assert_eq!(
        rows(&site.local, rejected).await,
        json!([{"key": {"id": 3}, "told": true}])
    );
}
