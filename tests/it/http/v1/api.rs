//! A client of the API that believes no answer which the API's description does not allow.

use std::collections::BTreeMap;

use meter_sync::config::{Setting, Settings};
use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::served::{Served, send};

pub(super) const READ: &str = "0123456789abcdef";
pub(super) const TRIGGER: &str = "fedcba9876543210";

/// The API of a server of the test's own.
pub(super) struct Api {
    pub(super) served: Served,
    pub(super) description: Value,
}

/// An answer that the description allows.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Null where there is none.
    pub(super) body: Value,
}

impl Api {
    pub(super) async fn new(settings: &Settings) -> Self {
        let served = Served::new(settings).await;
        let description = send(served.request("GET /api/v1/openapi.json")).await;
        let description = description.json().await.expect("JSON");
        Self {
            served,
            description,
        }
    }

    /// With both tokens set.
    pub(super) async fn with_tokens(settings: &Settings) -> Self {
        let tokens = format!("read:{READ},trigger:{TRIGGER}");
        let served = Served::new(&settings.clone().with(Setting::Tokens, tokens)).await;
        let described = served.request("GET /api/v1/openapi.json").bearer_auth(READ);
        let description = send(described).await.json().await.expect("JSON");
        Self {
            served,
            description,
        }
    }

    pub(super) async fn ask(&self, line: &str) -> Answer {
        self.ask_with(line, |request| request).await
    }

    /// Asks with more in the request than method and path.
    pub(super) async fn ask_with(
        &self,
        line: &str,
        add: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Answer {
        let response = send(add(self.served.request(line))).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        assert_eq!(headers["cache-control"], "no-store", "{line}");
        let text = response.text().await.expect("a body");
        let body = match text.as_str() {
            "" => Value::Null,
            json => serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}")),
        };
        let answer = Answer {
            status,
            headers,
            body,
        };
        self.check(line, &answer);
        answer
    }

    fn check(&self, line: &str, answer: &Answer) {
        let responses = self.responses(line);
        let described = &responses[answer.status.to_string()];
        assert!(described.is_object(), "{line}: {answer:?} is not described");
        let Some(content) = described["content"].as_object() else {
            return assert_eq!(answer.body, Value::Null, "{line}");
        };
        let media_type = answer.header("content-type").expect("a content type");
        let schema = &content[media_type]["schema"];
        self.assert_fits(schema, &answer.body);
        if let Some(headers) = described["headers"].as_object() {
            for name in headers.keys().filter(|name| *name == "Location") {
                assert!(answer.header(name).is_some(), "{line}: no {name}");
            }
        }
    }

    /// Fails unless the value is what a schema of the description allows.
    pub(super) fn assert_fits(&self, schema: &Value, value: &Value) {
        let whole = json!({"allOf": [schema], "components": self.description["components"]});
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&whole)
            .expect("a schema");
        let errors: Vec<_> = validator
            .iter_errors(value)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:#?} in {value:#}");
    }

    /// The routes that are described, as `METHOD /path`, in order.
    pub(super) fn routes(&self) -> Vec<String> {
        let paths = self.description["paths"].as_object().expect("paths");
        let mut routes = Vec::new();
        for (path, operations) in paths {
            for method in operations.as_object().expect("operations").keys() {
                routes.push(format!("{} {path}", method.to_uppercase()));
            }
        }
        routes.sort();
        routes
    }

    /// What the description says of the answers to a request.
    fn responses(&self, line: &str) -> &Value {
        let (method, target) = line.split_once(' ').expect("a method and a path");
        let path = target.split('?').next().expect("a path");
        let paths = self.description["paths"].as_object().expect("paths");
        let found = paths.iter().find(|(template, _)| is_of(template, path));
        let (_, operations) = found.unwrap_or_else(|| panic!("{path} is not described"));
        &operations[method.to_lowercase()]["responses"]
    }
}

fn is_of(template: &str, path: &str) -> bool {
    let parts = template.split('/').zip(path.split('/'));
    template.split('/').count() == path.split('/').count()
        && parts
            .into_iter()
            .all(|(template, part)| template == part || template.starts_with('{'))
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(value.to_str().expect("text"))
    }

    /// The request for the next page.
    pub(super) fn next(&self) -> Option<String> {
        let link = self.header("link")?;
        let (address, relation) = link.strip_prefix('<')?.split_once('>')?;
        assert_eq!(relation, "; rel=\"next\"");
        Some(format!("GET {address}"))
    }

    /// Status and code of a problem, which tells of both twice.
    pub(super) fn problem(&self) -> (u16, &str) {
        assert_eq!(self.body["status"], self.status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let remedy = self.body["remedy"].as_str().expect("a remedy");
        assert!(!remedy.is_empty());
        (self.status, self.body["code"].as_str().expect("a code"))
    }
}

/// How often each of some values is there.
pub(super) fn counted(values: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}
