//! The ways to settle drift, and what the site does to its own table.

use meter_sync::config::Setting;
use meter_sync::model::RunOutcome;
use serde_json::json;

use super::{naming, quiet, synced, told_by_check, warned};
use crate::support::site::{Site, rows};

const OTHERS: &str = "id,name,type,serial_number,active";

/// A site whose remote has renamed a column and dropped another.
async fn drifted() -> Site {
    let site = synced().await;
    site.on_remote(
        "alter table meter rename column notes to remarks; alter table meter drop column ip",
    )
    .await;
    warned(&site, &["ip is gone", "notes is called remarks now"]).await;
    site
}

#[tokio::test]
async fn columns_that_the_site_drops_or_renames_are_settled() {
    let site = drifted().await;
    site.on_local(
        "alter table meter drop column ip; alter table meter rename column notes to old_notes",
    )
    .await;
    quiet(&site, &site.settings()).await;
}

#[tokio::test]
async fn naming_the_other_columns_settles_it_and_stays_settled() {
    let mut site = drifted().await;
    let settings = naming(&site, OTHERS);
    site.reconfigure(&settings);
    quiet(&site, &settings).await;
    let settings = site.settings();
    site.reconfigure(&settings);
    quiet(&site, &settings).await;
}

#[tokio::test]
async fn the_setting_that_check_prints_settles_it() {
    let mut site = drifted().await;
    let told = told_by_check(&site.settings()).await;
    let (_, setting) = told[0]
        .split_once("METER_SYNC_COLUMNS=")
        .expect("a setting");
    let (columns, _) = setting.split_once(';').expect("its end");
    let settings = naming(&site, columns);
    site.reconfigure(&settings);
    quiet(&site, &settings).await;
}

#[tokio::test]
async fn the_statement_that_check_prints_keeps_a_column_as_it_is() {
    let site = drifted().await;
    site.on_remote("alter table meter alter column port type bigint")
        .await;
    warned(&site, &["port is bigint now"]).await;
    for text in told_by_check(&site.settings()).await {
        let (_, statement) = text.split_once("delete from").expect("a statement");
        let (statement, _) = statement.split_once(". ").unwrap_or((statement, ""));
        site.on_local(&format!("delete from {statement}")).await;
    }
    quiet(&site, &site.settings()).await;
    let kept = rows(&site.local, "select notes from meter where id = 1").await;
    assert_eq!(kept, json!([{"notes": "first"}]));
}

#[tokio::test]
async fn a_type_that_goes_back_is_settled() {
    let site = synced().await;
    site.on_remote("alter table meter alter column port type text")
        .await;
    warned(&site, &["port is text now and was integer"]).await;
    site.on_remote("alter table meter alter column port type bigint using port::bigint")
        .await;
    warned(&site, &["port is bigint now and was integer"]).await;
    site.on_remote("alter table meter alter column port type integer")
        .await;
    quiet(&site, &site.settings()).await;
}

#[tokio::test]
async fn a_column_that_comes_back_with_another_type_has_still_drifted() {
    let site = synced().await;
    site.on_remote("alter table meter drop column port").await;
    warned(&site, &["port is gone"]).await;
    site.on_remote("alter table meter add column port text")
        .await;
    warned(&site, &["port is text now and was integer"]).await;
}

#[tokio::test]
async fn what_the_site_does_to_its_own_table_is_no_drift_and_told_once() {
    let site = synced().await;
    site.on_local(
        "alter table meter drop column notes; alter table meter rename column protocol to dialect;
         alter table meter alter column port type bigint",
    )
    .await;
    assert_eq!(told_by_check(&site.settings()).await, Vec::<String>::new());
    let run = warned(&site, &["No longer synced", "notes, protocol"]).await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    assert!(!run.warning.unwrap().contains("port"));
    quiet(&site, &site.settings()).await;
}

#[tokio::test]
async fn a_column_that_both_sides_rename_or_retype_is_no_drift() {
    let site = synced().await;
    let both = "alter table meter rename column notes to remarks; alter table meter alter column port type bigint;
        alter table meter drop column ip";
    site.on_remote(both).await;
    site.on_local(both).await;
    quiet(&site, &site.settings()).await;
}

#[tokio::test]
async fn a_column_renamed_into_one_that_the_site_has_keeps_the_old_one_in_view() {
    let site = synced().await;
    site.on_local("alter table meter add column remarks text")
        .await;
    site.on_remote("alter table meter rename column notes to remarks")
        .await;
    warned(&site, &["notes is called remarks now"]).await;
    let arrived = rows(&site.local, "select remarks, notes from meter where id = 1").await;
    assert_eq!(arrived, json!([{"remarks": "first", "notes": "first"}]));
    let told = told_by_check(&site.settings()).await;
    assert!(told[0].contains("drop column notes"), "{told:#?}");
    site.on_local("alter table meter drop column notes").await;
    quiet(&site, &site.settings()).await;
}

#[tokio::test]
async fn a_named_column_that_is_gone_fails_as_ever() {
    let mut site = synced().await;
    let settings = naming(&site, "id,name,notes,active").with(Setting::OnDrift, "warn");
    site.reconfigure(&settings);
    site.sync().await;
    site.on_remote("alter table meter drop column notes").await;
    let run = site.sync().await;
    let error = run.error.expect("an error");
    assert_eq!(error.code.as_str(), "REMOTE_SCHEMA");
}

#[tokio::test]
async fn columns_of_any_name_are_told_in_sql_that_runs() {
    let columns = "\"user\" text, \"Two Words\" text, \"a\"\"b\" text, c text";
    let site = crate::pinned::site(columns, "").await;
    site.on_remote("insert into meter (id, tenant_id, active) values (1, 7, true)")
        .await;
    site.sync().await;
    site.on_remote(
        "alter table meter rename column \"user\" to \"group\"; alter table meter rename column \"Two Words\" to \"Z\u{e4}hler\";
         alter table meter rename column c to \"C 1\"; alter table meter alter \"a\"\"b\" type bigint using 1",
    )
    .await;
    warned(&site, &["\"user\" is called \"group\" now", "Z\u{e4}hler"]).await;
    for text in told_by_check(&site.settings()).await {
        let (_, statement) = text.split_once("To follow: ").expect("a statement");
        let (statement, _) = statement.split_once(". To ").expect("its end");
        site.on_local(statement).await;
    }
    quiet(&site, &site.settings()).await;
}
