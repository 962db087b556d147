//! Case-insensitive keys of the local table: `K1` and `k1` are one meter.

use meter_sync::history::parse_meter_key::MeterKeyText;
use meter_sync::model::{Counts, RunOutcome};
use serde_json::json;

use super::counts;
use crate::support::site::{Site, rows};

/// A key and a unique serial of a type that is found, or not, by the role's path; `there` is the type of the remote key.
async fn site(schema: &str, there: &str) -> Site {
    let extension = match schema {
        "pg_catalog" => "create extension citext schema pg_catalog".to_owned(),
        _ => format!("create schema {schema}; create extension citext schema {schema}"),
    };
    let remote = format!(
        "{extension}; create table meter (id {there} primary key, tenant_id bigint not null, name text, serial text, active boolean not null);
         insert into meter select 'K' || n, 7, 'Meter ' || n, 'S' || n, true from generate_series(1, 40) n"
    );
    let local = format!(
        "{extension}; create table tenant (id bigint primary key); insert into tenant values (7);
         create table meter (id {schema}.citext primary key, name text, serial {schema}.citext unique, active boolean not null)"
    );
    let site = Site::with_schemas(&remote, &local).await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    site
}

async fn synced(site: &Site, what: &str, expected: Counts) {
    let run = site.sync().await;
    let found = Counts {
        unchanged: 0,
        ..counts(&run)
    };
    assert_eq!(found, expected, "{what}: {run:#?}");
    let again = site.sync().await;
    assert_eq!(
        again.outcome,
        Some(RunOutcome::NoChange),
        "{what}: {again:#?}"
    );
}

#[tokio::test]
async fn a_key_that_changes_its_case_is_the_same_meter() {
    for (schema, there) in [
        ("pg_catalog", "text"),
        ("pg_catalog", "citext"),
        ("types", "text"),
        ("types", "types.citext"),
    ] {
        let what = format!("{there} to {schema}.citext");
        let site = site(schema, there).await;
        let again = site.sync().await;
        assert_eq!(
            again.outcome,
            Some(RunOutcome::NoChange),
            "{what}: {again:#?}"
        );
        site.on_remote("update meter set id = 'k1' where id = 'K1'; update meter set id = 'k2', name = 'new' where id = 'K2'")
            .await;
        let one = Counts {
            updated: 1,
            ..Counts::default()
        };
        synced(&site, &what, one).await;
        // Two meters exchange their serials, one goes, and its serial is taken by a new one.
        site.on_remote(
            "update meter set serial = case id::text when 'k1' then 's2' else 's1' end where id in ('k1', 'k2');
             delete from meter where id = 'K3'; insert into meter values ('K50', 7, 'more', 's3', true)",
        )
        .await;
        let several = Counts {
            inserted: 1,
            updated: 2,
            deactivated: 1,
            ..Counts::default()
        };
        synced(&site, &what, several).await;
        site.on_remote("insert into meter values ('k3', 7, 'back', null, true)")
            .await;
        let back = Counts {
            reactivated: 1,
            ..Counts::default()
        };
        synced(&site, &what, back).await;
        let here = "select id::text, name, serial::text from meter where id::text < 'K4' and length(id::text) = 2 order by 1";
        assert_eq!(
            rows(&site.local, here).await,
            json!([
                {"id": "K1", "name": "Meter 1", "serial": "s2"},
                {"id": "K2", "name": "new", "serial": "s1"},
                {"id": "K3", "name": "back", "serial": null}
            ]),
            "{what}"
        );
        let key = MeterKeyText::parse("k1").expect("a key");
        let found = site.mirror.meter(&key, None).await.expect("an answer");
        assert!(
            found.is_some_and(|meter| !meter.changes.is_empty()),
            "{what}"
        );
    }
}
