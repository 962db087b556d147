//! Tasks, subscriptions and questions to the user in a process that syncs several tenants.

use std::sync::Arc;

use meter_sync::mcp::McpServer;
use rmcp::model::{
    CallToolResponse, CancelTaskParams, ElicitResult, ElicitationAction, GetTaskParams,
    ServerNotification, SubscribeRequestParams, SubscriptionFilter, TaskPayload,
    UnsubscribeRequestParams,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::TRIGGER;
use super::client::{Abilities, Answers, Assistant, ClientStart, Transport, modern, params};
use super::tenants::{SEVERAL, several, site};
use crate::support::run_hold::RunHold;
use crate::support::site::{Site, finish, mirror};
use crate::support::wait;
use meter_sync::config::Setting;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::RunTrigger;

/// A sync of one tenant by another process.
async fn sync_elsewhere(site: &Site, tenant: &str) {
    let other = mirror(&site.settings().with(Setting::TenantId, tenant));
    let run = finish(&other, RunRequest::new(RunTrigger::Cli)).await;
    assert!(run.counts.changes() > 0, "{run:?}");
}

/// An assistant of a process that observes its mirrors, as a real one does.
async fn observed(site: &Site, start: ClientStart) -> Assistant {
    let mirrors = several(site);
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(mirrors.clone().observe(CancellationToken::new()));
    Assistant::in_memory(McpServer::new(mirrors), start).await
}

#[tokio::test]
#[expect(deprecated, reason = "clients before 2026-07-28 know no other way")]
async fn who_subscribed_to_a_tenant_is_told_of_its_runs_only() {
    let site = site().await;
    let assistant = observed(&site, ClientStart::default()).await;
    let watched = [
        "meter-sync://status",
        "meter-sync://tenants/7/status",
        "meter-sync://tenants/8/status",
        "meter-sync://tenants/8/meters/81",
        "meter-sync://tenants/8/meters/82",
    ];
    for uri in watched {
        let added = assistant.client.subscribe(SubscribeRequestParams::new(uri));
        added.await.expect(uri);
    }
    let gone = UnsubscribeRequestParams::new("meter-sync://tenants/8/meters/82");
    assistant.client.unsubscribe(gone).await.expect("no longer");
    for strange in [
        "meter-sync://tenants/acme/status",
        "meter-sync://meters/81",
        "meter-sync://tenants/8",
    ] {
        let refused = assistant
            .client
            .subscribe(SubscribeRequestParams::new(strange));
        assert!(refused.await.is_err(), "{strange}");
    }
    sync_elsewhere(&site, "8").await;
    let expected = [watched[0], watched[2], watched[3]];
    let is_told = async || {
        let updated = assistant.updated();
        expected
            .iter()
            .all(|uri| updated.iter().any(|told| told == uri))
    };
    wait::until("the assistant was told", is_told).await;
    let updated = assistant.updated();
    let others = updated
        .iter()
        .filter(|told| !expected.contains(&told.as_str()));
    assert_eq!(others.count(), 0, "{updated:?}");
}

#[tokio::test]
async fn who_listens_to_all_or_to_one_tenant_is_told() {
    for uri in ["meter-sync://status", "meter-sync://tenants/8/status"] {
        let site = site().await;
        let start = ClientStart {
            lifecycle: modern(),
            abilities: Abilities::default(),
        };
        let assistant = observed(&site, start).await;
        let wanted = SubscriptionFilter::builder()
            .resource_subscriptions([uri, "meter-sync://meters/81"])
            .build();
        let mut subscription = assistant
            .client
            .listen(wanted)
            .await
            .expect("a subscription");
        let accepted = subscription.acknowledged().resource_subscriptions.clone();
        assert_eq!(accepted, Some(vec![uri.to_owned()]));
        // Listening begins after the acknowledgement.
        assistant.ask(super::STATUS, json!({})).await;
        sync_elsewhere(&site, "8").await;
        let told = subscription
            .next()
            .await
            .expect("news")
            .expect("a notification");
        let ServerNotification::ResourceUpdatedNotification(updated) = told else {
            panic!("{told:?}");
        };
        assert_eq!(updated.params.uri, uri);
        subscription.cancel().await.expect("an end");
    }
}

#[tokio::test]
async fn a_task_is_found_again_by_another_process() {
    let site = site().await;
    let start = || ClientStart {
        lifecycle: modern(),
        abilities: Abilities {
            tasks: true,
            ..Abilities::default()
        },
    };
    let assistant = Assistant::with_abilities(Transport::Memory, &site, SEVERAL, start()).await;
    let held = RunHold::new(&site).await;
    let call = params(TRIGGER, &json!({"wait_seconds": 0, "tenant_id": "8"}));
    let answer = assistant.client.call_tool_once(call).await;
    let CallToolResponse::Task(begun) = answer.expect("an answer") else {
        panic!("no task");
    };
    let id = begun.task.task_id;
    assert!(id.ends_with("@8"), "{id}");
    held.release().await;
    let other = Assistant::with_abilities(Transport::Memory, &site, SEVERAL, start()).await;
    let payload = async || {
        let got = other.client.get_task(GetTaskParams::new(id.clone())).await;
        let task = got.expect("a task").task;
        assert_eq!(task.task.task_id, id);
        task.payload
    };
    let is_over = async || payload().await != TaskPayload::Working;
    wait::until("the task is over", is_over).await;
    let TaskPayload::Completed { result } = payload().await else {
        panic!("{:?}", payload().await);
    };
    assert_eq!(result["structuredContent"]["counts"]["inserted"], 2);
    let cancelled = other.client.cancel_task(CancelTaskParams::new(id.clone()));
    cancelled.await.expect("it is over already");
    let (run, _) = id.split_once('@').expect("a tenant");
    for strange in [run.to_owned(), format!("{run}@7"), format!("{run}@acme")] {
        let got = other.client.get_task(GetTaskParams::new(strange.clone()));
        assert!(got.await.is_err(), "{strange}");
    }
}

fn yes() -> Answers {
    let yes = ElicitResult::new(ElicitationAction::Accept);
    let yes = yes.with_content(json!({"deactivate": true}));
    Arc::new(move |_question| Box::pin(std::future::ready(yes.clone())))
}

#[tokio::test]
async fn the_question_to_the_user_names_the_tenant() {
    for lifecycle in [rmcp::service::ClientLifecycleMode::Initialize, modern()] {
        let site = site().await;
        let more = "insert into meter (id, tenant_id, name) select n, 8, 'Many' from generate_series(800, 820) n";
        site.on_remote(more).await;
        sync_elsewhere(&site, "8").await;
        site.on_remote("delete from meter where id > 805").await;
        let abilities = Abilities {
            answers: Some(yes()),
            ..Abilities::default()
        };
        let start = ClientStart {
            lifecycle,
            abilities,
        };
        let assistant = Assistant::with_abilities(Transport::Memory, &site, SEVERAL, start).await;
        let run = assistant.ask(TRIGGER, json!({"tenant_id": 8})).await;
        assert_eq!(run["counts"]["deactivated"], 15, "{run:#}");
        let asked = assistant.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(
            asked[0].starts_with("Tenant 8 (Byte): 15 of 23 "),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn a_refusal_names_the_page_of_the_tenant() {
    let site = site().await;
    sync_elsewhere(&site, "8").await;
    site.on_remote("delete from meter where tenant_id = 8")
        .await;
    let assistant = Assistant::new(Transport::Memory, &site, SEVERAL).await;
    let text = assistant.refused(TRIGGER, json!({"tenant_id": "8"})).await;
    assert!(text.contains("/tenants/8/runs/"), "{text}");
}
