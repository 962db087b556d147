//! What a run says of itself: its counts, its log row, its change rows and its rejected rows.

use meter_sync::model::{Counts, MeterFields, RunOutcome};
use meter_sync::reports::run_report::RunReport;
use serde_json::{Value as Json, json};

use super::edits::Case;
use super::harness::{Verdict, check};
use super::model::Expected;
use super::table_shapes::Key;
use super::world::{World, Worlds};
use crate::support::site::rows;

/// P4.
#[test]
fn each_run_leaves_a_log_row_with_the_true_counts() {
    check(async |worlds: &mut Worlds, case: &Case| {
        let world = worlds.empty(case.shape).await;
        for (n, round) in (1..).zip(&case.rounds) {
            world.edit(round).await;
            assert_a_dry_run_tells_it(world).await;
            let (report, expected) = world.sync(case.trigger).await;
            let outcome = outcome(&expected.counts);
            assert_eq!(report.outcome, Some(outcome), "{report:#?}");
            assert_eq!(report.counts, expected.counts, "{report:#?}");
            let log = rows(&world.site.local, LOG).await;
            // A sync and a dry run a round.
            assert_eq!(log.as_array().unwrap().len(), 2 * n);
            assert_eq!(log[0], log_row(&report, case, &expected.counts, outcome));
            assert_eq!(
                changes(world, &report).await,
                expected_changes(world, &expected)
            );
            assert_eq!(
                rejected(world, &report).await,
                expected_rejected(world, &expected)
            );
        }
        Verdict::Held
    });
}

/// The newest run first; times are judged by the server.
const LOG: &str =
    "select id, tenant, trigger, outcome, inserted, updated, deactivated, reactivated,
    unchanged, rejected, error_code, remote_bytes, dry_run, changes_truncated,
    finished_at >= started_at and finished_at - now() between '-1 minute' and '1 second' as is_timed
    from meter_sync.meter_sync_log order by started_at desc, id desc";

fn outcome(counts: &Counts) -> RunOutcome {
    match (counts.rejected, counts.changes()) {
        (0, 0) => RunOutcome::NoChange,
        (0, _) => RunOutcome::Succeeded,
        _ => RunOutcome::Partial,
    }
}

fn log_row(report: &RunReport, case: &Case, counts: &Counts, outcome: RunOutcome) -> Json {
    let error_code = (counts.rejected > 0).then_some("LOCAL_CONSTRAINT");
    json!({
        "id": report.run_id, "tenant": "7", "trigger": case.trigger, "outcome": outcome,
        "inserted": counts.inserted, "updated": counts.updated, "deactivated": counts.deactivated,
        "reactivated": counts.reactivated, "unchanged": counts.unchanged, "rejected": counts.rejected,
        "error_code": error_code, "remote_bytes": report.remote_bytes, "dry_run": false,
        "changes_truncated": false, "is_timed": true,
    })
}

/// A dry run counts the same but for rows that only the attempt to write them shows to be refused,
/// and writes no meter.
async fn assert_a_dry_run_tells_it(world: &World) {
    let before = world.local_rows().await;
    let expected = world.model.clone().sync(&world.shape);
    let report = world.site.dry_run().await;
    assert_eq!(report.outcome, Some(RunOutcome::DryRun), "{report:#?}");
    assert_eq!(world.local_rows().await, before);
    if expected.counts.rejected == 0 {
        assert_eq!(report.counts, expected.counts, "{report:#?}");
        assert_eq!(
            changes(world, &report).await,
            expected_changes(world, &expected)
        );
    }
}

async fn changes(world: &World, report: &RunReport) -> Json {
    let sql = format!(
        "select key, action, before, after from meter_sync.meter_sync_change where run_id = '{}'",
        report.run_id
    );
    sorted(
        rows(&world.site.local, &sql)
            .await
            .as_array()
            .cloned()
            .unwrap(),
    )
}

async fn rejected(world: &World, report: &RunReport) -> Json {
    let sql = format!(
        "select key from meter_sync.meter_sync_rejected where run_id = '{}' and reason <> ''",
        report.run_id
    );
    sorted(
        rows(&world.site.local, &sql)
            .await
            .as_array()
            .cloned()
            .unwrap(),
    )
}

fn key_json(world: &World, key: &Key) -> MeterFields {
    let columns = world.shape.key.iter().zip(key);
    columns
        .map(|(column, text)| (column.column.name.to_owned(), column.json(text)))
        .collect()
}

fn expected_changes(world: &World, expected: &Expected) -> Json {
    let change = |(key, change): (&Key, &super::model::Recorded)| {
        json!({
            "key": key_json(world, key), "action": change.action,
            "before": change.before, "after": change.after,
        })
    };
    sorted(expected.changes.iter().map(change).collect())
}

/// By key, as the rows of a database are compared with here.
fn sorted(mut entries: Vec<Json>) -> Json {
    entries.sort_by_key(|entry| entry["key"].to_string());
    entries.into()
}

fn expected_rejected(world: &World, expected: &Expected) -> Json {
    let keys = expected.rejected.iter();
    sorted(
        keys.map(|key| json!({"key": key_json(world, key)}))
            .collect(),
    )
}
