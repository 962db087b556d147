//! The API's description itself.

use serde_json::{Value, json};

use super::api::Api;
use crate::support::site::Site;

#[tokio::test]
async fn every_route_of_the_api_and_beside_it_is_described() {
    let site = Site::new().await;
    let api = Api::new(&site.settings()).await;
    let expected = [
        "GET /api/local/meter-sync-status",
        "GET /api/v1/events",
        "GET /api/v1/meters/{key}",
        "GET /api/v1/openapi.json",
        "GET /api/v1/runs",
        "GET /api/v1/runs/{id}",
        "GET /api/v1/runs/{id}/changes",
        "GET /api/v1/status",
        "GET /livez",
        "GET /readyz",
        "POST /api/local/meter-sync-trigger",
        "POST /api/v1/runs/{id}/cancel",
        "POST /api/v1/sync",
    ];
    assert_eq!(api.routes(), expected);
}

#[tokio::test]
async fn the_answers_of_the_routes_beside_the_api_are_as_described() {
    let site = Site::new().await;
    let api = Api::new(&site.settings()).await;
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
    let api = Api::new(&site.settings()).await;
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
    let api = Api::new(&site.settings()).await;
    assert_eq!(api.description["security"], json!([{}, bearer]));
    let api = Api::with_tokens(&site.settings()).await;
    assert_eq!(api.description["security"], json!([bearer]));
    assert_eq!(
        api.description["paths"]["/livez"]["get"]["security"],
        json!([])
    );
}
