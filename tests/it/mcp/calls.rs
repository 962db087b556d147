//! Calls of the two tools that go well, and runs that outlive who asked for them.

use serde_json::{Value, json};

use super::client::{Assistant, EVERY_TRANSPORT, Transport, modern};
use super::{METERS, STATUS, TRIGGER};
use crate::support::run_hold::{self, RunHold};
use crate::support::site::{Site, rows};
use crate::support::wait;

/// Follows a run by the status tool to its end.
async fn followed(assistant: &Assistant, run_id: &Value) -> Value {
    let ended = async || {
        let status = assistant.ask(STATUS, json!({})).await;
        status["last_run"]["run_id"] == *run_id && status["activity"] == "idle"
    };
    wait::until("the run has ended", ended).await;
    assistant.ask(STATUS, json!({})).await
}

/// Status, dry run, sync and status again: what every assistant does first.
async fn first_steps(site: &Site, assistant: &Assistant) {
    let before = assistant.ask(STATUS, json!({})).await;
    assert_eq!(before["health"], "never_run");
    assert_eq!(before["activity"], "idle");
    assert_eq!(before["last_run"], Value::Null);
    assert_eq!(before["tenant"], json!({"id": "7", "name": "Acme"}));

    let plan = assistant.ask(TRIGGER, json!({"dry_run": true})).await;
    assert_eq!(
        (&plan["state"], &plan["outcome"]),
        (&json!("finished"), &json!("dry_run"))
    );
    assert_eq!(plan["counts"]["inserted"], 3);
    assert_eq!(plan["changes_total"], 3);
    assert_eq!(rows(&site.local, "select id from meter").await, json!([]));
    assert_eq!(
        assistant.ask(STATUS, json!({})).await["health"],
        "never_run"
    );

    let run = assistant.ask(TRIGGER, json!({"reason": "a test"})).await;
    assert_eq!(
        (&run["state"], &run["outcome"]),
        (&json!("finished"), &json!("succeeded"))
    );
    assert_eq!(run["counts"]["inserted"], 3);
    assert_eq!(run["changes"][0]["key"], json!({"id": "1"}));

    let after = assistant
        .ask(STATUS, json!({"include_changes": true}))
        .await;
    assert_eq!(after["health"], "paused");
    assert_eq!(after["meters"], json!({"active": 3, "inactive": 0}));
    assert_eq!(after["last_run"]["run_id"], run["run_id"]);
    assert_eq!(after["last_run"]["trigger"], "mcp");
    assert_eq!(after["last_run"]["actor"], "test assistant 1.0");
    assert_eq!(after["last_run"]["reason"], "a test");
    assert_eq!(after["changes"].as_array().expect("a list").len(), 3);
    assert_eq!(after["history"].as_array().expect("a list").len(), 2);
}

#[tokio::test]
async fn an_assistant_sees_the_state_plans_syncs_and_sees_the_new_state() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        assert_eq!(
            assistant.tools,
            json!(meter_sync::mcp::tools(true)),
            "{transport:?}"
        );
        first_steps(&site, &assistant).await;
    }
}

#[tokio::test]
async fn a_client_of_the_protocol_without_initialize_takes_the_same_steps() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::with_lifecycle(transport, &site, &[], modern()).await;
        first_steps(&site, &assistant).await;
    }
}

#[tokio::test]
async fn a_run_longer_than_the_wait_is_followed_by_the_status() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        let held = RunHold::new(&site).await;
        let begun = assistant.ask(TRIGGER, json!({"wait_seconds": 0})).await;
        assert_eq!(begun["state"], "running", "{transport:?}");
        assert_eq!(begun["outcome"], Value::Null, "{transport:?}");
        let run_id = &begun["run_id"];
        let step = begun["next_step"].as_str().expect("text");
        assert!(
            step.contains(run_id.as_str().expect("an id")),
            "{transport:?}: {step}"
        );

        let second = assistant.ask(TRIGGER, json!({})).await;
        assert_eq!(second["state"], "already_running", "{transport:?}");
        assert_eq!(&second["run_id"], run_id, "{transport:?}");
        let meanwhile = assistant.ask(STATUS, json!({})).await;
        assert_eq!(meanwhile["activity"], "running", "{transport:?}");
        assert_eq!(&meanwhile["running"]["run_id"], run_id, "{transport:?}");

        held.release().await;
        let status = followed(&assistant, run_id).await;
        assert_eq!(status["last_run"]["outcome"], "succeeded", "{transport:?}");
        assert_eq!(
            run_hold::outcomes(&site).await,
            json!(["succeeded"]),
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn a_run_in_another_process_is_not_run_again() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let first = Assistant::new(Transport::Stdio, &site, &[]).await;
    let second = Assistant::new(Transport::Http, &site, &[]).await;
    let held = RunHold::new(&site).await;
    let begun = first.ask(TRIGGER, json!({"wait_seconds": 0})).await;
    let answer = second.ask(TRIGGER, json!({"dry_run": true})).await;
    assert_eq!(answer["state"], "already_running");
    assert_eq!(answer["run_id"], begun["run_id"]);
    let status = second.ask(STATUS, json!({})).await;
    assert_eq!(status["running"]["run_id"], begun["run_id"]);
    held.release().await;
    followed(&second, &begun["run_id"]).await;
    assert_eq!(run_hold::outcomes(&site).await, json!(["succeeded"]));
}

#[tokio::test]
async fn who_gave_a_token_is_told_how_far_the_run_is() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        let held = RunHold::while_reading(&site).await;
        // rmcp's client gives a token with every call
        let call = assistant.begin(TRIGGER, &json!({"wait_seconds": 50})).await;
        let reading = async || {
            let told = assistant.told();
            told.iter()
                .any(|told| told.message.as_deref() == Some("reading: 0 rows"))
        };
        wait::until("the reading is told", reading).await;
        let token = call.progress_token.clone();
        held.release().await;
        let answer = json!(call.await_response().await.expect("an answer"));
        assert_eq!(
            answer["structuredContent"]["outcome"], "succeeded",
            "{transport:?}: {answer:#}"
        );
        let told = assistant.told();
        assert!(
            told.iter().all(|told| told.progress_token == token),
            "{transport:?}: {told:?}"
        );
        assert!(
            told.is_sorted_by(|one, next| one.progress < next.progress),
            "{transport:?}: {told:?}"
        );
    }
}

#[tokio::test]
async fn a_run_goes_on_when_its_call_is_cancelled() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        let held = RunHold::new(&site).await;
        let call = assistant.begin(TRIGGER, &json!({"wait_seconds": 50})).await;
        run_hold::running(&site).await;
        call.cancel(Some("changed my mind".to_owned()))
            .await
            .expect("cancelled");
        let status = assistant.ask(STATUS, json!({})).await;
        assert_eq!(status["activity"], "running", "{transport:?}");
        held.release().await;
        assert_eq!(
            run_hold::outcomes(&site).await,
            json!(["succeeded"]),
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn a_run_goes_on_when_its_client_goes_away() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        let held = RunHold::new(&site).await;
        let _call = assistant.begin(TRIGGER, &json!({"wait_seconds": 50})).await;
        run_hold::running(&site).await;
        let _program = assistant.leave().await;
        held.release().await;
        assert_eq!(
            run_hold::outcomes(&site).await,
            json!(["succeeded"]),
            "{transport:?}"
        );
        let meters = rows(&site.local, "select id from meter order by id").await;
        assert_eq!(
            meters,
            json!([{"id": "1"}, {"id": "2"}, {"id": "3"}]),
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn a_repeated_idempotency_key_is_answered_with_the_first_run() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        let first = assistant
            .ask(TRIGGER, json!({"idempotency_key": "a"}))
            .await;
        site.on_remote("update meter set name = 'New' where id = 1")
            .await;
        let mut again = assistant
            .ask(TRIGGER, json!({"idempotency_key": "a"}))
            .await;
        again["now"] = first["now"].clone();
        assert_eq!(again, first, "{transport:?}");
        let other = assistant
            .ask(TRIGGER, json!({"idempotency_key": "b"}))
            .await;
        assert_ne!(other["run_id"], first["run_id"], "{transport:?}");
        assert_eq!(other["counts"]["updated"], 1, "{transport:?}");
        assert_eq!(
            run_hold::outcomes(&site).await,
            json!(["succeeded", "succeeded"]),
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn a_column_that_has_drifted_is_told_by_both_tools() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    site.sync().await;
    site.on_remote("alter table meter drop column notes").await;
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    let run = assistant.ask(TRIGGER, json!({})).await;
    let status = assistant.ask(STATUS, json!({})).await;
    for told in [&run["warning"], &run["next_step"], &status["warnings"][0]] {
        let told = told.as_str().expect("a text");
        assert!(told.contains("notes is gone"), "{run:#} {status:#}");
    }
}
