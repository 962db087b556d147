//! The OpenAPI description of the API.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::api_client::ApiClient;
use crate::support::site::Site;

#[tokio::test]
async fn every_route_of_the_api_and_beside_it_is_described() {
    let site = Site::new().await;
    let api = ApiClient::new(&site.settings()).await;
    let expected = [
        "GET /api/local/meter-sync-status",
        "GET /api/v1/changes",
        "GET /api/v1/events",
        "GET /api/v1/meters/{key}",
        "GET /api/v1/openapi.json",
        "GET /api/v1/runs",
        "GET /api/v1/runs/{id}",
        "GET /api/v1/runs/{id}/changes",
        "GET /api/v1/runs/{id}/difference",
        "GET /api/v1/status",
        "GET /api/v1/tenants",
        "GET /api/v1/tenants/{tenant_id}/changes",
        "GET /api/v1/tenants/{tenant_id}/events",
        "GET /api/v1/tenants/{tenant_id}/meters/{key}",
        "GET /api/v1/tenants/{tenant_id}/runs",
        "GET /api/v1/tenants/{tenant_id}/runs/{id}",
        "GET /api/v1/tenants/{tenant_id}/runs/{id}/changes",
        "GET /api/v1/tenants/{tenant_id}/runs/{id}/difference",
        "GET /api/v1/tenants/{tenant_id}/status",
        "GET /livez",
        "GET /readyz",
        "POST /api/local/meter-sync-trigger",
        "POST /api/v1/pause",
        "POST /api/v1/resume",
        "POST /api/v1/runs/{id}/cancel",
        "POST /api/v1/sync",
        "POST /api/v1/tenants/{tenant_id}/pause",
        "POST /api/v1/tenants/{tenant_id}/resume",
        "POST /api/v1/tenants/{tenant_id}/runs/{id}/cancel",
        "POST /api/v1/tenants/{tenant_id}/sync",
        "POST /api/v1/tenants/{tenant_id}/verify",
        "POST /api/v1/verify",
    ];
    assert_eq!(api.routes(), expected);
}

#[tokio::test]
async fn every_operation_has_an_id_of_its_own_and_links_lead_to_one() {
    let site = Site::new().await;
    let api = ApiClient::new(&site.settings()).await;
    let (mut ids, mut linked) = (Vec::new(), Vec::new());
    let paths = api.description["paths"].as_object().expect("paths");
    for operation in paths
        .values()
        .flat_map(|path| path.as_object().expect("a path").values())
    {
        ids.push(operation["operationId"].as_str().expect("an id"));
        let responses = operation["responses"].as_object().expect("responses");
        let links = responses
            .values()
            .filter_map(|response| response["links"].as_object());
        linked.extend(
            links
                .flat_map(|links| links.values())
                .map(|link| &link["operationId"]),
        );
    }
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    assert_eq!(linked.len(), 10);
    for id in linked {
        assert!(ids.contains(&id.as_str().expect("an id")), "{id}");
    }
}

#[tokio::test]
async fn the_answers_of_the_routes_beside_the_api_are_as_described() {
    let site = Site::new().await;
    let api = ApiClient::new(&site.settings()).await;
    for line in [
        "GET /api/local/meter-sync-status",
        "POST /api/local/meter-sync-trigger",
        "GET /readyz",
        "GET /api/v1/openapi.json",
    ] {
        assert_eq!(api.ask(line).await.status, 200, "{line}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let site = Site::new().await;
    let api = ApiClient::new(&site.settings()).await;
    let mut references = Vec::new();
    collect(&api.description, &mut references);
    assert!(references.len() > 50, "{}", references.len());
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference within");
        assert!(api.description.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    let inner: Vec<&Value> = match value {
        Value::Object(members) => members.values().collect(),
        Value::Array(items) => items.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    references.extend(value["$ref"].as_str());
    inner
        .into_iter()
        .for_each(|value| collect(value, references));
}

#[tokio::test]
async fn a_token_is_said_to_be_needed_where_tokens_are_set() {
    let site = Site::new().await;
    let bearer = json!({"bearer": []});
    let api = ApiClient::new(&site.settings()).await;
    assert_eq!(api.description["security"], json!([{}, bearer]));
    let api = ApiClient::with_tokens(&site.settings()).await;
    assert_eq!(api.description["security"], json!([bearer]));
    assert_eq!(
        api.description["paths"]["/livez"]["get"]["security"],
        json!([])
    );
}
