//! One process that keeps the meters of several tenants in sync, as an assistant meets it.

use meter_sync::config::Setting;
use meter_sync::mirrors::Mirrors;
use rmcp::model::{
    ArgumentInfo, CompleteRequestParams, CompletionContext, GetPromptRequestParams,
    ReadResourceRequestParams, Reference,
};
use rmcp::service::ServiceError;
use serde_json::{Value, json};

use super::client::{Assistant, Transport};
use super::{STATUS, TRIGGER};
use crate::support::site::{Site, mirrors, rows};

pub(super) const SEVERAL: &[(Setting, &str)] = &[(Setting::Tenants, "7,8,9")];

/// A site of three tenants with two meters each, none of them synced yet.
pub(super) async fn site() -> Site {
    let site = Site::shared().await;
    let meters = "insert into meter (id, tenant_id, name)
        select t * 10 + n, t, 'Meter ' || n from generate_series(7, 9) t, generate_series(1, 2) n";
    site.on_remote(meters).await;
    site
}

pub(super) fn several(site: &Site) -> Mirrors {
    let tenants = site.settings().with(Setting::Tenants, "7,8,9");
    mirrors(&tenants)
}

async fn assistant(site: &Site) -> Assistant {
    Assistant::new(Transport::Memory, site, SEVERAL).await
}

async fn read(assistant: &Assistant, uri: &str) -> Result<Value, String> {
    let request = ReadResourceRequestParams::new(uri);
    match assistant.client.read_resource(request).await {
        Ok(result) => {
            let text = json!(result)["contents"][0]["text"].clone();
            Ok(serde_json::from_str(text.as_str().expect("text")).expect("JSON"))
        }
        Err(ServiceError::McpError(error)) => Err(error.message.into_owned()),
        Err(error) => panic!("{uri}: {error}"),
    }
}

/// The tenants of an overview, in its order.
fn ids(overview: &Value) -> Vec<&str> {
    let list = overview["tenants"]["list"].as_array().expect("a list");
    list.iter()
        .map(|tenant| tenant["tenant_id"].as_str().expect("an id"))
        .collect()
}

#[tokio::test]
async fn without_a_tenant_the_status_lists_all_of_them_the_worst_first() {
    for transport in [Transport::Memory, Transport::Stdio] {
        let site = site().await;
        let assistant = Assistant::new(transport, &site, SEVERAL).await;
        for tenant in ["7", "9"] {
            let run = assistant.ask(TRIGGER, json!({"tenant_id": tenant})).await;
            assert_eq!(run["outcome"], "succeeded", "{run:#}");
        }
        let overview = assistant.ask(STATUS, json!({})).await;
        assert_eq!(
            overview["summary"], "2 of 3 tenants are in sync; 1 never synced.",
            "{transport:?}"
        );
        assert_eq!(overview["tenants"]["total"], 3);
        assert_eq!(overview["tenants"]["by_health"]["never_run"], 1);
        assert_eq!(ids(&overview), ["8", "7", "9"]);
        assert_eq!(overview["tenants"]["list"][1]["name"], "Acme");
        let next = overview["next_step"].as_str().expect("a sentence");
        assert!(next.contains("tenant 8"), "{next}");
        assert!(next.contains("`tenant_id`"), "{next}");
        let text = overview.to_string();
        assert!(text.len() < 8000, "{} bytes", text.len());

        let defaults = json!({"history": 5, "include_changes": false, "changes_limit": 20});
        assert_eq!(ids(&assistant.ask(STATUS, defaults).await), ["8", "7", "9"]);
        let page = assistant.ask(STATUS, json!({"changes_limit": 2})).await;
        assert_eq!(ids(&page), ["8", "7"]);
        let before = &page["next_before"];
        let rest = assistant.ask(STATUS, json!({"before": before})).await;
        assert_eq!(ids(&rest), ["9"]);
        assert_eq!(rest["next_before"], Value::Null);
    }
}

#[tokio::test]
async fn a_page_of_tenants_takes_8_kb_at_most_and_leaves_none_out() {
    let site = Site::shared().await;
    let all: Vec<String> = (100..160).map(|id: u32| id.to_string()).collect();
    let many = all.join(",");
    let long =
        "insert into tenant select n, repeat('雪', 300) || n from generate_series(100, 159) n";
    site.on_local(long).await;
    let assistant = Assistant::new(Transport::Memory, &site, &[(Setting::Tenants, &many)]).await;
    let mut seen = Vec::new();
    let mut asked = json!({});
    while seen.len() < all.len() {
        let page = assistant.ask(STATUS, asked).await;
        assert!(page.to_string().len() <= 8000);
        let is_first = seen.is_empty();
        assert!(!is_first || page["left_out"].is_string(), "{page:#}");
        assert!(!ids(&page).is_empty(), "{page:#}");
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        asked = json!({"before": page["next_before"]});
    }
    assert_eq!(seen, all);
    assert_eq!(asked["before"], Value::Null);
    let more = assistant.ask(STATUS, json!({"changes_limit": 60})).await;
    assert_eq!(ids(&more).len(), 60);
}

#[tokio::test]
async fn what_concerns_one_tenant_is_refused_without_its_id() {
    let site = site().await;
    let assistant = assistant(&site).await;
    for (tool, arguments) in [
        (TRIGGER, json!({})),
        (TRIGGER, json!({"dry_run": true})),
        (STATUS, json!({"meter": "71"})),
        (STATUS, json!({"since": "24h"})),
        (STATUS, json!({"include_changes": true})),
        (STATUS, json!({"history": 3})),
        (
            STATUS,
            json!({"run_id": "0190c2f1-7a00-7000-8000-000000000001"}),
        ),
    ] {
        let text = assistant.refused(tool, arguments.clone()).await;
        assert!(text.ends_with("[TENANT_REQUIRED]"), "{arguments}: {text}");
        assert!(text.contains("7 (Acme)"), "{arguments}: {text}");
        assert!(text.contains("Remedy: "), "{arguments}: {text}");
    }
    let runs = rows(
        &site.local,
        "select to_regclass('meter_sync.meter_sync_log') as log",
    )
    .await;
    assert_eq!(runs[0]["log"], Value::Null, "nothing was started");
}

#[tokio::test]
async fn a_sync_of_one_tenant_touches_its_rows_only() {
    let site = site().await;
    let assistant = assistant(&site).await;
    let run = assistant.ask(TRIGGER, json!({"tenant_id": 8})).await;
    assert_eq!(run["counts"]["inserted"], 2, "{run:#}");
    let here = rows(&site.local, "select id, tenant_id from meter order by id").await;
    assert_eq!(
        here,
        json!([{"id": 81, "tenant_id": 8}, {"id": 82, "tenant_id": 8}])
    );
    let run_id = &run["run_id"];
    let asked = json!({"tenant_id": "8", "run_id": run_id, "include_changes": true});
    let status = assistant.ask(STATUS, asked).await;
    assert_eq!(status["tenant"], json!({"id": "8", "name": "Byte"}));
    assert_eq!(status["changes"].as_array().map(Vec::len), Some(2));
    let meter = assistant
        .ask(STATUS, json!({"tenant_id": 8, "meter": "81"}))
        .await;
    assert_eq!(meter["meter"]["key"], json!({"id": 81}));
    let other = assistant.ask(STATUS, json!({"tenant_id": "7"})).await;
    assert_eq!(other["health"], "never_run");
    // The run is none of another tenant's.
    let asked = json!({"tenant_id": "7", "run_id": run_id});
    let text = assistant.refused(STATUS, asked).await;
    assert!(text.contains("There is no run"), "{text}");
}

#[tokio::test]
async fn an_unknown_tenant_is_answered_with_the_nearest() {
    let site = site().await;
    let assistant = assistant(&site).await;
    for tool in [STATUS, TRIGGER] {
        let text = assistant.refused(tool, json!({"tenant_id": "acme"})).await;
        assert!(text.ends_with("[TENANT_UNKNOWN]"), "{text}");
        assert!(text.contains("nearest are 7 (Acme)"), "{text}");
    }
    assert_eq!(
        rows(&site.local, "select count(*) from meter").await[0]["count"],
        0
    );
}

#[tokio::test]
async fn a_process_of_one_mirror_takes_its_own_tenant_only() {
    let site = Site::new().await;
    site.on_remote(super::METERS).await;
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    let run = assistant.ask(TRIGGER, json!({"tenant_id": 7})).await;
    assert_eq!(run["counts"]["inserted"], 3);
    let status = assistant.ask(STATUS, json!({"tenant_id": "7"})).await;
    assert_eq!(status["tenant"]["id"], "7");
    assert_eq!(status["tenants"], Value::Null);
    let status = read(&assistant, "meter-sync://tenants/7/status").await;
    assert_eq!(status.expect("a status")["tenant"]["id"], "7");
    let text = assistant.refused(TRIGGER, json!({"tenant_id": 8})).await;
    assert!(text.ends_with("[TENANT_UNKNOWN]"), "{text}");
}

#[tokio::test]
async fn each_tenant_has_resources_of_its_own() {
    let site = site().await;
    let assistant = assistant(&site).await;
    let run = assistant.ask(TRIGGER, json!({"tenant_id": "7"})).await;
    let run = run["run_id"].as_str().expect("an id");
    let overview = read(&assistant, "meter-sync://status").await.expect("all");
    assert_eq!(overview["tenants"]["total"], 3);
    let uri = |path: &str| format!("meter-sync://tenants/{path}");
    let status = read(&assistant, &uri("7/status")).await.expect("a status");
    assert_eq!(status["tenant"]["name"], "Acme");
    let found = read(&assistant, &uri(&format!("7/runs/{run}"))).await;
    assert_eq!(found.expect("a run")["run"]["run_id"], run);
    let meter = read(&assistant, &uri("7/meters/71")).await;
    assert_eq!(meter.expect("a meter")["meter"]["name"], "Meter 1");
    for (path, said) in [
        (uri(&format!("8/runs/{run}")), "There is nothing at"),
        (uri("8/meters/71"), "There is nothing at"),
        (uri("acme/status"), "[TENANT_UNKNOWN]"),
        (format!("meter-sync://runs/{run}"), "[TENANT_REQUIRED]"),
        ("meter-sync://meters/71".to_owned(), "[TENANT_REQUIRED]"),
    ] {
        let refused = read(&assistant, &path).await.expect_err(&path);
        assert!(refused.contains(said), "{path}: {refused}");
    }
    let templates = assistant.client.list_all_resource_templates().await;
    let templates = json!(templates.expect("a list"));
    let templates = templates.as_array().expect("a list").iter();
    let templates: Vec<_> = templates
        .map(|listed| listed["uriTemplate"].clone())
        .collect();
    let expected = ["status", "runs/{run_id}", "meters/{key}"];
    let expected = expected.map(|path| uri(&format!("{{tenant_id}}/{path}")));
    assert_eq!(json!(templates), json!(expected));
}

#[tokio::test]
async fn tenants_and_their_runs_are_completed() {
    let site = site().await;
    let assistant = assistant(&site).await;
    let run = assistant.ask(TRIGGER, json!({"tenant_id": "7"})).await;
    let runs = Reference::for_resource("meter-sync://tenants/{tenant_id}/runs/{run_id}");
    let meters = Reference::for_resource("meter-sync://tenants/{tenant_id}/meters/{key}");
    let prompt = Reference::for_prompt("in_sync");
    let complete = async |at: &Reference, name: &str, typed: &str, tenant: Option<&str>| {
        complete(&assistant, at, (name, typed), tenant).await
    };
    // The one that is worst off comes first.
    assert_eq!(
        complete(&runs, "tenant_id", "", None).await,
        json!(["8", "9", "7"])
    );
    assert_eq!(complete(&runs, "tenant_id", "8", None).await, json!(["8"]));
    assert_eq!(
        complete(&prompt, "tenant_id", "CO", None).await,
        json!(["9"])
    );
    assert_eq!(complete(&prompt, "tenant_id", "me", None).await, json!([]));
    let id = &run["run_id"];
    assert_eq!(complete(&runs, "run_id", "", Some("7")).await, json!([id]));
    assert_eq!(complete(&runs, "run_id", "", Some("8")).await, json!([]));
    assert_eq!(complete(&runs, "run_id", "", None).await, json!([]));
    assert_eq!(
        complete(&meters, "key", "7", Some("7")).await,
        json!(["71", "72"])
    );
    assert_eq!(complete(&meters, "key", "7", Some("9")).await, json!([]));
}

pub(super) async fn complete(
    assistant: &Assistant,
    at: &Reference,
    (name, typed): (&str, &str),
    tenant: Option<&str>,
) -> Value {
    let argument = ArgumentInfo::new(name, typed);
    let mut request = CompleteRequestParams::new(at.clone(), argument);
    let given = tenant.map(|id| [("tenant_id".to_owned(), id.to_owned())].into());
    request.context = given.map(CompletionContext::with_arguments);
    let answer = assistant.client.complete(request).await;
    json!(answer.expect("an answer").completion.values)
}

#[tokio::test]
async fn a_prompt_may_name_a_tenant() {
    let site = site().await;
    let assistant = assistant(&site).await;
    let prompts = json!(assistant.client.list_all_prompts().await.expect("a list"));
    for prompt in prompts.as_array().expect("a list") {
        let arguments = prompt["arguments"].as_array().expect("arguments").iter();
        let tenant = arguments.filter(|argument| argument["name"] == "tenant_id");
        let required: Vec<_> = tenant.map(|argument| &argument["required"]).collect();
        assert_eq!(required, [false], "{prompt}");
    }
    let get = async |arguments: Value| {
        let mut request = GetPromptRequestParams::new("in_sync");
        request.arguments = arguments.as_object().cloned();
        let got = assistant.client.get_prompt(request).await;
        got.map(|got| json!(got)["messages"][0]["content"]["text"].to_string())
    };
    let text = get(json!({"tenant_id": "8"})).await.expect("a prompt");
    assert!(text.contains("`tenant_id` 8"), "{text}");
    let text = get(json!({})).await.expect("a prompt");
    assert!(text.contains("Several tenants"), "{text}");
    let error = get(json!({"tenant_id": "acme"})).await.expect_err("none");
    assert!(error.to_string().contains("7 (Acme)"), "{error}");
    let info = assistant.client.peer_info().expect("what it told at first");
    let told = info.instructions.clone().expect("instructions");
    assert!(told.contains("Several tenants"), "{told}");
}
