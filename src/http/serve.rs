//! Takes connections, as many as leave the databases theirs, and ends those that say nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the head of a request may take, counted from when the connection has nothing else to do.
const HEAD: Duration = Duration::from_secs(30);
/// Files that are not for HTTP: databases, logs, standard streams.
const RESERVED: u64 = 64;
/// More connections than any site has clients.
const MOST: usize = 10_000;
/// How long is waited where a connection could not be taken, as that does not pass at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves until `shutdown` is cancelled, then lets open requests end within `grace`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let rooms = Arc::new(Semaphore::new(rooms(getrlimit(Resource::Nofile).current)));
    let (connections, open) = (TaskTracker::new(), GracefulShutdown::new());
    let serving = async {
        loop {
            let (stream, room) = next(&listener, &rooms).await;
            let service = TowerToHyperService::new(router.clone());
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            let connection = open.watch(connection);
            connections.spawn(async move {
                let ended = connection.await;
                ended.unwrap_or_else(|error| tracing::debug!(%error, "an HTTP connection broke"));
                drop(room);
            });
        }
    };
    shutdown.run_until_cancelled(serving).await;
    drop(listener);
    if tokio::time::timeout(grace, open.shutdown()).await.is_err() {
        tracing::warn!("closed HTTP requests that were still open at shutdown");
    }
    Ok(())
}

/// How many connections may be open, by how many files may be.
fn rooms(files: Option<u64>) -> usize {
    let rooms = files.map_or(u64::MAX, |files| {
        files.saturating_sub(RESERVED).max(files / 2)
    });
    usize::try_from(rooms).unwrap_or(MOST).clamp(1, MOST)
}

/// The next connection, when there is room for one.
async fn next(listener: &TcpListener, rooms: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        // The semaphore is never closed.
        let Ok(room) = Arc::clone(rooms).acquire_owned().await else {
            std::future::pending().await
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                // without it a reply waits 40 ms for the client's delayed acknowledgement
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                return (stream, room);
            }
            // who asked has gone away again
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
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
