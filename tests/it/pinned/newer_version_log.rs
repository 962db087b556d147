//! The log of a newer version: what is unknown in it is not taken for something that this version knows.

use meter_sync::error::ErrorCode;
use meter_sync::model::{ChangeAction, Health, RunId, RunOutcome, RunTrigger};
use meter_sync::reports::status::StatusQuery;

use super::site;
use crate::support::site::Site;

const ID: &str = "01a206b0-0000-7000-8000-000000000001";

/// A site whose last run was one of a newer version.
async fn newer() -> (Site, RunId) {
    let site = site("name text", "").await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    site.sync().await;
    site.on_local(&format!(
        "do $$ declare c record; begin
             for c in select conrelid::regclass as of, conname from pg_constraint
                 where contype = 'c' and connamespace = 'meter_sync'::regnamespace loop
                 execute format('alter table %s drop constraint %I', c.of, c.conname);
             end loop;
         end $$;
         insert into meter_sync.meter_sync_log
             (id, tenant, local_table, trigger, started_at, finished_at, outcome, error_code, error_message, error_remedy)
         values ('{ID}', '7', 'public.meter', 'satellite', now(), now(), 'merged', 'MOON_DOWN', 'No moon.', 'Wait.');
         insert into meter_sync.meter_sync_change (run_id, n, action, key, before, after)
         values ('{ID}', 1, 'merge', '{{\"id\": 1}}', '{{}}', '{{}}')"
    ))
    .await;
    (site, ID.parse().expect("an id"))
}

#[tokio::test]
async fn an_outcome_an_action_a_trigger_and_a_code_of_a_newer_version_are_unknown() {
    let (site, id) = newer().await;
    let query = StatusQuery {
        run_id: Some(id),
        include_changes: true,
        ..StatusQuery::default()
    };
    let status = site.mirror.status(&query).await.expect("a status");
    assert_eq!(status.running, None);
    assert_eq!(status.warnings, [""; 0], "nothing was interrupted");
    assert_eq!(status.health, Health::Failing);
    assert!(
        !status.summary.contains("interrupted") && !status.summary.contains("did not succeed"),
        "{status:#?}"
    );
    let run = status.last_run.expect("a last run");
    assert_eq!(
        (run.run_id, run.outcome, run.trigger),
        (id, Some(RunOutcome::Unknown), RunTrigger::Unknown)
    );
    let error = run.error.expect("an error");
    assert_eq!(
        (error.code, error.message.as_str(), error.remedy.as_str()),
        (ErrorCode::Unknown, "No moon.", "Wait.")
    );
    assert_eq!(
        status.changes.expect("changes")[0].action,
        ChangeAction::Unknown
    );

    let detail = site
        .mirror
        .run(id)
        .await
        .expect("an answer")
        .expect("a run");
    assert_eq!(detail.run.outcome, Some(RunOutcome::Unknown));
    assert!(detail.summary.contains("unknown"), "{detail:#?}");
    let report = site.mirror.report(id).await.expect("a report");
    assert_eq!(report.outcome, Some(RunOutcome::Unknown));
    assert!(report.summary.contains("unknown"), "{report:#?}");

    // The next run leaves it as it is.
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
    let detail = site
        .mirror
        .run(id)
        .await
        .expect("an answer")
        .expect("a run");
    assert_eq!(detail.run.outcome, Some(RunOutcome::Unknown));
}
