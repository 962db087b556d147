//! Generates the API's description (`OpenAPI` 3.1) from the table of routes and the types of their responses.

use std::collections::BTreeMap;

use axum::body::Bytes;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::route::{ResponseDescription, Route, RouteDescription, problem};
use crate::http::problem_details::PROBLEM_JSON;

const SCHEMAS: &str = "/components/schemas";
const ABOUT: &str = "Keeps a site's local Postgres copy of its meters equal to its organisation's rows in a central \
    Postgres. What cannot be answered is told as problem details (RFC 9457) with a `code` and a `remedy`.";

/// Generates the description, as JSON. It says that a bearer token is required if `needs_token`, else that one is
/// optional.
pub(crate) fn describe(table: &[Route], needs_token: bool) -> Bytes {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| {
            settings.definitions_path = SCHEMAS.into();
            settings.meta_schema = None;
            settings
                .transforms
                .push(Box::new(RecursiveTransform(never_null)));
        });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in table {
        let operation = operation(&route.operation, route.method, &mut generator);
        let path = paths.entry(&route.path).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(route.method.to_owned(), operation);
        }
    }
    let bearer: Value = json!({"bearer": []});
    let security = if needs_token {
        json!([bearer])
    } else {
        json!([{}, bearer])
    };
    let description = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "meter-sync",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": security,
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {"bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of METER_SYNC_TOKENS: one of scope `read` may ask, one of scope `trigger` may also sync and cancel. A token for some tenants (`trigger:ann@7,8:SECRET`) counts for no other. Or an access token (a JWT, OAuth 2.1) with the scope `meter-sync:read` or `meter-sync:trigger` of the authorization server that `/.well-known/oauth-protected-resource` names, where one is set. None is needed where neither is set.",
            }},
        },
    });
    Bytes::from(description.to_string())
}

fn operation(said: &RouteDescription, method: &str, generator: &mut SchemaGenerator) -> Value {
    let mut operation = Map::new();
    let mut say = |name: &str, value: Value| operation.insert(name.to_owned(), value);
    say("operationId", json!(said.id_of(said.id)));
    say("summary", json!(said.summary));
    say("parameters", json!(said.parameters));
    say("responses", json!(responses(said, method, generator)));
    if let Some(description) = said.description {
        say("description", json!(description));
    }
    if let Some(body) = &said.body {
        let content = json!({"application/json": {"schema": body}});
        say(
            "requestBody",
            json!({"content": content, "required": said.is_body_required}),
        );
    }
    if said.is_open {
        say("security", json!([]));
    }
    Value::Object(operation)
}

/// The response object of `OpenAPI`: what a route answers with one HTTP status.
#[derive(Serialize)]
struct OpenApiResponse {
    description: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    content: BTreeMap<&'static str, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'static str, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    links: BTreeMap<&'static str, Value>,
}

/// Returns the responses of a route by HTTP status: those of its handler, and those of the checks that run before the
/// handler.
fn responses(
    said: &RouteDescription,
    method: &str,
    generator: &mut SchemaGenerator,
) -> BTreeMap<u16, OpenApiResponse> {
    let mut responses = BTreeMap::new();
    for answer in &said.answers {
        add(&mut responses, said, answer, generator);
    }
    let mut guarded = vec![
        (
            400,
            "An argument or a body came that this route does not take.",
        ),
        (403, "This host, origin or token may not ask that."),
    ];
    if !said.is_open {
        guarded.push((401, "No token that counts here came with the request."));
        guarded.push((
            404,
            "No tenant that the token counts for is kept in sync here.",
        ));
        guarded.push((503, "Access tokens cannot be checked now."));
    }
    if method == "post" {
        guarded.push((408, "The body did not come within 30 seconds."));
        guarded.push((413, "The body is longer than 16 KiB."));
    }
    for (status, description) in guarded {
        let answer = ResponseDescription {
            status,
            description,
            content: Some((PROBLEM_JSON, problem)),
            headers: Vec::new(),
            links: Vec::new(),
        };
        add(&mut responses, said, &answer, generator);
    }
    responses
}

/// Adds `answer` to the responses. If there is already a response with its status, adds the content, headers and links
/// of `answer` to that response.
fn add(
    responses: &mut BTreeMap<u16, OpenApiResponse>,
    said: &RouteDescription,
    answer: &ResponseDescription,
    generator: &mut SchemaGenerator,
) {
    let response = responses
        .entry(answer.status)
        .or_insert_with(|| OpenApiResponse {
            description: answer.description,
            content: BTreeMap::new(),
            headers: BTreeMap::new(),
            links: BTreeMap::new(),
        });
    let content = answer.content.map(|(media_type, schema)| {
        let schema = schema(generator);
        (media_type, json!({"schema": schema}))
    });
    response.content.extend(content);
    let header = |&(name, description)| {
        let header = json!({"schema": {"type": "string"}, "description": description});
        (name, header)
    };
    response.headers.extend(answer.headers.iter().map(header));
    let link = |&name| {
        let id = json!("$response.body#/run_id");
        let tenant = json!("$request.path.tenant_id");
        let parameters = match said.is_of_tenant {
            true => json!({"id": id, "tenant_id": tenant}),
            false => json!({"id": id}),
        };
        (
            name,
            json!({"operationId": said.id_of(name), "parameters": parameters}),
        )
    };
    response.links.extend(answer.links.iter().map(link));
}

/// Removes `null` from the types of optional fields, because a response leaves such a field out instead of sending
/// `null`.
fn never_null(schema: &mut Schema) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| {
        required
            .as_array()
            .is_some_and(|all| all.contains(&json!(name)))
    };
    let Some(Value::Object(fields)) = schema.get_mut("properties") else {
        return;
    };
    for (name, field) in fields {
        if !is_required(name) {
            drop_null(field);
        }
    }
}

fn drop_null(field: &mut Value) {
    if let Some(Value::Array(types)) = field.get_mut("type") {
        types.retain(|name| name != "null");
    }
    if let Some(Value::Array(choices)) = field.get_mut("anyOf") {
        choices.retain(|choice| *choice != json!({"type": "null"}));
    }
}
