//! What can be read by address, watched and completed, and the questions that can be picked.

use rmcp::model::{
    GetPromptRequestParams, ReadResourceRequestParams, ServerNotification, SubscribeRequestParams,
    SubscriptionFilter, UnsubscribeRequestParams,
};
use rmcp::service::ServiceError;
use serde_json::{Value, json};

use super::client::{Assistant, EVERY_TRANSPORT, Transport, modern};
use super::{METERS, STATUS, TRIGGER};
use crate::support::site::Site;
use crate::support::wait;

/// What stands at an address.
async fn read(assistant: &Assistant, uri: &str) -> Value {
    let request = ReadResourceRequestParams::new(uri);
    let result = json!(assistant.client.read_resource(request).await.expect(uri));
    let contents = &result["contents"];
    assert_eq!(contents[0]["uri"], uri);
    assert_eq!(contents[0]["mimeType"], "application/json");
    let text = contents[0]["text"].as_str().expect("text");
    serde_json::from_str(text).expect("JSON")
}

async fn unreadable(assistant: &Assistant, uri: &str) -> (i32, String) {
    let read = assistant
        .client
        .read_resource(ReadResourceRequestParams::new(uri));
    match read.await {
        Err(ServiceError::McpError(error)) => (error.code.0, error.message.into_owned()),
        other => panic!("{uri}: {other:?}"),
    }
}

#[tokio::test]
async fn status_runs_and_meters_are_read_by_address() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        let first = assistant.ask(TRIGGER, json!({})).await;
        site.on_remote("update meter set name = 'East 2' where id = 2")
            .await;
        let second = assistant.ask(TRIGGER, json!({})).await;

        let mut status = read(&assistant, "meter-sync://status").await;
        let mut answered = assistant.ask(STATUS, json!({})).await;
        for told in [&mut status, &mut answered] {
            told["connections"]["local"]["checked_at"].take();
            told["now"].take();
        }
        assert_eq!(status, answered, "{transport:?}");

        let id = first["run_id"].as_str().expect("an id");
        let run = read(&assistant, &format!("meter-sync://runs/{id}")).await;
        assert_eq!(run["run"]["run_id"], id);
        assert_eq!(run["changes"], first["changes"]);
        assert_eq!(
            (&run["changes_total"], &run["truncated"], &run["rejected"]),
            (&json!(3), &json!(false), &json!([]))
        );

        let meter = read(&assistant, "meter-sync://meters/2").await;
        assert_eq!(meter["key"], json!({"id": "2"}));
        assert_eq!(meter["meter"]["name"], "East 2");
        assert_eq!(meter["meter"]["site_note"], "ours");
        let changes = meter["changes"].as_array().expect("changes");
        assert_eq!(changes.len(), 2, "{meter:#}");
        assert_eq!(changes[0]["run_id"], second["run_id"]);
        assert_eq!(
            (
                &changes[0]["action"],
                &changes[0]["before"],
                &changes[0]["after"]
            ),
            (
                &json!("update"),
                &json!({"name": "East"}),
                &json!({"name": "East 2"})
            )
        );
        assert_eq!(changes[1]["action"], "insert");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_so() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    for (lifecycle, code) in [(None, -32002), (Some(modern()), -32602)] {
        let assistant = match lifecycle {
            None => Assistant::new(Transport::Memory, &site, &[]).await,
            Some(modern) => Assistant::with_lifecycle(Transport::Memory, &site, &[], modern).await,
        };
        for uri in [
            "meter-sync://nothing",
            "meter-sync://runs/latest",
            "meter-sync://runs/0190c2f1-7a00-7000-8000-000000000001",
            "meter-sync://meters/99",
            "meter-sync://meters/1,2",
            "meter-sync://meters/4",
            "file:///etc/passwd",
        ] {
            let (got, message) = unreadable(&assistant, uri).await;
            assert_eq!(got, code, "{uri}: {message}");
            assert!(message.contains(uri), "{uri}: {message}");
        }
    }
}

#[tokio::test]
async fn with_the_local_database_down_the_status_is_read_and_the_rest_says_why_not() {
    let mut site = Site::new().await;
    let nowhere = site.settings().with(
        meter_sync::config::Setting::LocalUrl,
        "postgres://nobody@127.0.0.1:1/nowhere",
    );
    site.reconfigure(&nowhere);
    let more = [(
        meter_sync::config::Setting::LocalUrl,
        "postgres://nobody@127.0.0.1:1/nowhere",
    )];
    let assistant = Assistant::new(Transport::Memory, &site, &more).await;
    let status = read(&assistant, "meter-sync://status").await;
    assert_eq!(status["connections"]["local"]["state"], "failed");
    for uri in [
        "meter-sync://runs/0190c2f1-7a00-7000-8000-000000000001",
        "meter-sync://meters/1",
    ] {
        let (code, message) = unreadable(&assistant, uri).await;
        assert_eq!(code, -32603, "{uri}: {message}");
        assert!(message.contains("local"), "{uri}: {message}");
    }
}

#[tokio::test]
async fn what_is_listed_is_what_there_is() {
    let site = Site::new().await;
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    let resources = json!(assistant.client.list_all_resources().await.expect("a list"));
    let uris = resources.as_array().expect("a list").iter();
    let uris: Vec<_> = uris.map(|resource| resource["uri"].clone()).collect();
    assert_eq!(uris, ["meter-sync://status", "ui://meter-sync/status"]);
    let templates = json!(
        assistant
            .client
            .list_all_resource_templates()
            .await
            .expect("a list")
    );
    let uris = templates.as_array().expect("a list").iter();
    let uris: Vec<_> = uris
        .map(|template| template["uriTemplate"].clone())
        .collect();
    assert_eq!(
        uris,
        ["meter-sync://runs/{run_id}", "meter-sync://meters/{key}"]
    );
}

#[tokio::test]
async fn ids_and_keys_are_completed() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) select n, 7 from generate_series(1, 300) n")
        .await;
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    let run = assistant.ask(TRIGGER, json!({})).await;
    let complete = async |template: &str, argument: &str, typed: &str| {
        let client = &assistant.client;
        let found = client
            .complete_resource_simple(template, argument, typed)
            .await;
        json!(found.expect("an answer"))
    };
    let runs = "meter-sync://runs/{run_id}";
    let id = run["run_id"].as_str().expect("an id");
    assert_eq!(complete(runs, "run_id", &id[..8]).await, json!([id]));
    assert_eq!(complete(runs, "run_id", "x").await, json!([]));
    let meters = "meter-sync://meters/{key}";
    let tens: Vec<String> = complete(meters, "key", "29")
        .await
        .as_array()
        .expect("a list")
        .iter()
        .map(|key| key.as_str().expect("a key").to_owned())
        .collect();
    assert_eq!(
        tens,
        [
            "29", "290", "291", "292", "293", "294", "295", "296", "297", "298", "299"
        ]
    );
    assert_eq!(
        complete(meters, "key", "").await.as_array().map(Vec::len),
        Some(100)
    );
    assert_eq!(complete(meters, "other", "").await, json!([]));
    assert_eq!(complete("meter-sync://other", "key", "").await, json!([]));
}

#[tokio::test]
#[expect(deprecated, reason = "clients before 2026-07-28 know no other way")]
async fn who_subscribed_is_told_when_a_run_has_ended() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::new(transport, &site, &[]).await;
        let client = &assistant.client;
        for uri in [
            "meter-sync://status",
            "meter-sync://meters/1",
            "meter-sync://meters/2",
        ] {
            client
                .subscribe(SubscribeRequestParams::new(uri))
                .await
                .expect(uri);
        }
        let gone = UnsubscribeRequestParams::new("meter-sync://meters/2");
        client.unsubscribe(gone).await.expect("no longer");
        let strange = client
            .subscribe(SubscribeRequestParams::new("meter-sync://other"))
            .await;
        assert!(strange.is_err(), "{transport:?}");
        // By a process of its own: the site's runs are others than the assistant's.
        assert_eq!(site.sync().await.counts.inserted, 3);
        let told = async || {
            let updated = assistant.updated();
            ["meter-sync://status", "meter-sync://meters/1"]
                .iter()
                .all(|&uri| updated.iter().any(|told| told == uri))
        };
        wait::until("the assistant was told", told).await;
        let updated = assistant.updated();
        assert!(
            !updated.contains(&"meter-sync://meters/2".to_owned()),
            "{transport:?}: {updated:?}"
        );
    }
}

#[tokio::test]
async fn who_listens_is_told_when_a_run_has_ended() {
    for transport in EVERY_TRANSPORT {
        let site = Site::new().await;
        site.on_remote(METERS).await;
        let assistant = Assistant::with_lifecycle(transport, &site, &[], modern()).await;
        let wanted = SubscriptionFilter::builder()
            .resource_subscriptions(["meter-sync://meters/1", "meter-sync://other"])
            .tools_list_changed()
            .build();
        let mut subscription = assistant
            .client
            .listen(wanted)
            .await
            .expect("a subscription");
        let accepted = subscription.acknowledged();
        assert_eq!(
            accepted.resource_subscriptions,
            Some(vec!["meter-sync://meters/1".to_owned()]),
            "{transport:?}"
        );
        assert_eq!(accepted.tools_list_changed, None, "{transport:?}");
        assert_eq!(
            assistant.ask(TRIGGER, json!({})).await["outcome"],
            "succeeded"
        );
        let told = subscription
            .next()
            .await
            .expect("news")
            .expect("a notification");
        let ServerNotification::ResourceUpdatedNotification(updated) = told else {
            panic!("{transport:?}: {told:?}");
        };
        assert_eq!(updated.params.uri, "meter-sync://meters/1");
        subscription.cancel().await.expect("an end");
    }
}

#[tokio::test]
async fn the_questions_people_ask_name_the_tools_that_answer_them() {
    let site = Site::new().await;
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    let prompts = json!(assistant.client.list_all_prompts().await.expect("a list"));
    let prompts = prompts.as_array().expect("a list");
    assert_eq!(prompts.len(), 4);
    for prompt in prompts {
        let name = prompt["name"].as_str().expect("a name");
        assert!(
            prompt["title"].as_str().expect("a title").ends_with('?'),
            "{prompt}"
        );
        let mut request = GetPromptRequestParams::new(name);
        if name == "changes_since" {
            request.arguments = json!({"since": "2026-11-01"}).as_object().cloned();
        }
        let got = json!(assistant.client.get_prompt(request).await.expect(name));
        let text = got["messages"][0]["content"]["text"]
            .as_str()
            .expect("text");
        assert!(text.contains("meter_sync_"), "{text}");
        assert_eq!(
            text.contains("2026-11-01"),
            name == "changes_since",
            "{text}"
        );
        assert_eq!(text.contains(TRIGGER), name == "preview", "{text}");
    }
    for (name, arguments, told) in [
        ("in_sinc", json!({}), "Did you mean `in_sync`?"),
        ("changes_since", json!({}), "needs `since`"),
        (
            "changes_since",
            json!({"since": "x".repeat(101)}),
            "needs `since`",
        ),
    ] {
        let mut request = GetPromptRequestParams::new(name);
        request.arguments = arguments.as_object().cloned();
        let error = assistant.client.get_prompt(request).await.expect_err(name);
        assert!(error.to_string().contains(told), "{error}");
    }
}
