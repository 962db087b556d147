//! A line between us and a server that can be broken: as a whole, after so many bytes, or at the
//! very statement that a test names.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// What is wrong with the line. A named point is a list of texts that one connection sends one after
/// the other; it is the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Connections are cut, and new ones closed as they come.
    Refuse,
    /// Nothing passes and nothing is closed: a frozen server, or packets that vanish.
    Stall,
    /// Connections are reset, and new ones as they come.
    Reset,
    /// Each piece comes so much later.
    Delay(Duration),
    /// No more bytes a second pass, each way.
    Limit(u32),
    /// A connection is cut once we have sent so many bytes on it.
    CutRequest(usize),
    /// A connection is cut once the server has sent so many bytes on it.
    CutReply(usize),
    /// The line stalls once the server has sent so many bytes on a connection.
    StallReply(usize),
    /// The connection is cut before the named point reaches the server.
    CutBefore(&'static [&'static str]),
    /// The connection is cut after the server has carried out the named point, before we hear of it.
    LoseReply(&'static [&'static str]),
    /// The line stalls before the named point reaches the server.
    StallAt(&'static [&'static str]),
    /// The end of a connection comes later than the server's last words.
    LateEnd,
}

impl Fault {
    /// The named point at which it strikes, for those that have one.
    fn point(self) -> Option<&'static [&'static str]> {
        match self {
            Self::CutBefore(point) | Self::LoseReply(point) | Self::StallAt(point) => Some(point),
            Self::None
            | Self::Refuse
            | Self::Stall
            | Self::Reset
            | Self::Delay(_)
            | Self::Limit(_)
            | Self::CutRequest(_)
            | Self::CutReply(_)
            | Self::StallReply(_)
            | Self::LateEnd => None,
        }
    }
}

/// The line: it listens on a port of its own until the test's runtime ends.
pub(crate) struct Proxy {
    address: SocketAddr,
    line: Line,
}

#[derive(Clone)]
struct Line {
    fault: watch::Sender<Fault>,
    /// How often a cut or a stall at a point has struck.
    struck: Arc<AtomicUsize>,
    /// How often a client has sent something after the server's last reply, or as the first thing.
    round_trips: Arc<AtomicUsize>,
    /// What the fault turns into when it strikes; `None` leaves it as it is.
    then: watch::Sender<Option<Fault>>,
    /// How often connections were stranded.
    strandings: Arc<AtomicUsize>,
    /// Of how many strandings the connections have been closed.
    closed: watch::Sender<usize>,
    /// The listener and the connections.
    tasks: TaskTracker,
}

impl Proxy {
    /// A sound line to the server on this loopback port.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let line = Line {
            fault: watch::Sender::new(Fault::None),
            struck: Arc::default(),
            round_trips: Arc::default(),
            then: watch::Sender::new(None),
            strandings: Arc::default(),
            closed: watch::Sender::new(0),
            tasks: TaskTracker::new(),
        };
        line.tasks.spawn(accept(listener, port, line.clone()));
        Self { address, line }
    }

    /// A line to the server of this URL, and the URL that leads through it.
    pub(crate) async fn before(url: &str) -> (Self, String) {
        let driver: tokio_postgres::Config = url.parse().expect("a URL");
        let port = driver.get_ports()[0];
        let proxy = Self::to(port).await;
        let through = url.replace(&format!(":{port}/"), &format!(":{}/", proxy.port()));
        (proxy, through)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on the line has this fault.
    pub(crate) fn set(&self, fault: Fault) {
        self.line.then.send_replace(None);
        self.line.fault.send_replace(fault);
    }

    /// The line has this fault until it strikes, and `then` another.
    pub(crate) fn set_once(&self, fault: Fault, then: Fault) {
        self.line.then.send_replace(Some(then));
        self.line.fault.send_replace(fault);
    }

    /// Lets a stalled line go on.
    pub(crate) fn go_on(&self) {
        self.line.fault.send_if_modified(|fault| {
            let is_stalled = *fault == Fault::Stall;
            if is_stalled {
                *fault = Fault::None;
            }
            is_stalled
        });
    }

    /// From now on nothing passes on the connections there are, and neither end is told; new ones are
    /// sound. So does a router that forgets what was idle.
    pub(crate) fn strand(&self) {
        self.line.strandings.fetch_add(1, Ordering::SeqCst);
    }

    /// Closes the stranded connections, as the keepalives of both ends would in the end.
    pub(crate) fn close_stranded(&self) {
        let strandings = self.line.strandings.load(Ordering::SeqCst);
        self.line.closed.send_replace(strandings);
    }

    /// How many tasks the line has: one that listens, and one for each connection, also a stranded one.
    pub(crate) fn tasks(&self) -> usize {
        self.line.tasks.len()
    }

    /// How many round trips there were so far on all connections. What is sent without waiting for the reply to what was
    /// sent before counts once; for that, the line must have a delay.
    pub(crate) fn round_trips(&self) -> usize {
        self.line.round_trips.load(Ordering::SeqCst)
    }

    /// How often a fault at a point or after so many bytes has struck so far.
    pub(crate) fn struck(&self) -> usize {
        self.line.struck.load(Ordering::SeqCst)
    }
}

impl Line {
    fn now(&self) -> Fault {
        *self.fault.borrow()
    }

    /// The fault strikes, and turns into what comes after it.
    fn strike(&self) {
        self.struck.fetch_add(1, Ordering::SeqCst);
        if let Some(then) = self.then.send_replace(None) {
            self.fault.send_replace(then);
        }
    }

    /// The stall strikes; it lasts until the test sets another fault.
    fn stall(&self) {
        self.then.send_replace(Some(Fault::Stall));
        self.strike();
    }

    /// Waits until connections are to be cut.
    async fn refused(&self) {
        let mut fault = self.fault.subscribe();
        let cuts = |fault: &Fault| matches!(fault, Fault::Refuse | Fault::Reset);
        drop(fault.wait_for(cuts).await);
    }

    /// Waits until connections made after so many strandings are closed as stranded ones.
    async fn closed(&self, strandings: usize) {
        let mut closed = self.closed.subscribe();
        drop(closed.wait_for(|closed| *closed > strandings).await);
    }

    /// Waits while a piece of this length may not pass on a connection made after so many strandings.
    async fn passable(&self, strandings: usize, length: usize) {
        if self.strandings.load(Ordering::SeqCst) > strandings {
            std::future::pending::<()>().await;
        }
        let mut fault = self.fault.subscribe();
        drop(fault.wait_for(|fault| *fault != Fault::Stall).await);
        match self.now() {
            Fault::Delay(delay) => tokio::time::sleep(delay).await,
            Fault::Limit(bytes_per_second) => {
                let bytes = u32::try_from(length).expect("a piece is small");
                tokio::time::sleep(Duration::from_secs(1) * bytes / bytes_per_second).await;
            }
            Fault::None
            | Fault::Refuse
            | Fault::Stall
            | Fault::Reset
            | Fault::CutRequest(_)
            | Fault::CutReply(_)
            | Fault::StallReply(_)
            | Fault::CutBefore(_)
            | Fault::LoseReply(_)
            | Fault::StallAt(_)
            | Fault::LateEnd => {}
        }
    }
}

async fn accept(listener: TcpListener, port: u16, line: Line) {
    while let Ok((client, _)) = listener.accept().await {
        line.tasks.spawn(serve(client, port, line.clone()));
    }
}

/// One connection; both ends are closed when it is over.
async fn serve(client: TcpStream, port: u16, line: Line) {
    let fault = line.now();
    if fault == Fault::Reset {
        client.set_zero_linger().expect("a socket option");
    }
    if matches!(fault, Fault::Refuse | Fault::Reset) {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    for end in [&client, &server] {
        end.set_nodelay(true).expect("a socket option");
    }
    let (mut client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    let said = Said {
        lose_reply: AtomicBool::new(false),
        has_replied: AtomicBool::new(true),
    };
    let strandings = line.strandings.load(Ordering::SeqCst);
    tokio::select! {
        () = ask(&mut client_reads, server_writes, &line, &said) => {}
        () = reply(server_reads, client_writes, &line, &said) => {}
        () = line.refused() => {}
        () = line.closed(strandings) => {}
    }
    if line.now() == Fault::LateEnd {
        tokio::time::sleep(LATE).await;
    }
    if line.now() == Fault::Reset {
        let client: &TcpStream = client_reads.as_ref();
        client.set_zero_linger().expect("a socket option");
    }
}

/// So much later [`Fault::LateEnd`] ends a connection.
const LATE: Duration = Duration::from_millis(300);

/// How much of what was sent is looked back at: a text may be split between two pieces.
const LOOK_BACK: usize = 100;

/// The kinds of messages for whose answer no client waits: those that end the connection or close a statement.
const UNANSWERED: [u8; 2] = [b'X', b'C'];

/// What the two directions of a connection know of each other.
struct Said {
    /// Whether the next reply of the server is to be lost.
    lose_reply: AtomicBool,
    /// Whether the server has replied to what the client sent last.
    has_replied: AtomicBool,
}

/// Relays what the client sends. Ends when the connection is to be cut.
async fn ask(from: &mut OwnedReadHalf, mut to: OwnedWriteHalf, line: &Line, said: &Said) {
    let mut piece = vec![0; 64 * 1024];
    let mut progress = PointProgress::default();
    let mut sent = 0;
    let strandings = line.strandings.load(Ordering::SeqCst);
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        sent += length;
        if !UNANSWERED.contains(&piece[0]) && said.has_replied.swap(false, Ordering::SeqCst) {
            line.round_trips.fetch_add(1, Ordering::SeqCst);
        }
        let fault = line.now();
        if matches!(fault, Fault::CutRequest(most) if sent > most) {
            return line.strike();
        }
        let point = fault.point();
        if point.is_some_and(|point| progress.reaches(point, &piece[..length])) {
            if matches!(fault, Fault::CutBefore(_)) {
                return line.strike();
            }
            if matches!(fault, Fault::StallAt(_)) {
                line.stall();
            }
            said.lose_reply
                .store(matches!(fault, Fault::LoseReply(_)), Ordering::SeqCst);
        }
        line.passable(strandings, length).await;
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

/// What a client has said so far, as far as a named point needs it.
#[derive(Default)]
struct PointProgress {
    /// How many texts of the point were seen.
    texts: usize,
    /// The end of what was sent: a text may be split between two pieces.
    tail: Vec<u8>,
}

impl PointProgress {
    /// Whether the last text of the point has come; it is looked for anew then.
    fn reaches(&mut self, point: &[&str], piece: &[u8]) -> bool {
        self.tail.extend_from_slice(piece);
        while self.texts < point.len() && contains(&self.tail, point[self.texts]) {
            self.texts += 1;
        }
        self.tail.drain(..self.tail.len().saturating_sub(LOOK_BACK));
        let reached = self.texts == point.len();
        if reached {
            *self = Self::default();
        }
        reached
    }
}

/// Relays what the server sends. Ends when the connection is to be cut.
async fn reply(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: &Line, said: &Said) {
    let mut piece = vec![0; 64 * 1024];
    let mut sent = 0;
    let strandings = line.strandings.load(Ordering::SeqCst);
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if said.lose_reply.load(Ordering::SeqCst) {
            return line.strike();
        }
        sent += length;
        let fault = line.now();
        if matches!(fault, Fault::CutReply(most) if sent > most) {
            return line.strike();
        }
        if matches!(fault, Fault::StallReply(most) if sent > most) {
            line.stall();
        }
        line.passable(strandings, length).await;
        said.has_replied.store(true, Ordering::SeqCst);
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
