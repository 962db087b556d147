//! The line between the site and the remote server: it counts what the remote sends, and can be thin.
//!
//! A thin line holds each piece back until the pieces before it, on whatever connection, are through at
//! its rate, and then for half the round trip; a new connection costs one round trip more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

/// How a thin line is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thinness {
    pub(crate) bytes_per_second: f64,
    pub(crate) round_trip: Duration,
}

/// 10 Mbit/s and 50 ms.
pub(crate) const THIN: Thinness = Thinness {
    bytes_per_second: 10_000_000.0 / 8.0,
    round_trip: Duration::from_millis(50),
};

/// What one thin line holds: so much waits in a direction of a connection, as in a router.
const QUEUE: usize = 16;
const THIN_PIECE: usize = 8 * 1024;
const PIECE: usize = 64 * 1024;

/// A listening line. It lives as long as the runtime.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    port: u16,
    received: Arc<AtomicU64>,
}

/// One direction of all connections.
#[derive(Clone, Debug, Default)]
struct Direction {
    thinness: Option<Thinness>,
    /// When the last piece is through.
    free_at: Arc<Mutex<Option<Instant>>>,
    passed: Arc<AtomicU64>,
}

impl Line {
    /// A line to the server on this loopback port.
    pub(crate) async fn to(port: u16, thinness: Option<Thinness>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let direction = || Direction {
            thinness,
            ..Direction::default()
        };
        let (ask, reply) = (direction(), direction());
        let line = Self {
            port: listener.local_addr()?.port(),
            received: Arc::clone(&reply.passed),
        };
        spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                spawn(serve(client, port, ask.clone(), reply.clone()));
            }
        });
        Ok(line)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many bytes the remote has sent through it so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

async fn serve(client: TcpStream, port: u16, ask: Direction, reply: Direction) {
    if let Some(thin) = ask.thinness {
        sleep(thin.round_trip).await;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    tokio::join!(
        ask.pass(client_reads, server_writes),
        reply.pass(server_reads, client_writes)
    );
}

impl Direction {
    /// Passes on what comes until the end of it.
    async fn pass(
        self,
        from: impl AsyncRead + Unpin + Send + 'static,
        to: impl AsyncWrite + Unpin + Send + 'static,
    ) {
        match self.thinness {
            None => self.pass_at_once(from, to).await,
            Some(thin) => self.pass_later(from, to, thin).await,
        }
    }

    async fn pass_at_once(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            self.passed.fetch_add(length as u64, Ordering::Relaxed);
            let bytes = piece.get(..length).unwrap_or_default();
            if to.write_all(bytes).await.is_err() {
                return;
            }
        }
        drop(to.shutdown().await);
    }

    async fn pass_later(
        &self,
        from: impl AsyncRead + Unpin,
        to: impl AsyncWrite + Unpin,
        thin: Thinness,
    ) {
        let (queue, queued) = mpsc::channel(QUEUE);
        tokio::join!(self.hold_back(from, queue, thin), deliver(queued, to));
    }

    /// Notes of each piece when it is due at the other end.
    async fn hold_back(
        &self,
        mut from: impl AsyncRead + Unpin,
        queue: mpsc::Sender<(Instant, Vec<u8>)>,
        thin: Thinness,
    ) {
        let mut piece = vec![0; THIN_PIECE];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            self.passed.fetch_add(length as u64, Ordering::Relaxed);
            let due = self.through(length, thin).await + thin.round_trip / 2;
            let bytes = piece.get(..length).unwrap_or_default().to_vec();
            if queue.send((due, bytes)).await.is_err() {
                return;
            }
        }
    }

    /// When a piece of this length is through. The queue makes the sender wait.
    async fn through(&self, length: usize, thin: Thinness) -> Instant {
        let mut free_at = self.free_at.lock().await;
        let now = Instant::now();
        let start = free_at.map_or(now, |free| free.max(now));
        let through = start + Duration::from_secs_f64(length as f64 / thin.bytes_per_second);
        *free_at = Some(through);
        through
    }
}

async fn deliver(mut queued: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: impl AsyncWrite + Unpin) {
    while let Some((due, bytes)) = queued.recv().await {
        sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    drop(to.shutdown().await);
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the bench's runtime"
    )]
    tokio::spawn(task);
}
