//! The formats in which rows travel: types that both sides share as the servers store them, others as text.

use std::time::Duration;

use meter_sync::mirrors::{RunRequest, RunRequestOutcome};
use meter_sync::model::{Counts, RunOutcome, RunTrigger};
use serde_json::json;

use crate::support::postgres::connect;
use crate::support::site::{LOCAL_SCHEMA, Site, finish, mirror, rows, settings};

use super::site;

/// The types, and of each the values that are most likely to be mistaken.
const TYPES: [(&str, [&str; 3]); 20] = [
    ("boolean", ["true", "false", "t"]),
    ("smallint", ["-32768", "32767", "0"]),
    ("integer", ["-2147483648", "2147483647", "0"]),
    (
        "bigint",
        ["-9223372036854775808", "9223372036854775807", "0"],
    ),
    ("real", ["NaN", "-Infinity", "-0"]),
    ("double precision", ["-0", "4.9e-324", "Infinity"]),
    ("numeric", ["NaN", "-Infinity", "1.2300"]),
    ("text", ["", "\\N", "\té\u{1f600}\n"]),
    ("varchar(20)", [" ", "\\.", "NULL"]),
    ("char(3)", ["", "a", " bc"]),
    ("bytea", ["\\x", "\\x00ff0a", "\\x5c"]),
    (
        "uuid",
        [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "0193a9a5-0000-7000-8000-000000000001",
        ],
    ),
    ("date", ["-infinity", "infinity", "4713-01-01 BC"]),
    ("time", ["00:00", "24:00", "12:34:56.789012"]),
    (
        "timestamp",
        ["-infinity", "infinity", "0044-03-15 12:00 BC"],
    ),
    (
        "timestamptz",
        ["-infinity", "infinity", "2026-10-25 02:30:00.000001+02"],
    ),
    ("inet", ["::1", "10.0.0.1/8", "fe80::1/64"]),
    ("cidr", ["::/0", "10.0.0.0/8", "192.168.1.1/32"]),
    ("json", ["null", "{\"b\": 1, \"b\": 2}", " [1.0, \"é\"] "]),
    ("jsonb", ["null", "{\"b\": 1.00, \"a\": {}}", "\"\\\\N\""]),
];

fn fields(field: impl Fn(usize, &str, [&str; 3]) -> String) -> String {
    let fields = (0..)
        .zip(TYPES)
        .map(|(n, (type_, values))| field(n, type_, values));
    fields.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn every_type_that_needs_no_text_arrives_as_it_was() {
    let site = site(&fields(|n, type_, _| format!("f{n} {type_}")), "").await;
    for id in 0..3 {
        let values = fields(|_, _, values| format!("'{}'", values[id]));
        site.on_remote(&format!(
            "insert into meter values ({id}, 7, {values}, true)"
        ))
        .await;
    }
    let nulls = fields(|_, _, _| "null".to_owned());
    site.on_remote(&format!("insert into meter values (3, 7, {nulls}, true)"))
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let texts = fields(|n, _, _| format!("f{n}::text as f{n}"));
    let all = format!("select id, active, {texts} from meter order by id");
    assert_eq!(
        rows(&site.local, &all).await,
        rows(&site.remote, &all).await
    );
    // Nor do the two sides' values differ to the digests, or to a comparison of all of them.
    let again = site.sync().await;
    assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
    site.on_local("delete from meter_sync.meter_sync_seen; update meter_sync.meter_sync_log set compared = 'nothing'")
        .await;
    let compared = site.sync().await;
    assert_eq!(
        compared.outcome,
        Some(RunOutcome::NoChange),
        "{compared:#?}"
    );
}

const TIMES: &str = "first timestamptz, second timestamptz, third timestamptz";
const TEXT_OF_A_TIME: i64 = 29;

#[tokio::test]
async fn over_a_short_line_times_are_not_spelled_out() {
    let site = site(TIMES, "").await;
    let moment = "timestamptz '2026-01-01 00:00:00.123456+00' + n * interval '1 hour'";
    site.on_remote(&format!(
        "insert into meter select n, 7, {moment}, {moment}, {moment}, true from generate_series(1, 1000) n"
    ))
    .await;
    let run = site.sync().await;
    assert_eq!(run.counts.inserted, 1000, "{run:#?}");
    assert!(
        run.remote_bytes < 1000 * 3 * TEXT_OF_A_TIME,
        "{} bytes",
        run.remote_bytes
    );
}

#[tokio::test]
async fn a_value_that_a_shared_type_limits_here_is_set_aside_alone() {
    let site = site("name varchar(20), load numeric(9, 2)", "").await;
    site.on_local("alter table meter alter name type varchar(5), alter load type numeric(4, 2)")
        .await;
    site.on_remote(
        "insert into meter values (1, 7, 'short', 1.5, true), (2, 7, 'too long', 1, true), (3, 7, 'big', 12345, true)",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let counts = Counts {
        inserted: 1,
        rejected: 2,
        ..Counts::default()
    };
    assert_eq!(run.counts, counts);
    let aside = "select key from meter_sync.meter_sync_rejected order by key";
    let aside = rows(&site.local, aside).await;
    assert_eq!(aside, json!([{"key": {"id": 2}}, {"key": {"id": 3}}]));
    let here = rows(&site.local, "select id, name, load::text from meter").await;
    assert_eq!(here, json!([{"id": 1, "name": "short", "load": "1.50"}]));
}

#[tokio::test]
async fn the_rows_told_of_are_those_that_were_read() {
    // The first travel as they are held, the others as text.
    for columns in [TIMES, "tags text[]"] {
        let site = site(columns, "").await;
        site.on_remote("insert into meter (id, tenant_id, active) select n, 7, true from generate_series(1, 1000) n")
            .await;
        let requested = site.mirror.request(RunRequest::new(RunTrigger::Cli)).await;
        let Ok(RunRequestOutcome::Started(mut ticket)) = requested else {
            panic!("{requested:?}");
        };
        let run = ticket.wait(Duration::from_secs(60)).await;
        assert_eq!(run.counts.inserted, 1000, "{run:#?}");
        assert_eq!(ticket.progress().borrow().rows, 1000, "{columns}");
    }
}

#[tokio::test]
async fn plain_meters_load_into_a_local_database_of_any_encoding() {
    for encoding in ["LATIN1", "LATIN9", "KOI8R", "WIN1252", "SQL_ASCII"] {
        let site = Site::new().await;
        let (server, name) = site.pair.local_url.rsplit_once('/').unwrap();
        let database = format!("{}_{name}", encoding.to_lowercase());
        for statement in [
            format!("drop database if exists {database}"),
            format!(
                "create database {database} encoding '{encoding}' locale 'C' template template0"
            ),
        ] {
            site.on_local(&statement).await;
        }
        let url = format!("{server}/{database}");
        let local = connect(&url).await;
        local.batch_execute(LOCAL_SCHEMA).await.unwrap();
        site.on_remote(
            "insert into meter (id, tenant_id, name, notes) values (1, 7, 'a', repeat('long ', 5000)), (2, 7, 'b', null)",
        )
        .await;
        let runs = mirror(&settings(&site.pair.remote_url, &url));
        let sync = async || finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
        let first = sync().await;
        assert_eq!(
            first.outcome,
            Some(RunOutcome::Succeeded),
            "{encoding}: {first:#?}"
        );
        site.on_remote("update meter set notes = notes || name where id = 1")
            .await;
        let second = sync().await;
        assert_eq!(second.counts.updated, 1, "{encoding}: {second:#?}");
        drop((runs, local));
        site.on_local(&format!("drop database {database} with (force)"))
            .await;
    }
}
