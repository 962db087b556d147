//! A route of the API: its path, its handler and its `OpenAPI` description.

use axum::handler::Handler;
use axum::routing::{MethodRouter, get, post};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::RestState;
use super::requested_mirror::API;
use crate::http::problem_details::{PROBLEM_JSON, ProblemDetails};

/// A function that generates the JSON schema of a type. It adds the schemas of the types within that type to the
/// generator.
pub(super) type SchemaFunction = fn(&mut SchemaGenerator) -> Schema;

/// Returns the schema of problem details (RFC 9457), the body of all error responses.
pub(super) fn problem(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<ProblemDetails>()
}

const JSON: &str = "application/json";

/// The suffix of the `operationId` of a route whose path names a tenant.
const OF_TENANT: &str = "OfTenant";

/// A route: its path, method, handler and description.
#[derive(Debug)]
pub(crate) struct Route {
    pub(super) path: String,
    pub(super) method: &'static str,
    pub(super) handler: MethodRouter<RestState>,
    pub(super) operation: RouteDescription,
}

impl Route {
    pub(super) fn get<H, T>(path: &'static str, handler: H, operation: RouteDescription) -> Self
    where
        H: Handler<T, RestState>,
        T: 'static,
    {
        Self {
            path: path.to_owned(),
            method: "get",
            handler: get(handler),
            operation,
        }
    }

    pub(super) fn post<H, T>(path: &'static str, handler: H, operation: RouteDescription) -> Self
    where
        H: Handler<T, RestState>,
        T: 'static,
    {
        Self {
            path: path.to_owned(),
            method: "post",
            handler: post(handler),
            operation,
        }
    }

    /// Returns this route for a tenant: `/tenants/{tenant_id}` is inserted into its path, and its description is
    /// adapted.
    pub(super) fn of_tenant(self) -> Self {
        let rest = self.path.strip_prefix(API).unwrap_or_default();
        Self {
            path: format!("{API}/tenants/{{tenant_id}}{rest}"),
            operation: self.operation.of_tenant(),
            ..self
        }
    }
}

/// The description of a route. The operation object of the `OpenAPI` description is generated from it.
#[derive(Debug)]
pub(super) struct RouteDescription {
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: Option<&'static str>,
    /// The parameters of the path, query and header, as parameter objects of `OpenAPI`.
    pub(super) parameters: Vec<Value>,
    /// The schema of the request body; `None` if the route takes no body.
    pub(super) body: Option<Value>,
    pub(super) is_body_required: bool,
    pub(super) answers: Vec<ResponseDescription>,
    /// Whether the route needs no token, even if tokens are configured.
    pub(super) is_open: bool,
    /// Whether the path names a tenant. If so, the `operationId` ends in [`OF_TENANT`].
    pub(super) is_of_tenant: bool,
}

/// A response that a route may give. Several responses may have the same status but different media types.
#[derive(Debug)]
pub(super) struct ResponseDescription {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) content: Option<(&'static str, SchemaFunction)>,
    /// Names and descriptions of the response's headers.
    pub(super) headers: Vec<(&'static str, &'static str)>,
    /// The operations to call next for the run of this response: the `run_id` in the response is their parameter `id`.
    pub(super) links: Vec<&'static str>,
}

impl RouteDescription {
    pub(super) fn new(id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            description: None,
            parameters: Vec::new(),
            body: None,
            is_body_required: false,
            answers: Vec::new(),
            is_open: false,
            is_of_tenant: false,
        }
    }

    /// Returns this description with the path parameter `tenant_id`, and with the error responses for a tenant that
    /// cannot be found.
    fn of_tenant(self) -> Self {
        let schema = json!({"type": "string", "minLength": 1});
        let operation = self
            .path(
                "tenant_id",
                schema,
                "The tenant's id, as `/api/v1/tenants` lists it.",
            )
            .problem(
                404,
                "The tenant is not known, or the token does not count for it.",
            )
            .problem(500, "The local database cannot be asked.")
            .problem(503, "The databases are not configured.");
        Self {
            is_of_tenant: true,
            ..operation
        }
    }

    /// Returns the `operationId` for `id`: with the suffix [`OF_TENANT`] if the path of this route names a tenant.
    pub(super) fn id_of(&self, id: &str) -> String {
        match self.is_of_tenant {
            true => format!("{id}{OF_TENANT}"),
            false => id.to_owned(),
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

    /// Whether the route takes arguments in the query.
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

    /// Adds the path parameter `id`, the id of a run, and the 404 response for an unknown run.
    pub(super) fn run(self) -> Self {
        let schema = json!({"type": "string", "format": "uuid"});
        let operation = self.path("id", schema, "The run's id.");
        operation.problem(404, "There is no such run.")
    }

    pub(super) fn body(mut self, schema: Value) -> Self {
        self.body = Some(schema);
        self
    }

    pub(super) fn required_body(mut self, schema: Value) -> Self {
        self.is_body_required = true;
        self.body(schema)
    }

    /// Adds a response with a JSON body.
    pub(super) fn answer(
        self,
        status: u16,
        description: &'static str,
        schema: SchemaFunction,
    ) -> Self {
        self.content(status, description, Some((JSON, schema)))
    }

    /// Adds an error response, with problem details as its body.
    pub(super) fn problem(self, status: u16, description: &'static str) -> Self {
        self.content(status, description, Some((PROBLEM_JSON, problem)))
    }

    pub(super) fn content(
        mut self,
        status: u16,
        description: &'static str,
        content: Option<(&'static str, SchemaFunction)>,
    ) -> Self {
        self.answers.push(ResponseDescription {
            status,
            description,
            content,
            headers: Vec::new(),
            links: Vec::new(),
        });
        self
    }

    /// Adds a header to the response that was added last.
    pub(super) fn with(mut self, name: &'static str, description: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.push((name, description));
        }
        self
    }

    /// Adds links to the response that was added last. A link names an operation whose parameter `id` is the `run_id`
    /// of the response.
    pub(super) fn with_links(mut self, operations: &[&'static str]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.links.extend(operations);
        }
        self
    }
}
