//! The HTTP server: accepts connections and serves the requests on them.
//!
//! The limit of open files determines how many connections are accepted, so that enough files remain for the databases.
//! A connection is closed if it does not send the head of a request in time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::health_checks;
use super::limit_connections::{ConnectionSlot, OpenConnections};
use super::request_error::RequestError;
use super::timed_streams::{TimedRequestBody, TimedStream, TrackedResponseBody};

/// How long a connection may take to send the head of a request, counted from when the server begins to wait for it.
const HEAD: Duration = Duration::from_secs(30);
/// How long a connection for health checks may take to send the head of a request.
const HEAD_OF_HEALTH: Duration = Duration::from_secs(1);
/// How many open files are reserved for other uses than HTTP, such as databases, logs and standard streams. If this is
/// more than half of the limit of open files, half of the limit is reserved.
const RESERVED: u64 = 64;
/// The most connections, however high the limit of open files is. No site has so many clients.
const MOST: usize = 10_000;
/// How long the server waits after a failed `accept` if no idle connection could be closed. The cause, such as too many
/// open files, lasts for a while.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the server waits after a failed `accept` if it closed an idle connection to make room.
const SHORT_PAUSE: Duration = Duration::from_millis(10);

/// The length of the kernel's queue of connections that are not accepted yet. If a burst fills the queue, the kernel
/// drops the next connection, which may be a health check, and its client tries again only after a second.
const QUEUE: u32 = 4096;

/// Binds a TCP socket to the address and listens on it. Must be called within a tokio runtime.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

/// Serves HTTP until `shutdown` is cancelled, then waits at most `grace` for open requests to end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let connections = OpenConnections::new(max_connections(files()));
    let (tasks, open) = (TaskTracker::new(), GracefulShutdown::new());
    let serving = async {
        loop {
            let (stream, from) = next(&listener, &connections).await;
            let slot = Arc::new(connections.enter(from.ip()));
            let service = TowerToHyperService::new(router.clone());
            let connection = open.watch(connection(stream, service, &slot));
            tasks.spawn(run_connection(connection, slot));
        }
    };
    shutdown.run_until_cancelled(serving).await;
    drop(listener);
    if tokio::time::timeout(grace, open.shutdown()).await.is_err() {
        tracing::warn!("closed HTTP requests that were still open at shutdown");
    }
    Ok(())
}

/// Returns the future that reads and answers the requests of one connection. `slot` is the entry of the connection in
/// the list of open connections.
fn connection(
    stream: TcpStream,
    router: TowerToHyperService<Router>,
    slot: &Arc<ConnectionSlot>,
) -> impl GracefulConnection<Error = hyper::Error> + Send + 'static {
    let stream = TimedStream::new(stream, slot.activity.clone());
    let head = match slot.is_for_health {
        true => HEAD_OF_HEALTH,
        false => HEAD,
    };
    let slot = Arc::clone(slot);
    let service = service_fn(move |request| answer(router.clone(), request, Arc::clone(&slot)));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), service)
}

/// Runs a connection until it ends, or until it is closed to make room for another connection.
async fn run_connection(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    slot: Arc<ConnectionSlot>,
) {
    match slot.close.run_until_cancelled(connection).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "an HTTP connection broke"),
        None => tracing::debug!("closed an HTTP connection that waited, for another one"),
    }
}

/// Answers one request. On a connection for health checks only, any other request gets 503, and each response closes
/// the connection.
async fn answer(
    router: TowerToHyperService<Router>,
    request: Request<Incoming>,
    slot: Arc<ConnectionSlot>,
) -> Result<Response<TrackedResponseBody<Body>>, Infallible> {
    let is_taken = !slot.is_for_health || health_checks::PATHS.contains(&request.uri().path());
    let request = request.map(|body| TimedRequestBody::new(body, slot.activity.clone()));
    let mut response = match is_taken {
        true => router.call(request).await?,
        false => RequestError::TooManyConnections.into_response(),
    };
    if slot.is_for_health {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response.map(|body| TrackedResponseBody::new(body, slot.activity.clone())))
}

/// Returns how many HTTP connections are accepted if the process may have `files` open files. `None` means unlimited.
fn max_connections(files: Option<u64>) -> usize {
    let max_connections = files.map_or(u64::MAX, |files| {
        files.saturating_sub(RESERVED).max(files / 2)
    });
    usize::try_from(max_connections)
        .unwrap_or(MOST)
        .clamp(1, MOST)
}

/// Raises the process's limit of open files as far as allowed, and returns the limit. `None` means unlimited.
fn files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files could not be raised");
            limit.current
        }
    }
}

/// Waits for the next connection, and returns it with the address of its client.
async fn next(listener: &TcpListener, connections: &OpenConnections) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // Without TCP_NODELAY, a response waits 40 ms for the client's delayed acknowledgement.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                return (stream, from);
            }
            // The client closed the connection before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if connections.close_one() => {
                tracing::debug!(%error, "closed an HTTP connection, as no other could be taken");
                tokio::time::sleep(SHORT_PAUSE).await;
            }
            Err(error) => {
                tracing::error!(%error, "no HTTP connection could be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_databases_keep_their_files() {
        for (files, expected) in [
            (Some(1024), 960),
            (Some(100), 50),
            (Some(0), 1),
            (Some(1_000_000), MOST),
            (None, MOST),
        ] {
            assert_eq!(max_connections(files), expected, "{files:?}");
        }
    }
}
