//! Clocks that were wrong once: runs keep their order, failures show, and no slot runs twice.

use chrono::{DateTime, TimeDelta, Utc};
use meter_sync::config::Setting;
use meter_sync::mirrors::{RunRequest, SlotClaimOutcome};
use meter_sync::model::{Health, RunFilter, RunOutcome, RunRecord, RunTrigger, RunsQuery};
use meter_sync::reports::status::StatusQuery;
use serde_json::json;

use super::site;
use crate::support::site::{Site, finish, mirror, rows};

async fn with_a_meter() -> Site {
    let site = site("name text", "").await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    site
}

/// Moves the times of all runs so far, as if a clock had been wrong while they ran.
async fn shift_the_past(site: &Site, by: &str) {
    site.on_local(&format!(
        "update meter_sync.meter_sync_log set started_at = started_at + interval '{by}', finished_at = finished_at + interval '{by}'"
    ))
    .await;
}

#[tokio::test]
async fn failures_after_a_run_under_a_clock_that_was_ahead_are_shown() {
    for ahead in ["1 day", "5 years", "-1 day"] {
        let site = with_a_meter().await;
        let first = site.sync().await;
        assert_eq!(first.outcome, Some(RunOutcome::Succeeded), "{first:#?}");
        shift_the_past(&site, ahead).await;
        site.on_remote("alter table meter rename to elsewhere")
            .await;
        let mut last = site.sync().await;
        for _ in 0..2 {
            last = site.sync().await;
        }
        assert_eq!(last.outcome, Some(RunOutcome::Failed), "{last:#?}");
        let status = site.status().await;
        assert_eq!(status.health, Health::Failing, "{ahead}: {status:#?}");
        assert_eq!(
            status.last_run.map(|run| run.run_id),
            Some(last.run_id),
            "{ahead}"
        );
        assert_eq!(
            status.history.first().map(|run| run.run_id),
            Some(last.run_id)
        );
        let page = site
            .mirror
            .list(&RunsQuery {
                limit: 2,
                before: None,
                show: RunFilter::All,
            })
            .await;
        let page = page.expect("a page").expect("a page");
        assert_eq!(page.runs.first().map(|run| run.run_id), Some(last.run_id));
        let before = RunsQuery {
            limit: 10,
            before: page.next_before,
            show: RunFilter::All,
        };
        let rest = site
            .mirror
            .list(&before)
            .await
            .expect("a page")
            .expect("a page");
        assert_eq!(
            rest.runs.last().map(|run| run.run_id),
            Some(first.run_id),
            "{ahead}"
        );
        let query = StatusQuery::default();
        let status = site.mirror.status(&query).await.expect("a status");
        assert_eq!(status.consecutive_failures, Some(3), "{ahead}");
    }
}

#[tokio::test]
async fn times_of_runs_are_those_of_the_local_database() {
    let site = with_a_meter().await;
    let run = site.sync().await;
    let logged = "select started_at = (select min(started_at) from meter_sync.meter_sync_log) as is_first,
        finished_at >= started_at and finished_at <= clock_timestamp() as is_past from meter_sync.meter_sync_log";
    assert_eq!(
        rows(&site.local, logged).await,
        json!([{"is_first": true, "is_past": true}])
    );
    let started: DateTime<Utc> = site
        .local
        .query_one("select started_at from meter_sync.meter_sync_log", &[])
        .await
        .expect("a run")
        .get(0);
    assert_eq!(run.started_at, started);
}

#[tokio::test]
async fn a_log_that_an_earlier_version_made_is_read_before_a_run_brings_it_up_to_date() {
    let site = with_a_meter().await;
    let first = site.sync().await;
    let second = site.sync().await;
    site.on_local(
        "alter table meter_sync.meter_sync_log drop column seq, drop column is_pruned, drop column cancel_asked_at, drop column proved;
         alter table meter_sync.meter_sync_seen drop column remote_writes, drop column remote_deletes;
         drop table meter_sync.meter_sync_pause, meter_sync.meter_sync_proof, meter_sync.meter_sync_remote, meter_sync.meter_sync_due, meter_sync.meter_sync_held, meter_sync.meter_sync_sweep, meter_sync.meter_sync_mirror;
         alter table meter_sync.meter_sync_change drop column gone_to;
         drop index if exists meter_sync.meter_sync_log_compared;
         delete from meter_sync.meter_sync_migration where version >= 9;
         create index meter_sync_log_by_table on meter_sync.meter_sync_log (local_table);
         create index meter_sync_log_by_tenant on meter_sync.meter_sync_log (tenant);
         create index meter_sync_log_successes on meter_sync.meter_sync_log (tenant);
         create index meter_sync_log_problems on meter_sync.meter_sync_log (tenant);
         create index meter_sync_log_changes on meter_sync.meter_sync_log (tenant);
         drop index if exists meter_sync.meter_sync_log_by_time",
    )
    .await;
    let ids = |status: meter_sync::reports::status::Status| -> Vec<_> {
        status.history.iter().map(|run| run.run_id).collect()
    };
    assert_eq!(ids(site.status().await), [second.run_id, first.run_id]);
    let third = site.sync().await;
    let expected = [third.run_id, second.run_id, first.run_id];
    assert_eq!(ids(site.status().await), expected);
}

#[tokio::test]
async fn a_slot_that_was_run_is_not_run_again_after_the_clock_was_set_back() {
    let site = with_a_meter().await;
    let now = meter_sync::machine_clock::now();
    let (earlier, later) = (now - TimeDelta::minutes(2), now - TimeDelta::minutes(1));
    for slot in [earlier, later] {
        assert_eq!(
            site.mirror.claim_slot(slot, false).await,
            Ok(SlotClaimOutcome::Ours)
        );
        site.sync().await;
    }
    // The clock is set back: the earlier slot comes once more.
    assert_eq!(
        site.mirror.claim_slot(earlier, false).await,
        Ok(SlotClaimOutcome::Served)
    );
    // A run that failed is tried again in its slot all the same.
    assert_eq!(
        site.mirror.claim_slot(later, true).await,
        Ok(SlotClaimOutcome::Ours)
    );
}

#[tokio::test]
async fn slots_that_a_clock_a_day_ahead_claimed_are_free_when_they_come() {
    let site = with_a_meter().await;
    let now = meter_sync::machine_clock::now();
    let tomorrow = now + TimeDelta::days(1);
    assert_eq!(
        site.mirror.claim_slot(tomorrow, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    site.sync().await;
    let other = mirror(&site.settings());
    assert_eq!(
        other.claim_slot(now, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    let left = "select count(*) as n from meter_sync.meter_sync_slot where slot > now() + interval '1 hour'";
    assert_eq!(rows(&site.local, left).await, json!([{"n": 0}]));
}

#[tokio::test]
async fn what_was_compared_in_the_future_does_not_keep_a_comparison_from_being_due() {
    for ahead in ["5 years", "30 minutes"] {
        let site = with_a_meter().await;
        site.sync().await;
        shift_the_past(&site, ahead).await;
        let compared = "select compared from meter_sync.meter_sync_log order by seq desc limit 1";
        let run = site.sync().await;
        let contents = json!([{"compared": "contents"}]);
        assert_eq!(rows(&site.local, compared).await, contents, "{ahead}");
        assert_eq!(
            site.status().await.verified_at,
            run.finished_at,
            "{ahead}: the status tells the latest comparison"
        );
    }
}

#[tokio::test]
async fn a_success_that_lies_in_the_future_is_not_taken_for_a_fresh_one() {
    let mut site = with_a_meter().await;
    let hourly = site.settings().with(Setting::Schedule, "0 * * * *");
    site.reconfigure(&hourly);
    site.sync().await;
    shift_the_past(&site, "5 years").await;
    // As another process would tell it, which remembers no run.
    site.reconfigure(&hourly);
    let status = site.status().await;
    assert_eq!(status.health, Health::Stale, "{status:#?}");
    assert!(status.summary.contains("no sync is known"), "{status:#?}");
    let [warning] = status.warnings.as_slice() else {
        panic!("{status:#?}");
    };
    assert!(warning.contains("ahead of the local database's clock"));
    assert_eq!(&status.next_step, warning);
    site.sync().await;
    let status = site.status().await;
    assert_eq!((status.health, status.warnings), (Health::Ok, Vec::new()));
}

#[tokio::test]
async fn a_request_of_the_future_does_not_answer_the_same_one_of_today() {
    let site = with_a_meter().await;
    let request = || RunRequest {
        idempotency_key: Some("once".to_owned()),
        ..RunRequest::new(RunTrigger::Cli)
    };
    let first = finish(&site.mirror, request()).await;
    let again = finish(&site.mirror, request()).await;
    assert_eq!(again.run_id, first.run_id);
    shift_the_past(&site, "5 years").await;
    let today = finish(&site.mirror, request()).await;
    assert_ne!(today.run_id, first.run_id);
}

#[tokio::test]
async fn news_are_runs_of_now_whatever_their_times_say() {
    let site = with_a_meter().await;
    site.sync().await;
    shift_the_past(&site, "5 years").await;
    let mut events = site.mirror.events();
    let ids = |news: Vec<RunRecord>| news.iter().map(|run| run.run_id).collect::<Vec<_>>();
    let second = site.sync().await;
    assert_eq!(ids(events.next().await), [second.run_id]);
    // A run after the database's clock was set back.
    let third = "00000000-0000-7000-8000-000000000003";
    site.on_local(&format!(
        "insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, dry_run, started_at)
         select '{third}', tenant, local_table, trigger, dry_run, now() - interval '1 day'
         from meter_sync.meter_sync_log where id = '{}'",
        second.run_id
    ))
    .await;
    assert_eq!(ids(events.next().await), [third.parse().expect("an id")]);
}
