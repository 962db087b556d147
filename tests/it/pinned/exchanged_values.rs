//! Meters that are to get each other's unique values.

use meter_sync::model::{Counts, RunOutcome};
use serde_json::json;

use super::{counts, site};
use crate::support::site::{Site, rows};

/// A sync that updates so many meters, and one after it that finds nothing to do.
async fn updates(site: &Site, updated: i64, what: &str) {
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{what}: {run:#?}");
    let expected = Counts {
        updated,
        ..Counts::default()
    };
    let changed = Counts {
        unchanged: 0,
        ..counts(&run)
    };
    assert_eq!(changed, expected, "{what}");
    let again = site.sync().await;
    assert_eq!(
        again.outcome,
        Some(RunOutcome::NoChange),
        "{what}: {again:#?}"
    );
}

const THREE: &str =
    "insert into meter values (1, 7, 'a', true), (2, 7, 'b', true), (3, 7, 'c', true)";
const ROTATE: &str =
    "update meter set name = case name when 'a' then 'b' when 'b' then 'c' else 'a' end";

#[tokio::test]
async fn what_refers_to_a_meter_by_an_exchanged_value_stays_with_its_meter() {
    for action in ["cascade", "set null", "set default"] {
        let site = site("name text", ", unique (name)").await;
        site.on_local(&format!(
            "create table reading (id bigint primary key, meter text references meter (name) on update {action})"
        ))
        .await;
        site.on_remote(THREE).await;
        site.sync().await;
        site.on_local(
            "insert into reading values (1, 'a'), (2, 'b'), (3, 'c'), (4, 'a'), (5, null)",
        )
        .await;
        site.on_remote(ROTATE).await;
        updates(&site, 3, action).await;
        assert_eq!(
            rows(&site.local, "select r.id, m.id as meter from reading r left join meter m on m.name = r.meter order by 1").await,
            json!([
                {"id": 1, "meter": 1}, {"id": 2, "meter": 2}, {"id": 3, "meter": 3},
                {"id": 4, "meter": 1}, {"id": 5, "meter": null}
            ]),
            "{action}"
        );
    }
}

const RULES: &[&str] = &[
    "create unique index on meter (lower(name))",
    "create unique index on meter (name) where active",
    "create unique index on meter (lower(name)) where active",
    "create unique index on meter (upper(name), active)",
    "alter table meter alter name set not null; create unique index on meter (name)",
    "alter table meter add exclude using btree (name with =)",
    "alter table meter add exclude using btree (lower(name) with =) where (active)",
    "alter table meter add unique (name) deferrable initially deferred",
    "alter table meter add unique (name) deferrable",
    "alter table meter add unique (name), add unique (active, name)",
    "alter table meter add \"upper\" text generated always as (upper(name)) stored, add unique (\"upper\")",
    "alter table meter add v text default 'x'; create unique index on meter (v, name)",
    "alter table meter add constraint short check (name ~ '^[a-z]{1,9}$'), add unique (name)",
    "alter table meter alter name type varchar(1), add unique (name)",
    "alter table meter alter name type char(2), add unique (name)",
    "create type letter as enum ('a', 'b', 'c', 'd'); alter table meter alter name type letter using name::letter, add unique (name)",
    "create domain letters as text check (value <> ''); alter table meter alter name type letters, add unique (name)",
    "create extension citext schema pg_catalog; alter table meter alter name type citext, add unique (name)",
];

#[tokio::test]
async fn values_are_exchanged_whatever_the_rule_that_keeps_them_apart() {
    for rule in RULES {
        let site = site("name text", "").await;
        site.on_local(rule).await;
        site.on_remote(THREE).await;
        site.sync().await;
        site.on_remote(ROTATE).await;
        updates(&site, 3, rule).await;
        assert_eq!(
            rows(
                &site.local,
                "select string_agg(trim(name::text), '' order by id) as names from meter"
            )
            .await,
            json!([{"names": "bca"}]),
            "{rule}"
        );
    }
}

#[tokio::test]
async fn values_of_any_type_are_exchanged() {
    for (type_, value) in [
        ("smallint", "32766 + n"),
        ("integer", "n"),
        ("bigint", "9223372036854775805 + n"),
        ("numeric(3, 2)", "9.97 + n * 0.01"),
        ("double precision", "n / 2.0"),
        ("uuid", "md5(n::text)::uuid"),
        ("date", "date '2026-01-01' + n"),
        (
            "timestamptz",
            "case n when 0 then 'infinity' else '2026-01-01' end",
        ),
        ("timestamp", "timestamp '2026-01-01' + n * interval '1 day'"),
        ("time", "time '12:00' + n * interval '1 s'"),
        ("interval", "n * interval '1 s'"),
        ("inet", "inet '10.0.0.1' + n"),
        ("macaddr", "('0a000000000' || n)::macaddr"),
        ("bytea", "decode('0' || n, 'hex')"),
        ("jsonb", "to_jsonb(n)"),
        ("text[]", "array[n::text]"),
        ("int8range", "int8range(n, n + 1)"),
        ("bit(3)", "n::bit(3)"),
    ] {
        let site = site(&format!("name {type_}"), ", unique (name)").await;
        site.on_remote(&format!(
            "insert into meter select n, 7, ({value})::{type_}, true from generate_series(0, 1) n"
        ))
        .await;
        site.sync().await;
        site.on_remote(
            "update meter m set name = (select o.name from meter o where o.id = 1 - m.id)",
        )
        .await;
        updates(&site, 2, type_).await;
    }
}

#[tokio::test]
async fn periods_that_must_not_overlap_are_exchanged() {
    for (type_, day) in [("tstzrange", "timestamptz"), ("daterange", "date")] {
        let site = site(&format!("device bigint, name {type_}"), "").await;
        site.on_local("create extension btree_gist; alter table meter alter name set not null, add exclude using gist (device with =, name with &&)")
            .await;
        let at = |days: &str| format!("({day} '2026-01-01' + {days} * interval '1 d')::{day}");
        let (start, end) = (at("n"), at("nullif(n + 1, 4)"));
        site.on_remote(&format!(
            "insert into meter select n, 7, 1, {type_}({start}, {end}), true from generate_series(1, 3) n"
        ))
        .await;
        site.sync().await;
        site.on_remote(
            "update meter m set name = (select o.name from meter o where o.id = m.id % 3 + 1)",
        )
        .await;
        updates(&site, 3, type_).await;
    }
}

#[tokio::test]
async fn a_long_chain_of_unique_values_moves_up_by_one_with_what_refers_to_them() {
    let site = site("name text not null", ", unique (name)").await;
    site.on_local("create table reading (id bigint, meter text references meter (name) on update cascade); create index on reading (meter)")
        .await;
    site.on_remote(
        "insert into meter select n, 7, 'S' || n, true from generate_series(1, 25000) n",
    )
    .await;
    site.sync().await;
    site.on_local("insert into reading select n, 'S' || n from generate_series(1, 25000, 5) n")
        .await;
    site.on_remote("update meter set name = 'S' || id + 1")
        .await;
    updates(&site, 25000, "up").await;
    let strayed = "select count(*) from reading r left join meter m on m.name = r.meter where m.id is distinct from r.id";
    assert_eq!(rows(&site.local, strayed).await, json!([{"count": 0}]));
}

#[tokio::test]
async fn a_row_at_fault_keeps_its_value_and_only_those_that_wait_for_it_are_rejected_with_it() {
    let site = site("name text", ", unique (name), check (name <> 'X')").await;
    site.on_remote("insert into meter select n, 7, chr(96 + n), true from generate_series(1, 8) n")
        .await;
    site.sync().await;
    // 1 and 2 exchange; 3 waits for 4, which waits for 5, which is at fault; 6, 7 and 8 rotate.
    site.on_remote("update meter set name = case id when 1 then 'b' when 2 then 'a' when 3 then 'd' when 4 then 'e' when 5 then 'X' when 6 then 'g' when 7 then 'h' else 'f' end")
        .await;
    let run = site.sync().await;
    assert_eq!(
        counts(&run),
        Counts {
            updated: 5,
            rejected: 3,
            ..Counts::default()
        },
        "{run:#?}"
    );
    let kept = "select string_agg(name, '' order by id) from meter";
    assert_eq!(
        rows(&site.local, kept).await,
        json!([{"string_agg": "bacdeghf"}])
    );
    let rejected = "select key->>'id' as id, reason from meter_sync.meter_sync_rejected order by 1";
    let cause = "name \"X\": breaks constraint meter_name_check: CHECK ((name <> 'X'::text))";
    let taken = |value: &str, holder: u32, why: &str| {
        let index = "unique index meter_name_key";
        format!(
            "name \"{value}\" is taken by meter {holder}, which is active ({index}); \
             meter {holder} keeps it because {why}: {cause}"
        )
    };
    assert_eq!(
        rows(&site.local, rejected).await,
        json!([
            {"id": "3", "reason": taken("d", 4, "meter 5 was rejected")},
            {"id": "4", "reason": taken("e", 5, "it was rejected")},
            {"id": "5", "reason": cause},
        ])
    );
}

#[tokio::test]
async fn values_that_others_hold_fast_are_rejected_with_the_table_that_refers_to_them() {
    let site = site("name text", ", unique (name)").await;
    site.on_local(
        "create table reading (id bigint primary key, meter text references meter (name))",
    )
    .await;
    site.on_remote(THREE).await;
    site.sync().await;
    site.on_local("insert into reading values (1, 'a')").await;
    site.on_remote("update meter set name = case id when 1 then 'b' else 'a' end where id < 3")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let rejected = "select key->>'id' as id, reason from meter_sync.meter_sync_rejected order by 1";
    let rejected = rows(&site.local, rejected).await;
    assert!(rejected.to_string().contains("table reading"), "{rejected}");
    // What can be checked later lets the exchange happen.
    site.on_local("alter table reading drop constraint reading_meter_fkey, add foreign key (meter) references meter (name) deferrable")
        .await;
    updates(&site, 2, "deferrable").await;
}

#[tokio::test]
async fn many_periods_move_on_by_one() {
    let site = site(
        "name int8range not null",
        ", exclude using gist (name with &&)",
    )
    .await;
    site.on_remote("insert into meter select n, 7, int8range(n * 10, n * 10 + 10), true from generate_series(1, 3000) n")
        .await;
    site.sync().await;
    site.on_remote("update meter set name = int8range(id * 10 + 5, id * 10 + 15)")
        .await;
    updates(&site, 3000, "by half").await;
}

#[tokio::test]
async fn a_column_that_refers_narrowly_takes_the_values_on_the_way_too() {
    let site = site("name text", ", unique (name)").await;
    site.on_local(
        "create table reading (meter varchar(2) unique references meter (name) on update cascade)",
    )
    .await;
    site.on_remote("insert into meter values (1, 7, 'S1', true), (2, 7, 'S2', true)")
        .await;
    site.sync().await;
    site.on_local("insert into reading values ('S1')").await;
    site.on_remote("update meter set name = 'S' || 3 - id")
        .await;
    updates(&site, 2, "narrow").await;
    assert_eq!(
        rows(&site.local, "select meter from reading").await,
        json!([{"meter": "S2"}])
    );
}

#[tokio::test]
async fn meters_that_are_switched_off_and_on_exchange_what_only_active_ones_hold() {
    let site = site("name text", "").await;
    site.on_local("create unique index on meter (name) where active")
        .await;
    site.on_remote(
        "insert into meter values (1, 7, 'a', true), (2, 7, 'b', true), (3, 7, 'a', false)",
    )
    .await;
    site.sync().await;
    site.on_remote("update meter set name = case id when 1 then 'b' else 'a' end, active = id < 3")
        .await;
    updates(&site, 2, "exchange").await;
    site.on_remote("update meter set active = id <> 2").await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(
        counts(&run),
        Counts {
            updated: 1,
            reactivated: 1,
            unchanged: 1,
            ..Counts::default()
        }
    );
}
