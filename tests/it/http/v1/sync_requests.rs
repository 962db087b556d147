//! Requests for a sync over REST: followed, waited for, repeated, refused, cancelled.

use std::time::Duration;

use serde_json::{Value, json};

use super::api_client::{Answer, ApiClient};
use crate::support::run_hold::{self, RunHold};
use crate::support::site::{Site, rows};
use crate::support::wait;

const SYNC: &str = "POST /api/v1/sync";

async fn with_a_meter() -> Site {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'a')")
        .await;
    site
}

async fn ask(api: &ApiClient, headers: &[(&'static str, &str)], body: &Value) -> Answer {
    let headers = headers.to_vec();
    let add = |mut request: reqwest::RequestBuilder| {
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.json(body)
    };
    api.ask_with(SYNC, add).await
}

#[tokio::test]
async fn a_sync_is_accepted_at_once_and_followed_to_its_end() {
    let site = with_a_meter().await;
    let api = ApiClient::new(&site.settings()).await;
    let held = RunHold::new(&site).await;
    let accepted = api.ask(SYNC).await;
    assert_eq!(
        (accepted.status, &accepted.body["state"]),
        (202, &json!("running"))
    );
    assert_eq!(accepted.header("preference-applied"), None);
    let location = accepted.header("location").expect("a location");
    let id = accepted.body["run_id"].as_str().expect("an id");
    assert_eq!(location, format!("/api/v1/runs/{id}"));
    let follow = format!("GET {location}");
    assert!(api.ask(&follow).await.body["run"].get("outcome").is_none());
    held.release().await;
    let ended = async || api.ask(&follow).await.body["run"]["outcome"] == "succeeded";
    wait::until("the run has ended", ended).await;
    assert_eq!(api.ask(&follow).await.body["run"]["counts"]["inserted"], 1);
}

#[tokio::test]
async fn a_sync_is_answered_with_its_end_when_a_wait_is_preferred() {
    let site = with_a_meter().await;
    let api = ApiClient::new(&site.settings()).await;
    let body = json!({"reason": "before the audit"});
    let headers = [("prefer", "wait=90"), ("user-agent", "audit/1")];
    let ended = ask(&api, &headers, &body).await;
    assert_eq!(
        (ended.status, &ended.body["outcome"]),
        (200, &json!("succeeded"))
    );
    assert_eq!(ended.header("preference-applied"), Some("wait=50"));
    let log = "select trigger, actor, reason from meter_sync.meter_sync_log";
    let logged = json!([{"trigger": "rest", "actor": "audit/1", "reason": "before the audit"}]);
    assert_eq!(rows(&site.local, log).await, logged);
}

#[tokio::test]
async fn a_wait_that_is_over_before_the_sync_is_answered_like_none() {
    let site = with_a_meter().await;
    let api = ApiClient::new(&site.settings()).await;
    let held = RunHold::new(&site).await;
    let answer = ask(&api, &[("prefer", "wait=1")], &json!({})).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert!(
        answer.body["duration_ms"].as_i64() >= Some(900),
        "{answer:?}"
    );
    held.release().await;
    assert_eq!(run_hold::outcomes(&site).await, json!(["succeeded"]));
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_a_sync_in_part_is_no_problem() {
    let site = with_a_meter().await;
    let api = ApiClient::new(&site.settings()).await;
    let wait = [("prefer", "wait=30")];
    let planned = ask(&api, &wait, &json!({"dry_run": true})).await;
    assert_eq!(
        (planned.status, &planned.body["outcome"]),
        (200, &json!("dry_run"))
    );
    assert_eq!(planned.body["counts"]["inserted"], 1);
    assert_eq!(rows(&site.local, "select id from meter").await, json!([]));
    site.on_remote("insert into meter (id, tenant_id, name) values (2, 7, repeat('x', 81))")
        .await;
    let partial = ask(&api, &wait, &json!({"dry_run": null})).await;
    assert_eq!(
        (partial.status, &partial.body["outcome"]),
        (200, &json!("partial"))
    );
}

#[tokio::test]
async fn a_request_repeated_with_its_key_is_answered_with_the_first_ones_run() {
    let site = with_a_meter().await;
    let api = ApiClient::new(&site.settings()).await;
    let headers = [("prefer", "wait=30"), ("idempotency-key", "order 66")];
    let first = ask(&api, &headers, &json!({})).await.body;
    site.on_remote("update meter set name = 'b'").await;
    let again = ask(&api, &headers, &json!({})).await;
    assert_eq!(
        (again.status, &again.body["run_id"]),
        (200, &first["run_id"])
    );
    let other = [("prefer", "wait=30"), ("idempotency-key", "order 67")];
    let other = ask(&api, &other, &json!({})).await.body;
    assert_eq!(other["counts"]["updated"], 1);
    assert_eq!(
        run_hold::outcomes(&site).await,
        json!(["succeeded", "succeeded"])
    );
}

#[tokio::test]
async fn a_repeated_request_is_answered_with_its_own_run_though_another_goes_on() {
    let site = with_a_meter().await;
    let api = ApiClient::new(&site.settings()).await;
    let headers = [("prefer", "wait=30"), ("idempotency-key", "order 68")];
    let first = ask(&api, &headers, &json!({})).await.body;
    let held = RunHold::new(&site).await;
    assert_eq!(api.ask(SYNC).await.status, 202);
    let again = ask(&api, &headers, &json!({})).await;
    assert_eq!(
        (again.status, &again.body["run_id"]),
        (200, &first["run_id"])
    );
    held.release().await;
    run_hold::outcomes(&site).await;
}

#[tokio::test]
async fn a_second_sync_is_told_which_one_is_in_progress_in_whatever_process() {
    let site = with_a_meter().await;
    let (api, other) = (
        ApiClient::new(&site.settings()).await,
        ApiClient::new(&site.settings()).await,
    );
    let held = RunHold::new(&site).await;
    let first = api.ask(SYNC).await;
    for api in [&api, &other] {
        let refused = api.ask(SYNC).await;
        assert_eq!(refused.problem(), (409, "ALREADY_RUNNING"));
        assert_eq!(refused.body["run_id"], first.body["run_id"]);
        assert_eq!(refused.header("location"), first.header("location"));
    }
    held.release().await;
    assert_eq!(run_hold::outcomes(&site).await, json!(["succeeded"]));
}

#[tokio::test]
async fn a_sync_that_the_brake_refuses_needs_a_person() {
    let site = with_a_meter().await;
    site.sync().await;
    site.on_remote("delete from meter").await;
    let api = ApiClient::new(&site.settings()).await;
    let refused = ask(&api, &[("prefer", "wait=30")], &json!({})).await;
    assert_eq!(refused.problem(), (409, "SOURCE_EMPTY_REFUSED"));
    let remedy = refused.body["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains("a person"), "{remedy}");
    let location = format!("GET {}", refused.header("location").expect("a location"));
    let run = api.ask(&location).await.body;
    assert_eq!(run["run"]["outcome"], "refused");
    assert_eq!(run["held_back"]["deactivated"], 1);
    assert_eq!(
        site.status().await.meters.map(|meters| meters.active),
        Some(1)
    );
}

#[tokio::test]
async fn a_sync_that_failed_is_a_problem_by_the_side_that_failed() {
    let site = with_a_meter().await;
    let api = ApiClient::new(&site.settings()).await;
    site.on_remote("drop table meter").await;
    let failed = ask(&api, &[("prefer", "wait=30")], &json!({})).await;
    assert_eq!(failed.problem(), (502, "REMOTE_SCHEMA"));
    let run = failed.body["run_id"].as_str().expect("an id");
    let run = api.ask(&format!("GET /api/v1/runs/{run}")).await.body;
    assert_eq!(run["run"]["error"]["code"], "REMOTE_SCHEMA");
}

#[tokio::test]
async fn a_run_is_cancelled_through_any_process_and_only_while_it_runs() {
    let site = with_a_meter().await;
    for through_another in [false, true] {
        let api = ApiClient::new(&site.settings()).await;
        let other = ApiClient::new(&site.settings()).await;
        let held = RunHold::new(&site).await;
        let location = api.ask(SYNC).await;
        let location = location.header("location").expect("a location");
        let cancel = format!("POST {location}/cancel");
        let asked = if through_another { &other } else { &api };
        let accepted = asked.ask(&cancel).await;
        assert_eq!(
            (accepted.status, accepted.header("location")),
            (202, Some(location))
        );
        // The run is held until it has been cancelled.
        let outcomes = run_hold::outcomes(&site).await;
        held.release().await;
        let last = outcomes.as_array().and_then(|all| all.last().cloned());
        assert_eq!(last, Some(json!("interrupted")), "{outcomes}");
        assert_eq!(asked.ask(&cancel).await.problem(), (409, "RUN_OVER"));
        assert_eq!(rows(&site.local, "select id from meter").await, json!([]));
    }
}

#[tokio::test]
async fn a_run_whose_process_died_needs_no_cancelling() {
    let site = with_a_meter().await;
    let api = ApiClient::new(&site.settings()).await;
    site.sync().await;
    site.on_local("update meter_sync.meter_sync_log set outcome = null, finished_at = null")
        .await;
    let run = &rows(&site.local, "select id from meter_sync.meter_sync_log").await[0]["id"];
    let run = run.as_str().expect("an id");
    let cancelled = api.ask(&format!("POST /api/v1/runs/{run}/cancel")).await;
    assert_eq!(cancelled.problem(), (409, "RUN_DEAD"));
}

#[tokio::test]
async fn a_sync_goes_on_when_who_waits_for_it_goes_away() {
    let site = with_a_meter().await;
    let api = ApiClient::new(&site.settings()).await;
    let held = RunHold::new(&site).await;
    let waiting = api.served.request(SYNC).header("prefer", "wait=50").send();
    let left = tokio::time::timeout(Duration::from_secs(30), async {
        tokio::select! {
            answer = waiting => panic!("{answer:?} while the run is held"),
            () = run_hold::running(&site) => {}
        }
    });
    left.await.expect("a run begins");
    held.release().await;
    assert_eq!(run_hold::outcomes(&site).await, json!(["succeeded"]));
}
