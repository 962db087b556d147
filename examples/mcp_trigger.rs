//! An MCP client that triggers a sync and prints the outcome.
//!
//! ```sh
//! cargo run --example mcp_trigger                              # brings its own server and databases
//! cargo run --example mcp_trigger http://127.0.0.1:8765/mcp    # asks a running meter-sync
//! ```

use std::io::Write;

use anyhow::Context;
use meter_sync::app::App;
use meter_sync::config::{CommandLineSettings, Config, Environment, Setting};
use meter_sync::demo::{ServerPair, sample_data};
use meter_sync::shutdown::Shutdown;
use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use serde_json::json;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if let Some(url) = std::env::args().nth(1) {
        return trigger(&url).await;
    }
    let pair = ServerPair::temporary().await?;
    sample_data::fill(pair.remote_url(), pair.local_url()).await?;
    let served = serve_and_trigger(&pair).await;
    pair.stop().await?;
    served
}

/// The client's part: connect, call, print.
async fn trigger(url: &str) -> anyhow::Result<()> {
    let transport = StreamableHttpClientTransport::from_uri(url);
    let client = ().serve(transport).await.context("connect")?;
    let arguments = json!({"wait_seconds": 50, "reason": "the mcp_trigger example"});
    let call = CallToolRequestParams::new("meter_sync_trigger")
        .with_arguments(arguments.as_object().cloned().unwrap_or_default());
    let result = client.call_tool(call).await.context("call the tool")?;
    client.cancel().await?;

    let mut out = std::io::stdout().lock();
    let Some(run) = result.structured_content else {
        // an error is text for people and models: what failed, why, what to do, the code
        anyhow::bail!("the sync did not succeed: {:?}", result.content);
    };
    for field in ["summary", "outcome", "counts", "next_step"] {
        writeln!(out, "{field}: {}", run.get(field).unwrap_or_default())?;
    }
    Ok(())
}

/// The server's part, in this process: what `meter-sync serve` does.
async fn serve_and_trigger(pair: &ServerPair) -> anyhow::Result<()> {
    let settings = CommandLineSettings::default()
        .with(Setting::RemoteUrl, pair.remote_url())
        .with(Setting::LocalUrl, pair.local_url())
        .with(Setting::Schedule, "off");
    let shutdown = Shutdown::new();
    let app = App::build(
        Config::load_from(&settings, &Environment::default())?,
        shutdown.clone(),
    )?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);

    let stop = shutdown.token();
    let asked = async {
        let asked = trigger(&url).await;
        stop.cancel();
        asked
    };
    let (served, asked) = tokio::join!(app.serve_on(listener), asked);
    served.and(asked)
}
