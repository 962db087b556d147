//! Serves MCP on standard input and output to one client, until the client closes its end or the process shuts down.
//!
//! This module writes nothing but the protocol to standard output.

use rmcp::RoleServer;
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use rmcp::transport::{self, Transport};
use tokio_util::sync::CancellationToken;

use super::McpServer;
use super::early_message_filter::EarlyMessageFilter;
use super::line_transport::LineTransport;

/// Why the conversation ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// The opening handshake with the client failed.
    #[error("the MCP client on standard input and output could not be answered")]
    Start(#[source] Box<ServerInitializeError>),
    /// The task that served the conversation panicked, which is a bug.
    #[error("the MCP conversation on standard input and output broke off")]
    Broken(#[source] tokio::task::JoinError),
}

/// Serves one client over standard input and output until standard input ends or `shutdown` is cancelled. Neither is an
/// error.
pub async fn serve(server: McpServer, shutdown: CancellationToken) -> Result<(), StdioError> {
    let (input, output) = transport::stdio_pipes();
    let served = serve_on(server, LineTransport::new(input, output), shutdown);
    Box::pin(served).await
}

async fn serve_on<T>(
    server: McpServer,
    transport: T,
    shutdown: CancellationToken,
) -> Result<(), StdioError>
where
    T: Transport<RoleServer> + 'static,
{
    let running = match server
        .serve_with_ct(EarlyMessageFilter::new(transport), shutdown)
        .await
    {
        Ok(running) => running,
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
            return Ok(());
        }
        Err(error) => return Err(StdioError::Start(Box::new(error))),
    };
    running.waiting().await.map_err(StdioError::Broken)?;
    Ok(())
}
