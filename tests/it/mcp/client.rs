//! rmcp's own client in the place of an assistant, over every transport of the server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use meter_sync::mcp::McpServer;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest,
    ElicitRequestParams, ElicitResult, ElicitationCapability, Implementation,
    ProgressNotificationParam, ProtocolVersion, ResourceUpdatedNotificationParam,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, NotificationContext, PeerRequestOptions, RequestContext,
    RequestHandle, RunningService,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{IntoTransport, StreamableHttpClientTransport};
use rmcp::{ClientHandler, ErrorData, RoleClient, ServiceExt};
use serde_json::{Value, json};
use tokio::process::Command;

use super::legacy_sse;
use crate::support::json_schema::assert_fits;
use crate::support::program::{self, MoreSettings, RunningProgram};
use crate::support::site::{Site, mirrors};

/// How an assistant reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// In one process, over a pipe in memory.
    Memory,
    /// The real program on its standard input and output.
    Stdio,
    /// The real program's `/mcp`.
    Http,
    /// The real program's `/sse` and `/messages`.
    Sse,
}

pub(super) const EVERY_TRANSPORT: [Transport; 4] = [
    Transport::Memory,
    Transport::Stdio,
    Transport::Http,
    Transport::Sse,
];

/// An assistant in conversation with a server of its own.
pub(crate) struct Assistant {
    pub(super) client: RunningService<RoleClient, Listener>,
    /// Ends with the assistant.
    pub(super) program: Option<RunningProgram>,
    /// `tools/list` as it was at the start.
    pub(super) tools: Value,
    told: SharedServerMessages,
}

/// What a user answers to a question.
pub(crate) type Answers = Arc<dyn Fn(String) -> BoxFuture<'static, ElicitResult> + Send + Sync>;

/// What a client can do beyond asking.
#[derive(Clone, Default)]
pub(crate) struct Abilities {
    pub(crate) answers: Option<Answers>,
    pub(crate) tasks: bool,
}

impl Abilities {
    fn capabilities(&self) -> ClientCapabilities {
        let mut capabilities = ClientCapabilities::default();
        if self.tasks {
            capabilities = ClientCapabilities::builder().enable_tasks().build();
        }
        capabilities.elicitation = self
            .answers
            .as_ref()
            .map(|_| ElicitationCapability::default());
        capabilities
    }
}

/// What the server told by itself.
#[derive(Default)]
struct ServerMessages {
    progress: Vec<ProgressNotificationParam>,
    updated: Vec<String>,
    asked: Vec<String>,
}

type SharedServerMessages = Arc<Mutex<ServerMessages>>;

/// Notes what the server tells, and answers what it asks.
pub(super) struct Listener {
    told: SharedServerMessages,
    abilities: Abilities,
}

impl Listener {
    fn told(&self) -> MutexGuard<'_, ServerMessages> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        info.client_info = Implementation::new("test assistant", "1.0");
        info.capabilities = self.abilities.capabilities();
        info
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.told().progress.push(params);
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.told().updated.push(params.uri);
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { message, .. } = request else {
            panic!("a form: {request:?}");
        };
        self.told().asked.push(message.clone());
        let answers = self.abilities.answers.as_ref().expect("not to be asked");
        Ok(answers(message).await)
    }
}

/// How a client begins.
#[derive(Clone)]
pub(crate) struct ClientStart {
    pub(crate) lifecycle: ClientLifecycleMode,
    pub(crate) abilities: Abilities,
}

impl Default for ClientStart {
    fn default() -> Self {
        Self::as_told(ClientLifecycleMode::Initialize)
    }
}

impl ClientStart {
    fn as_told(lifecycle: ClientLifecycleMode) -> Self {
        Self {
            lifecycle,
            abilities: Abilities::default(),
        }
    }
}

/// The lifecycle without `initialize`.
pub(super) fn modern() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    }
}

impl Assistant {
    /// A server over the site, reached over this transport by a client that says `initialize`.
    pub(crate) async fn new(transport: Transport, site: &Site, more: MoreSettings<'_>) -> Self {
        Self::with_lifecycle(transport, site, more, ClientLifecycleMode::Initialize).await
    }

    /// The same with a client that begins as told.
    pub(super) async fn with_lifecycle(
        transport: Transport,
        site: &Site,
        more: MoreSettings<'_>,
        lifecycle: ClientLifecycleMode,
    ) -> Self {
        let start = ClientStart::as_told(lifecycle);
        Self::with_abilities(transport, site, more, start).await
    }

    /// The same with a client that can do more.
    pub(crate) async fn with_abilities(
        transport: Transport,
        site: &Site,
        more: MoreSettings<'_>,
        start: ClientStart,
    ) -> Self {
        match transport {
            Transport::Memory => {
                let settings = more
                    .iter()
                    .fold(site.settings(), |settings, (name, value)| {
                        settings.with(*name, *value)
                    });
                Self::in_memory(McpServer::new(mirrors(&settings)), start).await
            }
            Transport::Stdio => {
                let command = program::over(site, &["stdio"], more);
                let (program, input, output) = RunningProgram::start(command);
                Self::begin_with((output, input), start, Some(program)).await
            }
            Transport::Http => {
                let command = program::over(site, &["serve"], more);
                let (program, address) = RunningProgram::serve(command).await;
                let transport = http_transport(&address, None);
                Self::begin_with(transport, start, Some(program)).await
            }
            Transport::Sse => {
                let command = program::over(site, &["serve"], more);
                let (program, address) = RunningProgram::serve(command).await;
                let transport = legacy_sse::connect(&address, None).await;
                Self::begin_with(transport, start, Some(program)).await
            }
        }
    }

    /// A client of this server, over a pipe in memory.
    pub(super) async fn in_memory(server: McpServer, start: ClientStart) -> Self {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        #[expect(clippy::disallowed_methods, reason = "it ends with its client")]
        tokio::spawn(async move {
            let running = server.serve(theirs).await.expect("a conversation");
            running.waiting().await.expect("an end")
        });
        Self::begin_with(ours, start, None).await
    }

    /// A client of the program that the command starts.
    pub(super) async fn stdio(command: Command, lifecycle: ClientLifecycleMode) -> Self {
        let (program, input, output) = RunningProgram::start(command);
        Self::begin_with(
            (output, input),
            ClientStart::as_told(lifecycle),
            Some(program),
        )
        .await
    }

    /// A client of a server that is there already.
    pub(crate) async fn at(address: &str, token: Option<&str>) -> Self {
        Self::at_with(address, token, ClientStart::default()).await
    }

    /// The same with a client that can do more.
    pub(super) async fn at_with(address: &str, token: Option<&str>, start: ClientStart) -> Self {
        Self::begin_with(http_transport(address, token), start, None).await
    }

    /// The same over SSE.
    pub(crate) async fn at_sse(address: &str, token: Option<&str>) -> Self {
        let transport = legacy_sse::connect(address, token).await;
        Self::begin_with(transport, ClientStart::default(), None).await
    }

    async fn begin_with<T, E, A>(
        transport: T,
        start: ClientStart,
        program: Option<RunningProgram>,
    ) -> Self
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let told = SharedServerMessages::default();
        let listener = Listener {
            told: Arc::clone(&told),
            abilities: start.abilities,
        };
        let begun = listener
            .serve_with_lifecycle(transport, start.lifecycle)
            .await;
        let log = || {
            program
                .as_ref()
                .map_or_else(String::new, RunningProgram::stderr)
        };
        let client = begun.unwrap_or_else(|error| panic!("{error} {}", log()));
        let tools = json!(client.list_all_tools().await.expect("the tools"));
        Self {
            client,
            program,
            tools,
            told,
        }
    }

    /// The whole result of a call.
    pub(super) async fn call(&self, tool: &'static str, arguments: &Value) -> Value {
        let result = self.client.call_tool(params(tool, arguments)).await;
        json!(result.unwrap_or_else(|error| panic!("{tool} {arguments}: {error}")))
    }

    /// The structured content of a call that succeeds; held against the tool's own schema.
    pub(crate) async fn ask(&self, tool: &'static str, arguments: Value) -> Value {
        let result = self.call(tool, &arguments).await;
        assert_eq!(result["isError"], false, "{arguments}: {result:#}");
        let content = &result["structuredContent"];
        let text = result["content"][0]["text"].as_str().expect("text");
        let same: Value = serde_json::from_str(text).expect("the same JSON as text");
        assert_eq!(&same, content);
        let mut listed = self.tools.as_array().expect("tools").iter();
        let listed = listed.find(|listed| listed["name"] == tool);
        let listed = listed.expect("a tool of the list");
        assert_fits(content, &listed["outputSchema"]);
        let whole = meter_sync::mcp::whole_tools();
        let whole = whole.iter().find(|whole| whole.name == tool);
        assert_fits(content, &json!(whole)["outputSchema"]);
        content.clone()
    }

    /// The text of a call that is answered with an error.
    pub(crate) async fn refused(&self, tool: &'static str, arguments: Value) -> String {
        let result = self.call(tool, &arguments).await;
        assert_eq!(result["isError"], true, "{arguments}: {result:#}");
        assert_eq!(result["structuredContent"], Value::Null, "{result:#}");
        let content = result["content"].as_array().expect("content");
        assert_eq!(content.len(), 1, "{result:#}");
        content[0]["text"].as_str().expect("text").to_owned()
    }

    /// A call that may be given up.
    pub(super) async fn begin(
        &self,
        tool: &'static str,
        arguments: &Value,
    ) -> RequestHandle<RoleClient> {
        let request = CallToolRequest::new(params(tool, arguments));
        let request = ClientRequest::CallToolRequest(request);
        let options = PeerRequestOptions::no_options();
        let sent = self.client.send_cancellable_request(request, options);
        sent.await.expect("sent")
    }

    /// The progress told so far.
    pub(super) fn told(&self) -> Vec<ProgressNotificationParam> {
        self.heard().progress.clone()
    }

    /// The addresses that were said to have been updated.
    pub(super) fn updated(&self) -> Vec<String> {
        self.heard().updated.clone()
    }

    /// What the user was asked.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.heard().asked.clone()
    }

    fn heard(&self) -> MutexGuard<'_, ServerMessages> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the conversation; the program, if there is one, goes on.
    pub(crate) async fn leave(mut self) -> Option<RunningProgram> {
        let program = self.program.take();
        self.client.cancel().await.expect("an end");
        program
    }
}

pub(super) fn params(tool: &'static str, arguments: &Value) -> CallToolRequestParams {
    let arguments = arguments.as_object().expect("arguments are an object");
    CallToolRequestParams::new(tool).with_arguments(arguments.clone())
}

fn http_transport(
    address: &str,
    token: Option<&str>,
) -> StreamableHttpClientTransport<reqwest::Client> {
    let url = format!("http://{address}/mcp");
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    StreamableHttpClientTransport::from_config(match token {
        Some(token) => config.auth_header(token),
        None => config,
    })
}
