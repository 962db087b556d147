//! An HTTP server in the process of the test.

use std::time::Duration;

use meter_sync::app::App;
use meter_sync::config::CommandLineSettings;
use meter_sync::shutdown::Shutdown;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::net::TcpListener;

use super::site::config;

const SOON: Duration = Duration::from_secs(20);

/// Serves until dropped.
pub(crate) struct HttpServer {
    pub(crate) address: String,
    client: Client,
    shutdown: Shutdown,
}

impl HttpServer {
    pub(crate) async fn new(settings: &CommandLineSettings) -> Self {
        let shutdown = Shutdown::new();
        let app = App::build(config(settings), shutdown.clone()).expect("an app");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        #[expect(clippy::disallowed_methods, reason = "it ends when we are dropped")]
        tokio::spawn(app.serve_on(listener));
        Self {
            address,
            client: Client::new(),
            shutdown,
        }
    }

    /// A request to add to, by `METHOD /path`.
    pub(crate) fn request(&self, line: &str) -> RequestBuilder {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let method: Method = method.parse().expect("a method");
        self.client
            .request(method, format!("http://{}{path}", self.address))
    }

    /// Status and JSON of the answer.
    pub(crate) async fn ask(&self, line: &str) -> (u16, Value) {
        answer(self.request(line)).await
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shutdown.token().cancel();
    }
}

/// Sends a request; gives status and JSON of the answer.
pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = send(request).await;
    let status = response.status().as_u16();
    (status, response.json().await.expect("JSON"))
}

/// Reads a stream that the server ends soon.
pub(crate) async fn ends(stream: &mut Response) {
    let end = async { while stream.chunk().await.expect("a stream").is_some() {} };
    let ended = tokio::time::timeout(SOON, end).await;
    assert!(ended.is_ok(), "{} is still open", stream.url());
}

/// Sends a request; gives the answer.
pub(crate) async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}
