//! rmcp's own client in the place of an assistant, over every way that leads to the server.

use std::sync::{Arc, Mutex, PoisonError};

use meter_sync::mcp::Server;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientConfig, ClientRequest, Implementation,
    ProgressNotificationParam,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, NotificationContext, PeerRequestOptions, RequestHandle,
    RunningService,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{IntoTransport, StreamableHttpClientTransport};
use rmcp::{ClientHandler, RoleClient, ServiceExt};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::program::{self, More, Running};
use crate::support::schema::assert_fits;
use crate::support::site::{Site, runs};

/// How an assistant reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In one process, over a pipe in memory.
    Memory,
    /// The real program on its standard input and output.
    Stdio,
    /// The real program's `/mcp`.
    Http,
}

pub(super) const EVERY_WAY: [Way; 3] = [Way::Memory, Way::Stdio, Way::Http];

/// An assistant in conversation with a server of its own.
pub(super) struct Assistant {
    client: RunningService<RoleClient, Listener>,
    /// Ends with the assistant.
    pub(super) program: Option<Running>,
    /// `tools/list` as it was at the start.
    pub(super) tools: Value,
    told: Told,
}

type Told = Arc<Mutex<Vec<ProgressNotificationParam>>>;

/// Notes what the server tells of progress.
struct Listener(Told);

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        info.client_info = Implementation::new("test assistant", "1.0");
        info
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.push(params);
    }
}

impl Assistant {
    /// A server over the site, reached in this way by a client that says `initialize`.
    pub(super) async fn new(way: Way, site: &Site, more: More<'_>) -> Self {
        Self::with_lifecycle(way, site, more, ClientLifecycleMode::Initialize).await
    }

    /// The same with a client that begins as told.
    pub(super) async fn with_lifecycle(
        way: Way,
        site: &Site,
        more: More<'_>,
        lifecycle: ClientLifecycleMode,
    ) -> Self {
        match way {
            Way::Memory => {
                let settings = more
                    .iter()
                    .fold(site.settings(), |settings, (name, value)| {
                        settings.with(*name, *value)
                    });
                Self::in_memory(Server::new(runs(&settings)), lifecycle).await
            }
            Way::Stdio => {
                let command = program::over(site, &["stdio"], more);
                Self::stdio(command, lifecycle).await
            }
            Way::Http => {
                let command = program::over(site, &["serve"], more);
                let (program, address) = Running::serve(command).await;
                let transport = transport(&address, None);
                Self::begin_with(transport, lifecycle, Some(program)).await
            }
        }
    }

    async fn in_memory(server: Server, lifecycle: ClientLifecycleMode) -> Self {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        #[expect(clippy::disallowed_methods, reason = "it ends with its client")]
        tokio::spawn(async move {
            let running = server.serve(theirs).await.expect("a conversation");
            running.waiting().await.expect("an end")
        });
        Self::begin_with(ours, lifecycle, None).await
    }

    /// A client of the program that the command starts.
    pub(super) async fn stdio(command: Command, lifecycle: ClientLifecycleMode) -> Self {
        let (program, input, output) = Running::start(command);
        Self::begin_with((output, input), lifecycle, Some(program)).await
    }

    /// A client of a server that is there already.
    pub(super) async fn at(address: &str, token: Option<&str>) -> Self {
        let lifecycle = ClientLifecycleMode::Initialize;
        Self::begin_with(transport(address, token), lifecycle, None).await
    }

    async fn begin_with<T, E, A>(
        transport: T,
        lifecycle: ClientLifecycleMode,
        program: Option<Running>,
    ) -> Self
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let told = Told::default();
        let listener = Listener(Arc::clone(&told));
        let begun = listener.serve_with_lifecycle(transport, lifecycle).await;
        let log = || program.as_ref().map_or_else(String::new, Running::stderr);
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
    pub(super) async fn ask(&self, tool: &'static str, arguments: Value) -> Value {
        let result = self.call(tool, &arguments).await;
        assert_eq!(result["isError"], false, "{arguments}: {result:#}");
        let content = &result["structuredContent"];
        let text = result["content"][0]["text"].as_str().expect("text");
        let same: Value = serde_json::from_str(text).expect("the same JSON as text");
        assert_eq!(&same, content);
        let mut listed = self.tools.as_array().expect("tools").iter();
        let listed = listed.find(|listed| listed["name"] == tool);
        assert_fits(
            content,
            &listed.expect("a tool of the list")["outputSchema"],
        );
        content.clone()
    }

    /// The text of a call that is answered with an error.
    pub(super) async fn refused(&self, tool: &'static str, arguments: Value) -> String {
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
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    /// Ends the conversation; the program, if there is one, goes on.
    pub(super) async fn leave(mut self) -> Option<Running> {
        let program = self.program.take();
        self.client.cancel().await.expect("an end");
        program
    }
}

fn params(tool: &'static str, arguments: &Value) -> CallToolRequestParams {
    let arguments = arguments.as_object().expect("arguments are an object");
    CallToolRequestParams::new(tool).with_arguments(arguments.clone())
}

fn transport(address: &str, token: Option<&str>) -> StreamableHttpClientTransport<reqwest::Client> {
    let url = format!("http://{address}/mcp");
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    StreamableHttpClientTransport::from_config(match token {
        Some(token) => config.auth_header(token),
        None => config,
    })
}
