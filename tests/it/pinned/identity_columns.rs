//! Identity columns, whose values the local table generates: no update may set them, so no setting may name them.

use meter_sync::check::{self, Verdict};
use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;

use super::site;
use crate::support::site::config;

#[tokio::test]
async fn a_column_that_the_table_generates_is_refused_where_the_setting_names_it() {
    for generated in [
        "generated always as identity",
        "generated always as (id * 2) stored",
    ] {
        let mut site = site("name text", &format!(", n bigint {generated}")).await;
        site.on_remote("alter table meter add n bigint; insert into meter select n, 7, 'name', true, n from generate_series(1, 10) n")
            .await;
        let settings = site.settings().with(Setting::Columns, "id,name,n,active");
        let findings = check::run(&config(&settings)).await;
        let told = findings.iter().find(|finding| finding.subject == "columns");
        let Some(Verdict::Failed(told)) = told.map(|finding| &finding.verdict) else {
            panic!("{generated}: {findings:#?}")
        };
        site.reconfigure(&settings);
        let run = site.sync().await;
        for failure in [told, run.error.as_ref().expect("an error")] {
            assert_eq!(failure.code, ErrorCode::LocalSchema, "{failure:?}");
            let text = &failure.message;
            assert!(
                text.contains("column n") && text.contains("METER_SYNC_COLUMNS"),
                "{text}"
            );
        }
        // Without the setting it is left alone.
        let settings = site.settings();
        site.reconfigure(&settings);
        assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
        site.on_remote("update meter set n = 100, name = 'new' where id = 3")
            .await;
        assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    }
}

#[tokio::test]
async fn a_key_that_is_always_generated_may_be_named() {
    let mut site = site("name text", "").await;
    site.on_local("alter table meter alter id add generated always as identity")
        .await;
    site.on_remote("insert into meter values (1, 7, 'name', true)")
        .await;
    let settings = site.settings().with(Setting::Columns, "id,name,active");
    site.reconfigure(&settings);
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    site.on_remote("update meter set name = 'new'").await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
}
