//! One route: where it is, what answers there, and what is said of it in the API's description.

use axum::handler::Handler;
use axum::routing::{MethodRouter, get, post};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::http::Shared;
use crate::http::details::PROBLEM_JSON;

/// Makes the schema of a type, its definitions kept apart.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

const JSON: &str = "application/json";

/// A route. There is no other way to serve one than to describe it.
#[derive(Debug)]
pub(in crate::http) struct Route {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    pub(super) handler: MethodRouter<Shared>,
    pub(super) operation: Operation,
}

impl Route {
    pub(super) fn get<H, T>(path: &'static str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self {
            path,
            method: "get",
            handler: get(handler),
            operation,
        }
    }

    pub(super) fn post<H, T>(path: &'static str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Self {
            path,
            method: "post",
            handler: post(handler),
            operation,
        }
    }
}

/// What is said of a route.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: Option<&'static str>,
    /// Parameter objects of `OpenAPI`.
    pub(super) parameters: Vec<Value>,
    /// The schema of the body, which may be absent.
    pub(super) body: Option<Value>,
    pub(super) answers: Vec<Answer>,
    /// Whether it is asked without a token, too.
    pub(super) is_open: bool,
}

/// One answer, or one of several of the same status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) content: Option<(&'static str, SchemaOf)>,
    /// Names and what they say.
    pub(super) headers: Vec<(&'static str, &'static str)>,
    /// Where the `run_id` of the answer leads: operations that take it as `id`.
    pub(super) links: Vec<&'static str>,
}

impl Operation {
    pub(super) fn new(id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            description: None,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            is_open: false,
        }
    }

    pub(super) fn described(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    pub(super) fn open(mut self) -> Self {
        self.is_open = true;
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is written out in place")]
    fn parameter(mut self, place: &str, name: &str, schema: Value, description: &str) -> Self {
        self.parameters.push(json!({
            "in": place,
            "name": name,
            "required": place == "path",
            "schema": schema,
            "description": description,
        }));
        self
    }

    pub(super) fn query(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter("query", name, schema, description)
    }

    /// Whether it has an argument in the query.
    pub(super) fn takes_query(&self) -> bool {
        self.parameters
            .iter()
            .any(|parameter| parameter["in"] == "query")
    }

    pub(super) fn header(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter("header", name, schema, description)
    }

    pub(super) fn path(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter("path", name, schema, description)
    }

    /// The `id` in the path of a run.
    pub(super) fn run(self) -> Self {
        let schema = json!({"type": "string", "format": "uuid"});
        let operation = self.path("id", schema, "The run's id.");
        operation.problem(404, "There is no such run.")
    }

    pub(super) fn body(mut self, schema: Value) -> Self {
        self.body = Some(schema);
        self
    }

    /// An answer in JSON.
    pub(super) fn answer(self, status: u16, description: &'static str, schema: SchemaOf) -> Self {
        self.content(status, description, Some((JSON, schema)))
    }

    /// An answer that a problem explains.
    pub(super) fn problem(self, status: u16, description: &'static str) -> Self {
        self.content(
            status,
            description,
            Some((PROBLEM_JSON, super::openapi::problem)),
        )
    }

    pub(super) fn content(
        mut self,
        status: u16,
        description: &'static str,
        content: Option<(&'static str, SchemaOf)>,
    ) -> Self {
        self.answers.push(Answer {
            status,
            description,
            content,
            headers: Vec::new(),
            links: Vec::new(),
        });
        self
    }

    /// A header of the answer that was named last.
    pub(super) fn with(mut self, name: &'static str, description: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.push((name, description));
        }
        self
    }

    /// Where the answer that was named last leads.
    pub(super) fn leads_to(mut self, operations: &[&'static str]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.links.extend(operations);
        }
        self
    }
}
