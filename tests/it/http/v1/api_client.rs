//! A client of the API that checks every answer against the API's description.

use std::collections::BTreeMap;

use meter_sync::config::{CommandLineSettings, Setting};
use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::http_server::{HttpServer, send};

pub(in crate::http) const READ: &str = "0123456789abcdef";
pub(in crate::http) const TRIGGER: &str = "fedcba9876543210";

/// The API of a server of the test's own.
pub(in crate::http) struct ApiClient {
    pub(in crate::http) served: HttpServer,
    pub(in crate::http) description: Value,
    /// What each request shows, unless it shows something else.
    token: Option<String>,
}

/// An answer that the description allows.
#[derive(Debug)]
pub(in crate::http) struct Answer {
    pub(in crate::http) status: u16,
    pub(in crate::http) headers: HeaderMap,
    /// Null where there is none.
    pub(in crate::http) body: Value,
}

impl ApiClient {
    pub(in crate::http) async fn new(settings: &CommandLineSettings) -> Self {
        let served = HttpServer::new(settings).await;
        let description = send(served.request("GET /api/v1/openapi.json")).await;
        let description = description.json().await.expect("JSON");
        Self {
            served,
            description,
            token: None,
        }
    }

    /// With tokens of the test's own, of which each request shows this one.
    pub(in crate::http) async fn with(settings: &CommandLineSettings, token: &str) -> Self {
        let served = HttpServer::new(settings).await;
        let described = served
            .request("GET /api/v1/openapi.json")
            .bearer_auth(token);
        let description = send(described).await.json().await.expect("JSON");
        Self {
            served,
            description,
            token: Some(token.to_owned()),
        }
    }

    /// With both tokens set.
    pub(in crate::http) async fn with_tokens(settings: &CommandLineSettings) -> Self {
        let tokens = format!("read:{READ},trigger:{TRIGGER}");
        let served = HttpServer::new(&settings.clone().with(Setting::Tokens, tokens)).await;
        let described = served.request("GET /api/v1/openapi.json").bearer_auth(READ);
        let description = send(described).await.json().await.expect("JSON");
        Self {
            served,
            description,
            token: None,
        }
    }

    pub(in crate::http) async fn ask(&self, line: &str) -> Answer {
        self.ask_with(line, |request| request).await
    }

    /// Asks with more in the request than method and path.
    pub(in crate::http) async fn ask_with(
        &self,
        line: &str,
        add: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Answer {
        let mut request = self.served.request(line);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = send(add(request)).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        assert_eq!(headers["cache-control"], "no-store", "{line}");
        let text = response.text().await.expect("a body");
        let body = match text.as_str() {
            "" => Value::Null,
            csv if headers["content-type"].as_bytes().starts_with(b"text/csv") => csv.into(),
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
    pub(in crate::http) fn assert_fits(&self, schema: &Value, value: &Value) {
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
    pub(in crate::http) fn routes(&self) -> Vec<String> {
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
    pub(in crate::http) fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(value.to_str().expect("text"))
    }

    /// The request for the next page.
    pub(in crate::http) fn next(&self) -> Option<String> {
        let link = self.header("link")?;
        let (address, relation) = link.strip_prefix('<')?.split_once('>')?;
        assert_eq!(relation, "; rel=\"next\"");
        Some(format!("GET {address}"))
    }

    /// Status and code of a problem, which tells of both twice.
    pub(in crate::http) fn problem(&self) -> (u16, &str) {
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
pub(in crate::http) fn counted(
    values: impl IntoIterator<Item = String>,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}
