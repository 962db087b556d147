//! A token that counts for some tenants only, over streamable HTTP: other tenants are like ones that do not exist.

use axum::Router;
use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn};
use meter_sync::config::Token;
use meter_sync::mcp::{McpServer, streamable_http};
use meter_sync::model::TenantId;
use rmcp::model::{
    CancelTaskParams, GetPromptRequestParams, GetTaskParams, ReadResourceRequestParams, Reference,
    SubscribeRequestParams, SubscriptionFilter,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::client::{Abilities, Assistant, ClientStart, modern};
use super::tenants::{complete, several, site};
use super::{STATUS, TRIGGER};
use crate::support::site::{Site, mirrors, rows};

/// A secret that counts for tenants 7 and 8, and one for all.
const LIMITED: &str = "limited";
const FREE: &str = "free";

/// Serves MCP for the holders of both secrets, as the guards hand them on; gives the address.
async fn serve(server: McpServer) -> String {
    let routes = streamable_http::routes(move || server.for_new_client(), CancellationToken::new());
    let routes: Router = routes.layer(from_fn(async |mut request: Request, next: Next| {
        let given = request.headers()[AUTHORIZATION].to_str().expect("text");
        let token = Token::new(given.to_owned(), true);
        let ids = ["7", "8"].into_iter().flat_map(TenantId::new).collect();
        let token = match given.ends_with(LIMITED) {
            true => token.for_tenants(ids),
            false => token,
        };
        request.extensions_mut().insert(token);
        next.run(request).await
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

async fn assistants() -> (Site, Assistant, Assistant) {
    let site = site().await;
    let address = serve(McpServer::new(several(&site))).await;
    let limited = Assistant::at(&address, Some(LIMITED)).await;
    let free = Assistant::at(&address, Some(FREE)).await;
    (site, limited, free)
}

/// Whatever is asked for tenant 9 is answered as for a tenant 90, which does not exist; and names no other tenant.
fn assert_denied(text: &str, unknown: &str) {
    let own = text.replace("tenants/9/", "tenants/90/");
    assert_eq!(own.replace("tenant 9 ", "tenant 90 "), unknown);
    assert!(text.contains("7 (Acme)"), "{text}");
    assert!(!text.contains("Cole"), "{text}");
}

#[tokio::test]
async fn tools_know_only_the_tenants_of_the_token() {
    let (site, limited, free) = assistants().await;
    let overview = limited.ask(STATUS, json!({})).await;
    assert_eq!(overview["tenants"]["total"], 2);
    assert!(!overview.to_string().contains("Cole"), "{overview:#}");
    assert_eq!(free.ask(STATUS, json!({})).await["tenants"]["total"], 3);
    for (tool, more) in [
        (STATUS, json!({})),
        (STATUS, json!({"meter": "91"})),
        (TRIGGER, json!({})),
    ] {
        let of = |id: &str| {
            let mut arguments = more.clone();
            arguments["tenant_id"] = json!(id);
            arguments
        };
        let denied = limited.refused(tool, of("9")).await;
        assert!(denied.ends_with("[TENANT_UNKNOWN]"), "{denied}");
        assert_denied(&denied, &limited.refused(tool, of("90")).await);
    }
    let required = limited.refused(TRIGGER, json!({})).await;
    assert!(required.ends_with("[TENANT_REQUIRED]"), "{required}");
    assert!(!required.contains("Cole"), "{required}");
    let count = "select count(*) from meter";
    assert_eq!(rows(&site.local, count).await[0]["count"], 0);
    let run = limited.ask(TRIGGER, json!({"tenant_id": "8"})).await;
    assert_eq!(run["outcome"], "succeeded");
    let run = free.ask(TRIGGER, json!({"tenant_id": "9"})).await;
    assert_eq!(run["outcome"], "succeeded");
}

#[tokio::test]
#[expect(deprecated, reason = "clients before 2026-07-28 know no other way")]
async fn resources_completions_and_prompts_do_neither() {
    let (_site, limited, free) = assistants().await;
    let run = free.ask(TRIGGER, json!({"tenant_id": "9"})).await;
    let run = run["run_id"].as_str().expect("an id");
    for path in ["status", &format!("runs/{run}"), "meters/91"] {
        let uri = |id: &str| format!("meter-sync://tenants/{id}/{path}");
        let read = async |who: &Assistant, id: &str| {
            let request = ReadResourceRequestParams::new(uri(id));
            who.client.read_resource(request).await
        };
        assert!(read(&free, "9").await.is_ok(), "{path}");
        let denied = read(&limited, "9").await.expect_err(path).to_string();
        let unknown = read(&limited, "90").await.expect_err(path).to_string();
        assert_denied(&denied, &unknown);
        let watch = async |who: &Assistant, id: &str| {
            let request = SubscribeRequestParams::new(uri(id));
            who.client.subscribe(request).await
        };
        assert!(watch(&free, "9").await.is_ok(), "{path}");
        let denied = watch(&limited, "9").await.expect_err(path).to_string();
        let unknown = watch(&limited, "90").await.expect_err(path).to_string();
        assert_denied(&denied, &unknown);
    }
    let all = ReadResourceRequestParams::new("meter-sync://status");
    let all = json!(limited.client.read_resource(all).await.expect("a status"));
    assert!(!all.to_string().contains("Cole"), "{all:#}");

    let runs = Reference::for_resource("meter-sync://tenants/{tenant_id}/runs/{run_id}");
    let ids = async |who: &Assistant| complete(who, &runs, ("tenant_id", ""), None).await;
    assert_eq!(ids(&limited).await, json!(["7", "8"]));
    assert_eq!(ids(&free).await.as_array().map(Vec::len), Some(3));
    let of_9 = async |who: &Assistant| complete(who, &runs, ("run_id", ""), Some("9")).await;
    assert_eq!(of_9(&limited).await, json!([]));
    assert_eq!(of_9(&free).await, json!([run]));

    let mut prompt = GetPromptRequestParams::new("in_sync");
    prompt.arguments = json!({"tenant_id": "9"}).as_object().cloned();
    assert!(free.client.get_prompt(prompt.clone()).await.is_ok());
    let denied = limited.client.get_prompt(prompt).await.expect_err("denied");
    assert!(!denied.to_string().contains("Cole"), "{denied}");
}

#[tokio::test]
async fn tasks_and_streams_do_neither() {
    let site = site().await;
    let address = serve(McpServer::new(several(&site))).await;
    let start = || ClientStart {
        lifecycle: modern(),
        abilities: Abilities {
            tasks: true,
            ..Abilities::default()
        },
    };
    let limited = Assistant::at_with(&address, Some(LIMITED), start()).await;
    let free = Assistant::at_with(&address, Some(FREE), start()).await;
    let run = free.ask(TRIGGER, json!({"tenant_id": "9"})).await;
    let run = run["run_id"].as_str().expect("an id");
    let task = |id: &str| GetTaskParams::new(format!("{run}@{id}"));
    assert!(free.client.get_task(task("9")).await.is_ok());
    let denied = limited.client.get_task(task("9")).await;
    let unknown = limited.client.get_task(task("90")).await;
    assert_denied(
        &denied.expect_err("denied").to_string(),
        &unknown.expect_err("unknown").to_string(),
    );
    let cancel = CancelTaskParams::new(format!("{run}@9"));
    assert!(limited.client.cancel_task(cancel.clone()).await.is_err());
    assert!(free.client.cancel_task(cancel).await.is_ok());

    // What is accepted is told by the address alone; a tenant that is not seen then ends the stream.
    let mut told = Vec::new();
    for id in ["9", "90"] {
        let wanted = SubscriptionFilter::builder()
            .resource_subscriptions([format!("meter-sync://tenants/{id}/status")])
            .build();
        let stream = limited.client.listen(wanted).await;
        let mut stream = stream.expect("a subscription");
        let end = stream.next().await;
        assert!(!matches!(end, Ok(Some(_))), "{end:?}");
        told.push(format!("{end:?}").replace("tenant 90 ", "tenant 9 "));
    }
    assert_eq!(told[0], told[1]);
    assert!(!told[0].contains("Cole"), "{told:?}");
}

#[tokio::test]
async fn a_process_of_one_mirror_is_closed_to_a_token_of_another_tenant() {
    let site = Site::new().await;
    site.on_remote(super::METERS).await;
    let settings = site.settings();
    for (tenant, is_open) in [("7", true), ("9", false)] {
        site.on_local(&format!("update tenant set id = {tenant}"))
            .await;
        let address = serve(McpServer::new(mirrors(&settings))).await;
        let limited = Assistant::at(&address, Some(LIMITED)).await;
        for (tool, arguments) in [(STATUS, json!({})), (TRIGGER, json!({"dry_run": true}))] {
            let answer: Value = limited.call(tool, &arguments).await;
            assert_eq!(answer["isError"], !is_open, "{tenant} {tool}: {answer:#}");
        }
        let status = ReadResourceRequestParams::new("meter-sync://status");
        let status = limited.client.read_resource(status).await;
        assert_eq!(status.is_ok(), is_open, "{tenant}");
    }
}
