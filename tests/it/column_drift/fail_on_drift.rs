//! `METER_SYNC_ON_DRIFT=fail`: runs fail until the drift is settled.

use meter_sync::check::{self, Verdict};
use meter_sync::config::{Config, Environment, Setting};
use meter_sync::error::{ErrorCode, Failure};
use meter_sync::model::{Health, RunOutcome};
use serde_json::json;

use super::synced;
use crate::support::program::{self, run};
use crate::support::site::{config, rows};

#[tokio::test]
async fn a_run_fails_and_writes_no_meter_until_the_drift_is_settled() {
    let mut site = synced().await;
    let settings = site.settings().with(Setting::OnDrift, "fail");
    site.reconfigure(&settings);
    site.on_remote(
        "alter table meter rename column notes to remarks; update meter set name = 'new'",
    )
    .await;
    for _ in 0..2 {
        let run = site.sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::Failed), "{run:#?}");
        let error = run.error.expect("an error");
        assert_eq!(error.code, ErrorCode::SchemaDrift);
        assert!(
            error.message.contains("notes is called remarks now"),
            "{error}"
        );
        let statement = "alter table \"public\".\"meter\" rename column notes to remarks";
        assert!(error.remedy.contains(statement), "{}", error.remedy);
        let status = site.status().await;
        assert_eq!(status.health, Health::Failing);
        assert_eq!(status.next_step, error.remedy);
        assert!(
            status.warnings[0].contains("notes is called remarks now"),
            "{status:#?}"
        );
    }
    assert_eq!(
        site.dry_run().await.error.expect("an error").code,
        ErrorCode::SchemaDrift
    );
    let names = rows(&site.local, "select name from meter order by id").await;
    assert_eq!(names, json!([{"name": "a"}, {"name": "b"}]));
    let findings = check::run(&config(&settings)).await;
    let found = findings.iter().find(|finding| finding.subject == "drift");
    assert!(
        matches!(&found.unwrap().verdict, Verdict::Failed(failure) if failure.code == ErrorCode::SchemaDrift),
        "{found:#?}"
    );
    let ended = run(program::over(&site, &["sync", "--on-drift", "fail"], &[])).await;
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(ended.stdout.contains("SCHEMA_DRIFT"), "{ended:#?}");
    site.on_local("alter table meter rename column notes to remarks")
        .await;
    let run = site.sync().await;
    assert_eq!(
        (run.outcome, run.warning),
        (Some(RunOutcome::Succeeded), None)
    );
}

#[tokio::test]
async fn a_run_that_fails_for_another_reason_still_finds_the_drift() {
    let site = synced().await;
    site.on_remote(
        "alter table meter drop column notes; update meter set active = false; delete from meter",
    )
    .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Refused), "{run:#?}");
    assert!(run.warning.expect("a warning").contains("notes is gone"));
    site.on_remote("alter table meter rename to mislaid").await;
    let run = site.sync().await;
    assert_eq!((run.outcome, run.warning), (Some(RunOutcome::Failed), None));
    let status = site.status().await;
    assert!(status.warnings[0].contains("notes is gone"), "{status:#?}");
    assert_eq!(status.next_step, run.error.expect("an error").remedy);
}

#[test]
fn the_setting_takes_two_words() {
    let settings = crate::support::site::settings("host=a dbname=r", "host=b dbname=l");
    let load = |value: &str| {
        let settings = settings.clone().with(Setting::OnDrift, value);
        Config::load_from(&settings, &Environment::default())
    };
    assert!(load("warn").is_ok() && load("FAIL").is_ok());
    let failure = Failure::from(load("ignore").expect_err("neither"));
    assert!(
        failure.message.contains("neither warn nor fail"),
        "{failure}"
    );
}
