//! Unique indexes on functions that call other functions by the role's own path.

use meter_sync::model::RunOutcome;
use serde_json::json;

use super::{names, site};
use crate::support::site::{Site, rows};

/// Six meters under an index on a function that finds another one in `public`.
async fn indexed(rule: &str) -> Site {
    let site = site("name text", "").await;
    site.on_local(&format!(
        "create function small(t text) returns text language plpgsql immutable as $$ begin return lower(t); end $$;
         create function norm(t text) returns text language plpgsql immutable as $$ begin return small(t); end $$;
         {rule}"
    ))
    .await;
    site.on_remote("insert into meter select n, 7, 'S' || n, true from generate_series(1, 6) n")
        .await;
    site.sync().await;
    site
}

const RULES: &[&str] = &[
    "create unique index serial on meter (norm(name))",
    "alter table meter alter name set not null; create unique index serial on meter (norm(name))",
    "create unique index serial on meter (name) where norm(name) <> ''",
    "alter table meter add constraint serial exclude using btree (norm(name) with =)",
];

#[tokio::test]
async fn values_are_exchanged_under_an_index_on_a_function_that_needs_the_path() {
    for rule in RULES {
        let site = indexed(rule).await;
        site.on_remote("update meter set name = 'S' || 1 + id % 6")
            .await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{rule}: {run:#?}");
        assert_eq!(names(&site).await[5]["name"], "S1", "{rule}");
        let again = site.sync().await;
        assert_eq!(
            again.outcome,
            Some(RunOutcome::NoChange),
            "{rule}: {again:#?}"
        );
    }
}

#[tokio::test]
async fn a_value_is_given_up_under_an_index_on_a_function_that_needs_the_path() {
    for rule in [RULES[0], RULES[2], RULES[3]] {
        let site = indexed(rule).await;
        site.on_remote("update meter set id = 9 where id = 1").await;
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{rule}: {run:#?}");
        assert_eq!(names(&site).await[0]["name"], json!(null), "{rule}");
    }
}

#[tokio::test]
async fn the_holder_is_named_under_an_index_on_a_function_that_needs_the_path() {
    let site = indexed(RULES[0]).await;
    site.on_remote("insert into meter values (7, 7, 's2', true)")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let reason = "select reason from meter_sync.meter_sync_rejected";
    assert_eq!(
        rows(&site.local, reason).await,
        json!([{"reason": "public.norm(name) \"s2\" is taken by meter 2, which is active (unique index serial)"}])
    );
}
