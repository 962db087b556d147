//! The MCP server: two tools over whatever transport carries it.
//!
//! A tool that fails answers `isError` with text only, because some clients throw on an error with
//! structured content and some show a model nothing but the structured content. A protocol error is
//! kept for a request that cannot be routed. The handler is written out rather than derived, so
//! that unknown and ill-typed arguments are answered in our words.

use std::sync::Arc;

use axum::http::request::Parts;
use rmcp::model::{
    CallToolRequestMethod, CallToolRequestParams, CallToolResponse, CallToolResult,
    CompleteRequestMethod, CompleteRequestParams, CompleteResult, ConstString, CustomRequest,
    CustomResult, Implementation, ListPromptsRequestMethod, ListPromptsResult,
    ListResourceTemplatesRequestMethod, ListResourceTemplatesResult, ListResourcesRequestMethod,
    ListResourcesResult, ListToolsResult, MetaObject, PaginatedRequestParams, ProtocolVersion,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use crate::config::Token;
use crate::error::{ErrorCode, Failure};
use crate::runs::Runs;

mod status;
mod trigger;

mod answer;
mod arguments;
mod progress;
mod schema;

pub mod http;
pub mod manifest;
pub mod stdio;

/// What a client shows of us, and tells its model before the first call.
const TITLE: &str = "Meter sync";
const INSTRUCTIONS: &str = "meter-sync keeps this site's local Postgres copy of its meters equal to \
    one customer organisation's (the tenant's) rows in a central Postgres, by itself on a schedule. \
    Call meter_sync_status for whether the copy can be relied on, what changed and what to do next; \
    it changes nothing. Call meter_sync_trigger only when a sync is wanted before the next \
    scheduled one, with dry_run first when the effect is in doubt.";

/// Where protocol version 2026-07-28 and later look for who answered, as there is no `initialize`.
const SERVER_INFO_KEY: &str = "io.modelcontextprotocol/serverInfo";

/// The MCP server; clones share the runs.
#[derive(Clone, Debug)]
pub struct Server {
    runs: Runs,
}

impl Server {
    /// A server over these runs.
    pub fn new(runs: Runs) -> Self {
        Self { runs }
    }

    /// Whether this caller may start syncs: the process may, and so may the token, if one was asked.
    fn may_trigger(&self, context: &RequestContext<RoleServer>) -> Result<(), Failure> {
        if self.runs.is_read_only() {
            return Err(Failure::new(
                ErrorCode::ReadOnly,
                "No sync was started: this process is read-only.",
            ));
        }
        match caller_token(context) {
            Some(token) if !token.may_trigger => Err(Failure::new(
                ErrorCode::ReadOnly,
                "No sync was started: the bearer token allows reading only.",
            )
            .with_remedy("Use a token with the `trigger:` scope of METER_SYNC_TOKENS.")),
            Some(_) | None => Ok(()),
        }
    }
}

/// The tools in the order of `tools/list`; a caller who may not trigger is not shown the trigger.
pub fn tools(may_trigger: bool) -> Vec<Tool> {
    let mut tools = vec![status::tool()];
    if may_trigger {
        tools.push(trigger::tool());
    }
    tools
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(server_info())
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut result = ListToolsResult::with_all_items(tools(self.may_trigger(&context).is_ok()));
        result.meta = modern_meta(&context);
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let meta = modern_meta(&context);
        let result = match request.name.as_ref() {
            status::NAME => status::call(&self.runs, request.arguments).await,
            trigger::NAME => match self.may_trigger(&context) {
                Ok(()) => trigger::call(&self.runs, request.arguments, context).await,
                Err(failure) => answer::failure(&failure, None),
            },
            unknown => return Err(unknown_tool(unknown)),
        };
        Ok(CallToolResponse::Complete(result.with_meta(meta)))
    }

    /// rmcp hands a `tools/call` whose parameters have the wrong shape here, as a method it does not
    /// know.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        if request.method == CallToolRequestMethod::VALUE {
            let message =
                "The parameters must be an object with `name`, a text, and `arguments`, an object.";
            return Err(ErrorData::invalid_params(message, None));
        }
        Err(ErrorData::new(
            rmcp::model::ErrorCode::METHOD_NOT_FOUND,
            request.method,
            None,
        ))
    }

    // Undeclared capabilities: rmcp's defaults would answer these with success.

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListResourcesRequestMethod>())
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Err(ErrorData::method_not_found::<
            ListResourceTemplatesRequestMethod,
        >())
    }

    async fn complete(
        &self,
        _request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(ErrorData::method_not_found::<CompleteRequestMethod>())
    }
}

fn server_info() -> Implementation {
    Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")).with_title(TITLE)
}

/// The token the caller came with; none over stdio and where no tokens are set.
fn caller_token(context: &RequestContext<RoleServer>) -> Option<&Token> {
    context.extensions.get::<Parts>()?.extensions.get::<Token>()
}

fn modern_meta(context: &RequestContext<RoleServer>) -> Option<MetaObject> {
    let version = context.protocol_version()?;
    if version.as_str() < ProtocolVersion::V_2026_07_28.as_str() {
        return None;
    }
    let mut meta = MetaObject::new();
    meta.insert(
        SERVER_INFO_KEY.to_owned(),
        serde_json::to_value(server_info()).ok()?,
    );
    Some(meta)
}

fn unknown_tool(name: &str) -> ErrorData {
    let names = [status::NAME, trigger::NAME];
    let hint = arguments::nearest(name, names)
        .map(|known| format!(" Did you mean `{known}`?"))
        .unwrap_or_default();
    ErrorData::invalid_params(
        format!("There is no tool `{}`.{hint}", arguments::shorten(name)),
        None,
    )
}

/// A JSON object that tools share instead of copying.
type Schema = Arc<rmcp::model::JsonObject>;

/// The schema a literal in our own source describes.
fn literal(value: serde_json::Value) -> Schema {
    if let serde_json::Value::Object(object) = value {
        Arc::new(object)
    } else {
        Schema::default()
    }
}

/// A result as the tools return it.
type ToolResult = CallToolResult;
