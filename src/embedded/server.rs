//! Starts, stops and restarts one Postgres server.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

use super::server_account::{ServerAccount, last_lines};
use super::server_directory::{self, DataDirectory};
use super::{EmbeddedError, FileErrorContext, PostgresBinaries, blocking};

/// How long to wait between two checks whether a server has started or stopped.
const POLL: Duration = Duration::from_millis(5);
/// How long a server may take to become ready. Even with crash recovery, the demo's server takes only seconds.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long an immediate shutdown may take. After 5 s, Postgres itself kills the processes that are left.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How many random ports to try. Another process may take a port after it was found free.
const PORT_TRIES: usize = 20;
/// The lowest of the `PORTS` ports that a server can get. All of them are below the ports that operating systems choose
/// for outgoing connections. Otherwise, a client that keeps trying to reach a stopped server could itself be given the
/// server's port.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;

/// Postgres settings of every server.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "dynamic_shared_memory_type=mmap",
    "max_connections=200",
    "shared_buffers=32MB",
    "jit=off",
    "logging_collector=off",
];
/// More Postgres settings, which make temporary servers faster. Their data need not survive a crash of the machine.
/// `synchronous_commit` stays on, because committed data must survive a crash of the server, which tests cause on
/// purpose.
const UNSAFE_FAST_SETTINGS: [&str; 3] = ["fsync=off", "full_page_writes=off", "max_wal_size=256MB"];

/// How to start a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The server's name in the process list and in errors, such as `remote`.
    pub name: &'static str,
    /// Where the server keeps its data.
    pub data: DataDirectory,
    /// Further Postgres settings as `name=value`. They override the settings of this module.
    pub settings: Vec<String>,
}

/// A running server. Dropping this value stops the server in the background; [`Server::stop`] also waits until it has
/// stopped. The server does not depend on an async runtime, so tests that each have their own runtime can share one
/// server.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    home: PathBuf,
    port: u16,
    supervisor: Child,
    /// The pipe to the supervisor, the shell that runs the server. When this end closes, the supervisor stops the
    /// server.
    pipe: ChildStdin,
}

impl Server {
    /// Starts a server and waits until it accepts connections.
    ///
    /// Returns an error if another server uses the data, if the data is of another major version of Postgres, or if the
    /// server does not become ready within 30 s. The error of a server that was started holds the end of its log.
    pub async fn start(
        binaries: &PostgresBinaries,
        options: ServerOptions,
    ) -> Result<Self, EmbeddedError> {
        let theirs = (binaries.clone(), options.data.clone());
        let (account, home, log) = blocking(move || {
            let account = ServerAccount::current()?;
            let (home, log) = server_directory::prepare(&account, &theirs.0, &theirs.1)?;
            Ok((account, home, log))
        })
        .await?;
        let mut server = Self::supervised(&account, binaries, &options, home, &log)?;
        // From here on, only the supervisor and the server hold the lock on the log.
        drop(log);
        let remembered = server_directory::read(&server.home, "port").parse().ok();
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

    /// Returns the URL of one of the server's databases, with the password if there is one.
    pub fn url(&self, database: &str) -> String {
        let login = match server_directory::read(&self.home, server_directory::PASSWORD) {
            none if none.is_empty() => "postgres".to_owned(),
            password => format!("postgres:{password}"),
        };
        format!("postgres://{login}@127.0.0.1:{}/{database}", self.port)
    }

    /// The loopback port that the server listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's directory. It contains the directory `data`, Postgres's data directory, and the file `log`, the
    /// server's log.
    pub fn directory(&self) -> &Path {
        &self.home
    }

    /// Returns the process id of the postmaster, the server's first process; `None` if it has exited.
    pub fn pid(&self) -> Option<u32> {
        if self.has_exited() {
            return None;
        }
        server_directory::read(&self.home, "pid").parse().ok()
    }

    /// Stops the server and waits until it has stopped. A server with persistent data shuts down with a checkpoint;
    /// one with temporary data stops immediately, and its data is removed.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        let Self {
            mut supervisor,
            pipe,
            home,
            ..
        } = self;
        drop(pipe);
        blocking(move || supervisor.wait().map(drop).of_file(home)).await
    }

    /// Stops the server without a checkpoint, as in a crash, and keeps its files for [`Server::restart`].
    pub async fn stop_immediately(&mut self) -> Result<(), EmbeddedError> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        // A suspended server must be continued to receive the first signal.
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

    /// Starts the server again on the same port. If it is still running, first stops it with
    /// [`Server::stop_immediately`].
    pub async fn restart(&mut self) -> Result<(), EmbeddedError> {
        if !self.has_exited() {
            self.stop_immediately().await?;
        }
        self.launch().await
    }

    fn supervised(
        account: &ServerAccount,
        binaries: &PostgresBinaries,
        options: &ServerOptions,
        home: PathBuf,
        log: &File,
    ) -> Result<Self, EmbeddedError> {
        let (stop_signal, after, hasty) = match &options.data {
            DataDirectory::Temporary => ("QUIT", "remove", &UNSAFE_FAST_SETTINGS[..]),
            DataDirectory::Persistent(_) => ("INT", "keep", &[][..]),
        };
        let mut command = account.command("/bin/sh");
        // The script is passed in an environment variable, so that the process list stays readable.
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
        // The supervisor gets a process group of its own, so that Ctrl-C in a terminal reaches only this process, which
        // decides what to stop.
        command.process_group(0).stdin(Stdio::piped());
        let output = || log.try_clone().of_file(home.join("log"));
        command.stdout(output()?).stderr(output()?);
        let mut supervisor = command.spawn().of_file("/bin/sh")?;
        let pipe = supervisor.stdin.take();
        let pipe =
            pipe.ok_or_else(|| EmbeddedError::file(&home, std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self {
            name: options.name,
            home,
            port: 0,
            supervisor,
            pipe,
        })
    }

    /// Makes the supervisor (the shell that runs the server) start the server on `self.port`, and waits until the
    /// server accepts connections. Error if the server exits, or is not ready after 30 s.
    async fn launch(&mut self) -> Result<(), EmbeddedError> {
        for stale in ["pid", "exited"] {
            server_directory::remove(&self.home, stale)?;
        }
        writeln!(self.pipe, "{}", self.port).of_file(&self.home)?;
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

    /// Whether the server accepts connections, by its file `postmaster.pid`. The first line of that file is the process
    /// id, which differs if a crash left an old file behind. The eighth line is the state of the server.
    fn is_ready(&self) -> bool {
        let pid = server_directory::read(&self.home, "pid");
        let status = server_directory::read(&self.home, "data/postmaster.pid");
        let mut lines = status.lines();
        !pid.is_empty()
            && lines.next() == Some(&pid)
            && lines.nth(6).map(str::trim) == Some("ready")
    }

    fn has_exited(&self) -> bool {
        self.home.join("exited").exists()
    }

    fn failure(&self, what: &str) -> EmbeddedError {
        let log = last_lines(&server_directory::read(&self.home, "log"), 20);
        EmbeddedError::Server {
            name: self.name,
            what: what.to_owned(),
            log,
        }
    }
}

/// Returns ports to try, chosen at random.
fn some_ports() -> impl Iterator<Item = u16> {
    (0..PORT_TRIES).map(|_| {
        let random = RandomState::new().hash_one(0) % u64::from(PORTS);
        FIRST_PORT + u16::try_from(random).unwrap_or_default()
    })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
