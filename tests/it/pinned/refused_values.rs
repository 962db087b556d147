//! Values that a local type refuses with an error of its own.

use meter_sync::model::RunOutcome;
use serde_json::json;

use super::site;
use crate::support::postgres::connect;
use crate::support::site::{Site, rows};
use crate::support::wait;

const TENANT: &str = "create table tenant (id bigint primary key); insert into tenant values (7);";

/// Types that call a value wrong SQL, or something that is not there.
#[tokio::test]
async fn a_value_that_is_refused_as_wrong_sql_keeps_only_its_row_out() {
    for (type_, before, bad) in [
        ("tsquery", "", "a &"),
        ("tsvector", "", "'"),
        ("jsonpath", "", "$["),
        ("regtype", "", "nosuch"),
        ("regclass", "", "nosuch.table"),
        ("query[]", "create domain query as tsquery", "{a &}"),
        ("ltree", "create extension ltree", "a b"),
        (
            "text check (nlevel(text2ltree(name)) < 9)",
            "create extension ltree",
            "a b",
        ),
    ] {
        let site = site("name text, place text", "").await;
        site.on_local(&format!(
            "{}; alter table meter drop column name, add column name {type_}",
            if before.is_empty() { "select" } else { before }
        ))
        .await;
        site.on_remote(
            "insert into meter select n, 7, null, 'old', true from generate_series(1, 9) n",
        )
        .await;
        site.sync().await;
        site.on_remote("update meter set place = 'new' where id = 4")
            .await;
        site.on_remote(&format!(
            "update meter set name = $t${bad}$t$ where id = 3; insert into meter values (10, 7, $t${bad}$t$, 'new', true)"
        ))
        .await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Partial), "{type_}: {run:#?}");
        assert_eq!(
            (run.counts.updated, run.counts.rejected),
            (1, 2),
            "{type_}: {run:#?}"
        );
        let kept = "select reason like '%name%' as told, key from meter_sync.meter_sync_rejected order by key::text";
        assert_eq!(
            rows(&site.local, kept).await,
            json!([{"told": true, "key": {"id": 10}}, {"told": true, "key": {"id": 3}}]),
            "{type_}"
        );
    }
}

/// A site inserts a meter by itself while the first load has begun.
#[tokio::test]
async fn a_meter_that_somebody_inserts_during_a_first_load_is_updated() {
    let site = site("name text", "").await;
    site.on_remote("insert into meter select n, 7, 'theirs', true from generate_series(1, 9) n")
        .await;
    let writer = connect(&site.pair.local_url).await;
    writer
        .batch_execute("begin; insert into meter (id, name, active) values (5, 'ours', true)")
        .await
        .expect("insert");
    let commit = async {
        let waiting =
            "select exists (select from pg_locks where not granted and locktype = 'transactionid')";
        wait::until("the run waits for the writer", async || {
            site.local
                .query_one(waiting, &[])
                .await
                .expect("locks")
                .get(0)
        })
        .await;
        writer.batch_execute("commit").await.expect("commit");
    };
    let (run, ()) = tokio::join!(site.sync(), commit);
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(
        (run.counts.inserted, run.counts.updated),
        (8, 1),
        "{run:#?}"
    );
}

/// Types there and here, and a value that is more or other than what its text casts to.
const READ_BY_INPUT: &[(&str, &str, &str)] = &[
    ("text", "interval minute", "90"),
    ("integer", "interval hour", "36"),
    ("double precision", "interval day to hour", "2.5"),
    ("text", "interval minute[]", "{90,null}"),
    ("text", "interval_minute", "90"),
    ("text", "regclass", "16384"),
    ("text", "mood", "good"),
];

#[tokio::test]
async fn what_a_value_becomes_does_not_hang_on_its_neighbours() {
    for (there, here, value) in READ_BY_INPUT {
        let site = Site::with_schemas(
            &format!("create table meter (id bigint primary key, tenant_id int, v {there}, n text, active boolean not null default true)"),
            &format!("{TENANT} create domain interval_minute as interval minute;
                create type mood as enum ('good', 'bad');
                create function other_mood(text) returns mood language sql as $$ select 'bad'::mood $$;
                create cast (text as mood) with function other_mood(text);
                create table meter (id bigint primary key, v {here}, n integer, active boolean not null)"),
        )
        .await;
        for ids in [[1, 2], [3, 4]] {
            let [good, bad] = ids;
            site.on_remote(&format!(
                "insert into meter values ({good}, 7, '{value}', '5'), ({bad}, 7, null, 'bad')"
            ))
            .await;
            let run = site.sync().await;
            assert_eq!(run.counts.inserted, 1, "{there} {here}: {run:#?}");
            let own = format!(
                "select v is not distinct from {} as same from meter where id = {good}",
                literal(here, value)
            );
            assert_eq!(
                rows(&site.local, &own).await,
                json!([{"same": true}]),
                "{there} {here}"
            );
        }
        site.on_remote("update meter set n = '6' where n = 'bad'")
            .await;
        let run = site.sync().await;
        assert_eq!(run.counts.inserted, 2, "{there} {here}: {run:#?}");
        // A value that an earlier version wrote otherwise is found.
        site.on_local("update meter set v = null where id = 1")
            .await;
        let run = site.sync().await;
        assert_eq!(run.counts.updated, 1, "{there} {here}: {run:#?}");
    }
}

/// A value as Postgres itself reads it: a literal goes through the input function with the type's modifiers.
fn literal(type_: &str, value: &str) -> String {
    match type_ {
        "interval minute[]" => "array['90'::interval minute, null]".to_owned(),
        "interval_minute" => format!("'{value}'::interval minute"),
        _ => format!("'{value}'::{type_}"),
    }
}

#[tokio::test]
async fn a_comparison_sees_an_interval_that_was_cast_instead_of_read() {
    let site = Site::with_schemas(
        "create table meter (id bigint primary key, tenant_id int, v text, active boolean not null default true)",
        &format!("{TENANT} create table meter (id bigint primary key, v interval minute, active boolean not null)"),
    )
    .await;
    site.on_remote("insert into meter values (1, 7, '90')")
        .await;
    site.on_local("insert into meter values (1, '90'::interval, true)")
        .await;
    let run = site.sync().await;
    assert_eq!(run.counts.updated, 1, "{run:#?}");
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
}
