//! What a check advises for a column of another type: statements that run and leave a sync that works.

use meter_sync::config::Setting;
use meter_sync::model::RunOutcome;
use serde_json::json;

use super::{quiet, told_by_check, warned};
use crate::pinned;
use crate::support::site::{Site, rows};

async fn synced(columns: &str) -> Site {
    let site = pinned::site(columns, "").await;
    site.on_remote(
        "insert into meter (id, tenant_id, active) select n, 7, true from generate_series(1, 20) n",
    )
    .await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    site
}

/// The statement that comes after these words.
fn statement(told: &str, after: &str) -> String {
    let (_, statement) = told
        .split_once(after)
        .unwrap_or_else(|| panic!("{after}: {told}"));
    let ends = [". To ", "; or", ". The "].map(|end| statement.find(end));
    let end = ends.into_iter().flatten().min();
    statement[..end.unwrap_or(statement.len())].to_owned()
}

#[tokio::test]
async fn the_active_column_stays_boolean() {
    let mut site = synced("name text").await;
    site.on_remote("alter table meter alter active type integer using active::integer")
        .await;
    warned(&site, &["active is integer now"]).await;
    let told = told_by_check(&site.settings()).await;
    assert!(!told[0].contains("alter table"), "{told:#?}");
    assert!(told[0].contains("METER_SYNC_REMOTE_QUERY"), "{told:#?}");
    let settings = site.settings().with(Setting::OnDrift, "fail");
    site.reconfigure(&settings);
    let remedy = site.sync().await.error.expect("an error").remedy;
    assert!(!remedy.contains("alter table"), "{remedy}");
    assert!(remedy.contains("METER_SYNC_REMOTE_QUERY"), "{remedy}");
    site.on_local(&statement(&told[0], "To keep the local type: "))
        .await;
    quiet(&site, &settings).await;
    site.on_remote("update meter set active = 0 where id = 2")
        .await;
    assert_eq!(site.sync().await.counts.updated, 1);
    let off = rows(&site.local, "select id from meter where not active").await;
    assert_eq!(off, json!([{"id": 2}]));
}

#[tokio::test]
async fn a_type_that_is_not_here_is_said_to_be_missing() {
    let mut site = synced("name text, other text").await;
    site.on_remote(
        "create type mood as enum ('a'); alter table meter alter name type mood using 'a'::mood, alter other type mood[] using '{a}'::mood[]",
    )
    .await;
    warned(&site, &["name is public.mood now"]).await;
    let settings = site.settings().with(Setting::OnDrift, "fail");
    site.reconfigure(&settings);
    let remedy = site.sync().await.error.expect("an error").remedy;
    assert!(!remedy.contains("alter table"), "{remedy}");
    let settings = site.settings();
    site.reconfigure(&settings);
    for told in told_by_check(&settings).await {
        assert!(!told.contains("alter table"), "{told}");
        assert!(told.contains("no type public.mood"), "{told}");
    }
    site.on_local("create type mood as enum ('a')").await;
    for told in told_by_check(&settings).await {
        site.on_local(&statement(&told, "To follow: ")).await;
    }
    quiet(&site, &settings).await;
}

#[tokio::test]
async fn a_type_without_a_cast_is_followed_through_the_text() {
    let columns = "a boolean, b integer, c bigint[], d numeric[], e varchar(10), f date";
    let site = synced(columns).await;
    site.on_remote(
        "alter table meter alter a type date using null, alter b type uuid using null, alter c type text[] using null,
         alter d type integer[] using null, alter e type integer using null, alter f type timestamptz using null",
    )
    .await;
    warned(&site, &["a is date now", "b is uuid now"]).await;
    for told in told_by_check(&site.settings()).await {
        site.on_local(&statement(&told, "To follow: ")).await;
    }
    quiet(&site, &site.settings()).await;
}
