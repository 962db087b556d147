//! MCP on standard input and output: one client, until it closes its end or we shut down.
//!
//! Nothing but the protocol is written to standard output.

use rmcp::RoleServer;
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use rmcp::transport::{self, Transport};
use tokio_util::sync::CancellationToken;

use super::Server;
use super::lines::Lines;
use super::patient::Patient;

/// Why the conversation broke off.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// It never began.
    #[error("the MCP client on standard input and output could not be answered")]
    Start(#[source] Box<ServerInitializeError>),
    /// A bug ended it.
    #[error("the MCP conversation on standard input and output broke off")]
    Broken(#[source] tokio::task::JoinError),
}

/// Serves until standard input ends or `shutdown` is cancelled; both are a good end.
pub async fn serve(server: Server, shutdown: CancellationToken) -> Result<(), StdioError> {
    let (input, output) = transport::stdio_pipes();
    serve_on(server, Lines::new(input, output), shutdown).await
}

async fn serve_on<T>(
    server: Server,
    transport: T,
    shutdown: CancellationToken,
) -> Result<(), StdioError>
where
    T: Transport<RoleServer> + 'static,
{
    let running = match server
        .serve_with_ct(Patient::new(transport), shutdown)
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
