//! The SQL of `verify --sql`: it gives the same number on both sides if they are equal, and another one if they are not.

use meter_sync::config::Setting;
use tokio_postgres::Client;

use super::{in_sync, verify};
use crate::support::postgres::connect;
use crate::support::site::{Site, mirror};

/// The number of meters and the digest that a statement gives.
async fn number(client: &Client, sql: &str) -> (i64, String) {
    let row = client.query_one(sql, &[]).await;
    let row = row.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    (row.get(0), row.get(1))
}

/// The number after an edit, which is then undone.
async fn after(client: &Client, edit: &str, sql: &str) -> (i64, String) {
    let begin = format!("begin; {edit}");
    client.batch_execute(&begin).await.expect(edit);
    let found = number(client, sql).await;
    client.batch_execute("rollback").await.expect("undo");
    found
}

#[tokio::test]
async fn both_sides_give_the_same_number_until_a_value_differs() {
    let site = in_sync().await;
    let sql = site.mirror.verification_sql().await.expect("statements");
    assert_ne!(sql.remote, sql.local, "the types differ");
    let equal = number(&site.remote, &sql.remote).await;
    assert_eq!(equal.0, 20);
    assert_eq!(number(&site.local, &sql.local).await, equal);
    for edit in [
        "update meter set name = 'other' where id = '5'",
        "update meter set register_map = '{\"a\": 1.00}' where id = '5'",
        "update meter set status = null where id = '5'",
        "update meter set notes = '' where id = '5'",
        "update meter set name = case id when '5' then 'Meter 6' else 'Meter 5' end where id in ('5', '6')",
        "update meter set type = serial_number, serial_number = type where id = '5'",
        "update meter set created_at = created_at + interval '1 microsecond' where id = '5'",
        "update meter set installation_date = null where id = '5'",
        "update meter set active = false where id = '5'",
        "update meter set ip = '10.0.0.06' where id = '5'",
        "delete from meter where id = '5'",
        "insert into meter (id) values ('999')",
        "update meter set id = '999' where id = '5'",
    ] {
        assert_ne!(after(&site.local, edit, &sql.local).await, equal, "{edit}");
    }
    for edit in [
        "update meter set name = 'other' where id = 5",
        "update meter set register_map = '{\"a\": 1.00}' where id = 5",
        "delete from meter where id = 5",
    ] {
        assert_ne!(
            after(&site.remote, edit, &sql.remote).await,
            equal,
            "{edit}"
        );
    }
    let of_others = "update meter set name = 'other' where tenant_id = 8";
    assert_eq!(after(&site.remote, of_others, &sql.remote).await, equal);
    let not_synced = "update meter set site_note = 'mine'";
    assert_eq!(after(&site.local, not_synced, &sql.local).await, equal);
}

#[tokio::test]
async fn pairs_of_equal_rows_do_not_cancel_each_other_out() {
    let remote = "create table meter (id bigint, tenant_id bigint, name text, active boolean)";
    let local = "create table tenant (id bigint primary key, name text); insert into tenant values (7, 'Acme');
        create table meter (id bigint primary key, name text, active boolean)";
    let site = Site::with_schemas(remote, local).await;
    site.on_remote("insert into meter select n, 7, 'M', true from generate_series(1, 4) n")
        .await;
    site.sync().await;
    let sql = site.mirror.verification_sql().await.expect("statements");
    let equal = number(&site.local, &sql.local).await;
    assert_eq!(number(&site.remote, &sql.remote).await, equal);
    let pair = |name: &str| format!("update meter set id = 3, name = '{name}' where id in (3, 4)");
    let one = after(&site.remote, &pair("X"), &sql.remote).await;
    let other = after(&site.remote, &pair("Y"), &sql.remote).await;
    assert_eq!((one.0, other.0), (4, 4));
    assert_ne!(one, other);
    assert_ne!(one, equal);
}

/// Columns of types whose text depends on the settings of a session.
const COLUMNS: &str = "id bigint primary key, tenant_id bigint not null, at timestamptz, day date, plain timestamp, \"Odd l.name\" text,
    long interval, ratio double precision, raw bytea, exact numeric, doc json, many timestamptz[], active boolean not null default true";

/// Settings of a session that write values in other ways.
const OTHER_SETTINGS: &str =
    "set timezone = 'Asia/Tokyo'; set datestyle = 'German'; set intervalstyle = 'iso_8601';
    set extra_float_digits = -10; set bytea_output = 'escape'; set search_path = pg_catalog";

#[tokio::test]
async fn one_statement_serves_two_tables_that_are_alike_whatever_the_session() {
    let table = format!("create table meter ({COLUMNS})");
    let local = format!(
        "create table tenant (id bigint primary key, name text); insert into tenant values (7, 'Acme'); {table}"
    );
    let site = Site::with_schemas(&table, &local).await;
    site.on_remote(
        "insert into meter select n, 7, timestamptz '1880-05-05 23:30:00.5+00' + n * interval '7777 days 3 hours',
            date '2026-03-04', timestamp '2026-03-04 05:06:07.000008', 'x', n * interval '1 month 2 days 03:04:05.6',
            n / 7.0::double precision, decode('00ff5c', 'hex'), n / 3.0, '{\"a\" : 1}',
            array[timestamptz '2026-01-01 00:00+00', null] from generate_series(1, 50) n",
    )
    .await;
    site.sync().await;
    let sql = site.mirror.verification_sql().await.expect("statements");
    assert_eq!(sql.remote, sql.local);
    let equal = number(&site.local, &sql.local).await;
    assert_eq!(equal.0, 50);
    for url in [&site.pair.remote_url, &site.pair.local_url] {
        let client = connect(url).await;
        client.batch_execute(OTHER_SETTINGS).await.expect("set");
        assert_eq!(number(&client, &sql.local).await, equal);
        let zone = client.query_one("show timezone", &[]).await;
        assert_eq!(zone.expect("a zone").get::<_, &str>(0), "Asia/Tokyo");
    }
    let edit = "update public.meter set many[2] = '2026-01-01 00:00+00' where id = 7";
    assert_ne!(after(&site.local, edit, &sql.local).await, equal);
}

#[tokio::test]
async fn the_statement_gives_the_digest_of_the_last_comparison() {
    let site = in_sync().await;
    let verified = verify(&site.mirror).await;
    assert!(verified.are_equal, "{verified:?}");
    let sql = site.mirror.verification_sql().await.expect("statements");
    let expected = (verified.remote.meters, verified.remote.digest.clone());
    assert_eq!(number(&site.remote, &sql.remote).await, expected);
    assert_eq!(number(&site.local, &sql.local).await, expected);
    let again = verify(&site.mirror).await;
    assert_ne!(again.remote.digest, verified.remote.digest, "other seeds");
    let later = site.mirror.verification_sql().await.expect("statements");
    assert_eq!(
        number(&site.local, &later.local).await,
        (20, again.local.digest)
    );
}

#[tokio::test]
async fn meters_that_are_gone_from_the_remote_are_left_out() {
    let site = in_sync().await;
    site.on_remote("delete from meter where id in (3, 4)").await;
    site.sync().await;
    let sql = site.mirror.verification_sql().await.expect("statements");
    let equal = number(&site.remote, &sql.remote).await;
    assert_eq!(equal.0, 18);
    assert_eq!(number(&site.local, &sql.local).await, equal);
    let back = "update meter set active = true where id = '3'";
    assert_ne!(after(&site.local, back, &sql.local).await, equal);
}

#[tokio::test]
async fn a_query_as_the_source_is_a_statement_of_its_own() {
    let site = in_sync().await;
    let query = "select * from meter where name <> 'Meter 1' -- but the first";
    let settings = site.settings().with(Setting::RemoteQuery, query);
    let mirror = mirror(&settings);
    let report = verify(&mirror).await;
    assert!(!report.are_equal, "{report:?}");
    assert_eq!((report.remote.meters, report.local.meters), (19, 20));
    let sql = mirror.verification_sql().await.expect("statements");
    let there = number(&site.remote, &sql.remote).await;
    assert_eq!(there, (19, report.remote.digest));
}
