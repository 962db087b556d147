//! Takes connections, as many as leave the databases theirs, and ends those that say nothing.

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
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::{Connections, Place};
use super::health;
use super::problem::Problem;
use super::watched::{Arriving, Leaving, Watched};

/// How long the head of a request may take, counted from when the connection has nothing else to do.
const HEAD: Duration = Duration::from_secs(30);
/// The same where only health checks are answered.
const HEAD_OF_HEALTH: Duration = Duration::from_secs(1);
/// Files that are not for HTTP: databases, logs, standard streams.
const RESERVED: u64 = 64;
/// More connections than any site has clients.
const MOST: usize = 10_000;
/// How long is waited where a connection could not be taken, as that does not pass at once.
const PAUSE: Duration = Duration::from_secs(1);
/// The same where another one was closed for it.
const SHORT_PAUSE: Duration = Duration::from_millis(10);

/// Serves until `shutdown` is cancelled, then lets open requests end within `grace`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let connections = Connections::new(rooms(files()));
    let (tasks, open) = (TaskTracker::new(), GracefulShutdown::new());
    let serving = async {
        loop {
            let (stream, from) = next(&listener, &connections).await;
            let place = Arc::new(connections.enter(from.ip()));
            let service = TowerToHyperService::new(router.clone());
            let connection = open.watch(connection(stream, service, &place));
            tasks.spawn(converse(connection, place));
        }
    };
    shutdown.run_until_cancelled(serving).await;
    drop(listener);
    if tokio::time::timeout(grace, open.shutdown()).await.is_err() {
        tracing::warn!("closed HTTP requests that were still open at shutdown");
    }
    Ok(())
}

/// Serves the requests of one connection.
fn connection(
    stream: TcpStream,
    router: TowerToHyperService<Router>,
    place: &Arc<Place>,
) -> impl GracefulConnection<Error = hyper::Error> + Send + 'static {
    let stream = Watched::new(stream, place.activity.clone());
    let head = match place.is_for_health {
        true => HEAD_OF_HEALTH,
        false => HEAD,
    };
    let place = Arc::clone(place);
    let service = service_fn(move |request| answer(router.clone(), request, Arc::clone(&place)));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), service)
}

/// Stays with a connection until it ends, or has to go.
async fn converse(connection: impl Future<Output = Result<(), hyper::Error>>, place: Arc<Place>) {
    match place.close.run_until_cancelled(connection).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "an HTTP connection broke"),
        None => tracing::debug!("closed an HTTP connection that waited, for another one"),
    }
}

/// Answers one request, as far as the connection is there for it.
async fn answer(
    router: TowerToHyperService<Router>,
    request: Request<Incoming>,
    place: Arc<Place>,
) -> Result<Response<Leaving<Body>>, Infallible> {
    let is_taken = !place.is_for_health || health::PATHS.contains(&request.uri().path());
    let request = request.map(|body| Arriving::new(body, place.activity.clone()));
    let mut response = match is_taken {
        true => router.call(request).await?,
        false => Problem::TooManyConnections.into_response(),
    };
    if place.is_for_health {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response.map(|body| Leaving::new(body, place.activity.clone())))
}

/// How many connections may be open, by how many files may be.
fn rooms(files: Option<u64>) -> usize {
    let rooms = files.map_or(u64::MAX, |files| {
        files.saturating_sub(RESERVED).max(files / 2)
    });
    usize::try_from(rooms).unwrap_or(MOST).clamp(1, MOST)
}

/// How many files may be open, after the limit was raised as far as it may be.
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

/// The next connection, and whose it is.
async fn next(listener: &TcpListener, connections: &Connections) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // without it a reply waits 40 ms for the client's delayed acknowledgement
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                return (stream, from);
            }
            // who asked has gone away again
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
            assert_eq!(rooms(files), expected, "{files:?}");
        }
    }
}
