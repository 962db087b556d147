//! Runs as tasks, for clients that know the extension.

use rmcp::model::{
    CallToolResponse, CancelTaskParams, GetTaskParams, TaskPayload, TaskStatus, UpdateTaskParams,
};
use serde_json::json;

use super::client::{
    Abilities, Assistant, ClientStart, EVERY_TRANSPORT, Transport, modern, params,
};
use super::{METERS, STATUS, TRIGGER};
use crate::support::run_hold::{self, RunHold};
use crate::support::site::{Site, rows};
use crate::support::wait;

async fn assistant(transport: Transport, site: &Site) -> Assistant {
    let abilities = Abilities {
        tasks: true,
        ..Abilities::default()
    };
    let start = ClientStart {
        lifecycle: modern(),
        abilities,
    };
    Assistant::with_abilities(transport, site, &[], start).await
}

/// A run that goes on, as a task.
async fn begun(assistant: &Assistant) -> String {
    let call = params(TRIGGER, &json!({"wait_seconds": 0}));
    let answer = assistant.client.call_tool_once(call).await;
    let answer = answer.expect("an answer");
    let CallToolResponse::Task(begun) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(begun.task.status, TaskStatus::Working);
    begun.task.task_id
}

async fn payload(assistant: &Assistant, id: &str) -> TaskPayload {
    let got = assistant.client.get_task(GetTaskParams::new(id)).await;
    got.expect("a task").task.payload
}

#[tokio::test]
async fn a_long_run_is_a_task_that_completes_with_the_tools_result() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = assistant(transport, &site).await;
        let held = RunHold::new(&site).await;
        let id = begun(&assistant).await;
        assert_eq!(
            payload(&assistant, &id).await,
            TaskPayload::Working,
            "{transport:?}"
        );
        held.release().await;
        let completed = async || payload(&assistant, &id).await != TaskPayload::Working;
        wait::until("the task is over", completed).await;
        let TaskPayload::Completed { result } = payload(&assistant, &id).await else {
            panic!("{transport:?}: {:?}", payload(&assistant, &id).await);
        };
        assert_eq!(result["structuredContent"]["run_id"], json!(id));
        assert_eq!(result["structuredContent"]["counts"]["inserted"], 3);
    }
}

#[tokio::test]
async fn a_run_that_ends_in_time_is_no_task() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let assistant = assistant(Transport::Memory, &site).await;
    let run = assistant.ask(TRIGGER, json!({})).await;
    assert_eq!(run["outcome"], "succeeded");
}

#[tokio::test]
async fn a_cancelled_task_ends_its_run_and_changes_nothing() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = assistant(transport, &site).await;
        let held = RunHold::new(&site).await;
        let id = begun(&assistant).await;
        let cancelled = assistant
            .client
            .cancel_task(CancelTaskParams::new(&id))
            .await;
        cancelled.expect("cancelled");
        assert_eq!(
            run_hold::outcomes(&site).await,
            json!(["interrupted"]),
            "{transport:?}"
        );
        assert_eq!(
            payload(&assistant, &id).await,
            TaskPayload::Cancelled,
            "{transport:?}"
        );
        held.release().await;
        assert_eq!(rows(&site.local, "select id from meter").await, json!([]));
        let status = assistant.ask(STATUS, json!({})).await;
        assert_eq!(
            status["connections"]["remote"]["state"], "unknown",
            "{transport:?}"
        );
        // Nothing of it is left in the way of the next run, and a second cancel is no error.
        let run = assistant.ask(TRIGGER, json!({})).await;
        assert_eq!(run["counts"]["inserted"], 3, "{transport:?}");
        let again = assistant
            .client
            .cancel_task(CancelTaskParams::new(&id))
            .await;
        again.expect("no error");
    }
}

#[tokio::test]
async fn a_run_of_another_process_is_cancelled_too() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let (ours, theirs) = (
        assistant(Transport::Memory, &site).await,
        assistant(Transport::Memory, &site).await,
    );
    let held = RunHold::new(&site).await;
    let id = begun(&theirs).await;
    let cancelled = ours.client.cancel_task(CancelTaskParams::new(&id)).await;
    cancelled.expect("accepted");
    assert_eq!(run_hold::outcomes(&site).await, json!(["interrupted"]));
    held.release().await;
    assert_eq!(rows(&site.local, "select id from meter").await, json!([]));
}

#[tokio::test]
async fn what_is_no_task_is_refused_by_name() {
    let site = Site::new().await;
    let assistant = assistant(Transport::Memory, &site).await;
    for id in ["none", "0190c2f1-7a00-7000-8000-000000000001"] {
        let got = assistant.client.get_task(GetTaskParams::new(id)).await;
        let error = got.expect_err("no task").to_string();
        assert!(error.contains(id), "{error}");
        let cancelled = assistant.client.cancel_task(CancelTaskParams::new(id));
        let error = cancelled.await.expect_err("no task").to_string();
        assert!(error.contains(id), "{error}");
    }
    let input = UpdateTaskParams::new("none", [].into_iter().collect());
    let updated = assistant.client.update_task(input).await;
    let error = updated.expect_err("nothing asked").to_string();
    assert!(error.contains("asks for nothing"), "{error}");
}
