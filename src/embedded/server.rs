//! One running Postgres server, and its files.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use etcetera::BaseStrategy;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

use super::account::{Account, last_lines};
use super::{Binaries, EmbeddedError, blocking, files};

/// How often a server's state is looked at while it changes.
const POLL: Duration = Duration::from_millis(5);
/// A server that is not ready by then never will be: recovery of demo data takes seconds at most.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Postgres itself kills what is left of an immediate stop after 5 s.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Other processes look for free ports at the same moment.
const PORT_TRIES: usize = 20;
/// Below what systems hand out to outgoing connections, so that a client that asks for a stopped
/// server again and again never gets that very port as its own.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;

/// Settings of every server.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "dynamic_shared_memory_type=mmap",
    "max_connections=200",
    "shared_buffers=32MB",
    "jit=off",
    "logging_collector=off",
];
/// Settings of throw-away servers, which need not survive a crash of the machine. `synchronous_commit`
/// stays on: what was committed must survive a crash of the server, which the fault tests cause.
const HASTY: [&str; 3] = ["fsync=off", "full_page_writes=off", "max_wal_size=256MB"];

/// Where a server's data is, and with it how carefully it is kept.
#[derive(Clone, Debug)]
pub enum Data {
    /// In memory where there is room, gone when the server is, not safe from a power cut, and open
    /// without a password to whoever can reach the loopback port.
    Temporary,
    /// In this directory, made when it is not there, for the next start to find; behind a password.
    Persistent(PathBuf),
}

impl Data {
    /// Persistent data where this user's programs keep theirs (root: where the machine's do, since
    /// the account that stands in for root cannot enter root's home).
    pub fn kept(name: &str) -> Result<Self, EmbeddedError> {
        let parent = if rustix::process::geteuid().is_root() {
            PathBuf::from("/var/lib")
        } else {
            let base = etcetera::choose_base_strategy();
            let base = base.map_err(|error| EmbeddedError::Account {
                reason: error.to_string(),
            })?;
            base.data_dir()
        };
        Ok(Self::Persistent(parent.join("meter-sync").join(name)))
    }

    /// Refuses data that this program has not made.
    pub fn refuse_foreign(&self) -> Result<(), EmbeddedError> {
        match self {
            Self::Temporary => Ok(()),
            Self::Persistent(home) => files::refuse_foreign(home),
        }
    }

    /// Removes persistent data that this program has made, for a fresh start; an error when a server runs on it.
    pub async fn erase(&self) -> Result<(), EmbeddedError> {
        match self.clone() {
            Self::Temporary => Ok(()),
            Self::Persistent(home) => blocking(move || files::erase(&home)).await,
        }
    }
}

/// What server to start.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Shown in the process list and in errors, such as `remote`.
    pub name: &'static str,
    /// Where its data is.
    pub data: Data,
    /// Further settings as `name=value`, which override ours.
    pub settings: Vec<String>,
}

/// A running server. Dropping it stops it soon; [`Server::stop`] waits for that. Needs no runtime
/// to stay alive, so one may be shared by tests that each have their own.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    home: PathBuf,
    port: u16,
    supervisor: Child,
    /// Whoever holds its other end stops the server when this closes.
    pipe: ChildStdin,
}

impl Server {
    /// Starts a server and waits until it takes connections.
    ///
    /// # Errors
    ///
    /// When the data is in use, of another major version, or the server does not come up within
    /// 30 s; the error then holds the end of the server's log.
    pub async fn start(binaries: &Binaries, options: ServerOptions) -> Result<Self, EmbeddedError> {
        let theirs = (binaries.clone(), options.data.clone());
        let (account, home, log) = blocking(move || {
            let account = Account::current()?;
            let (home, log) = files::prepare(&account, &theirs.0, &theirs.1)?;
            Ok((account, home, log))
        })
        .await?;
        let mut server = Self::supervised(&account, binaries, &options, home, &log)?;
        // from here on only the supervisor and the server hold the lock on the log
        drop(log);
        let remembered = files::read(&server.home, "port").parse().ok();
        let ports = remembered.into_iter().chain(some_ports());
        for port in ports.filter(|port| is_free(*port)) {
            server.port = port;
            match server.launch().await {
                Err(_) if !is_free(port) && server.has_exited() => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
        Err(server.failure("found no free port"))
    }

    /// The URL of one of its databases, with the password where there is one.
    pub fn url(&self, database: &str) -> String {
        let login = match files::read(&self.home, files::PASSWORD) {
            none if none.is_empty() => "postgres".to_owned(),
            password => format!("postgres:{password}"),
        };
        format!("postgres://{login}@127.0.0.1:{}/{database}", self.port)
    }

    /// The loopback port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory: `data` is Postgres's own, `log` its log.
    pub fn directory(&self) -> &Path {
        &self.home
    }

    /// The process id of the server's first process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        if self.has_exited() {
            return None;
        }
        files::read(&self.home, "pid").parse().ok()
    }

    /// Stops the server cleanly and, when its data is temporary, removes it.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        let Self {
            mut supervisor,
            pipe,
            home,
            ..
        } = self;
        drop(pipe);
        blocking(move || {
            supervisor
                .wait()
                .map(drop)
                .map_err(EmbeddedError::file(home))
        })
        .await
    }

    /// Stops the server as a crash would, without a checkpoint, and keeps its files for
    /// [`Server::restart`].
    pub async fn stop_immediately(&mut self) -> Result<(), EmbeddedError> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        // a frozen server must run to hear of it
        for signal in [Signal::QUIT, Signal::CONT] {
            if pid.is_some_and(|pid| kill_process(pid, signal).is_err()) && !self.has_exited() {
                return Err(self.failure("could not be signalled"));
            }
        }
        let exited = async {
            while !self.has_exited() {
                sleep(POLL).await;
            }
        };
        match timeout(STOP_LIMIT, exited).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure("did not stop")),
        }
    }

    /// Starts a stopped server again, on the port it had.
    pub async fn restart(&mut self) -> Result<(), EmbeddedError> {
        if !self.has_exited() {
            self.stop_immediately().await?;
        }
        self.launch().await
    }

    fn supervised(
        account: &Account,
        binaries: &Binaries,
        options: &ServerOptions,
        home: PathBuf,
        log: &File,
    ) -> Result<Self, EmbeddedError> {
        let (stop_signal, after, hasty) = match &options.data {
            Data::Temporary => ("QUIT", "remove", &HASTY[..]),
            Data::Persistent(_) => ("INT", "keep", &[][..]),
        };
        let mut command = account.command("/bin/sh");
        // by way of a variable, so that the process list stays readable
        command.env("SUPERVISE", include_str!("supervise.sh"));
        command.args(["-c", "eval \"$SUPERVISE\"", "meter-sync-postgres"]);
        command.arg(&home).args([stop_signal, after]);
        command
            .arg(binaries.program("postgres"))
            .arg("-D")
            .arg(home.join("data"));
        let ours = SETTINGS.iter().chain(hasty).map(ToString::to_string);
        let named = [format!("cluster_name={}", options.name)];
        for setting in ours.chain(named).chain(options.settings.clone()) {
            command.arg("-c").arg(setting);
        }
        // a process group of its own: Ctrl-C in a terminal is for us, and we decide what stops
        command.process_group(0).stdin(Stdio::piped());
        let output = || {
            log.try_clone()
                .map_err(EmbeddedError::file(home.join("log")))
        };
        command.stdout(output()?).stderr(output()?);
        let mut supervisor = command.spawn().map_err(EmbeddedError::file("/bin/sh"))?;
        let pipe = supervisor.stdin.take();
        let pipe =
            pipe.ok_or_else(|| EmbeddedError::file(&home)(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self {
            name: options.name,
            home,
            port: 0,
            supervisor,
            pipe,
        })
    }

    /// Has the supervisor run the server, and waits until it takes connections.
    async fn launch(&mut self) -> Result<(), EmbeddedError> {
        for stale in ["pid", "exited"] {
            files::remove(&self.home, stale)?;
        }
        writeln!(self.pipe, "{}", self.port).map_err(EmbeddedError::file(&self.home))?;
        let settled = async {
            while !self.is_ready() && !self.has_exited() {
                sleep(POLL).await;
            }
        };
        match timeout(START_LIMIT, settled).await {
            Ok(()) if self.has_exited() => Err(self.failure("ended as it started")),
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure("did not become ready in 30 s")),
        }
    }

    /// Whether the server has written into its lock file that it takes connections. The first line
    /// is its process id (a crash leaves an old file behind), the eighth its state.
    fn is_ready(&self) -> bool {
        let pid = files::read(&self.home, "pid");
        let status = files::read(&self.home, "data/postmaster.pid");
        let mut lines = status.lines();
        !pid.is_empty()
            && lines.next() == Some(&pid)
            && lines.nth(6).map(str::trim) == Some("ready")
    }

    fn has_exited(&self) -> bool {
        self.home.join("exited").exists()
    }

    fn failure(&self, what: &str) -> EmbeddedError {
        let log = last_lines(&files::read(&self.home, "log"), 20);
        EmbeddedError::Server {
            name: self.name,
            what: what.to_owned(),
            log,
        }
    }
}

/// Ports to try, in an order of their own for each call.
fn some_ports() -> impl Iterator<Item = u16> {
    (0..PORT_TRIES).map(|_| {
        let random = RandomState::new().hash_one(0) % u64::from(PORTS);
        FIRST_PORT + u16::try_from(random).unwrap_or_default()
    })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
