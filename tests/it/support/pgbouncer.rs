//! A real `PgBouncer` in transaction mode in front of both databases of a site.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use meter_sync::config::CommandLineSettings;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_postgres::Client;

use super::debian_packages;
use super::postgres::connect;
use super::site::{Site, settings};
use super::wait;

/// Server connections for each of the two databases.
pub(crate) const POOL_SIZE: usize = 3;

/// Its settings, in a directory of its own.
const FILE: &str = "pgbouncer.ini";

/// A pooler; it is killed when dropped.
pub(crate) struct PgBouncer {
    pub(crate) remote_url: String,
    pub(crate) local_url: String,
    pub(crate) port: u16,
    child: Child,
    directory: TempDir,
}

impl PgBouncer {
    /// A pooler in front of both databases, once it takes connections.
    pub(crate) async fn before(site: &Site) -> Self {
        Self::between([&site.pair.remote_url, &site.pair.local_url], "").await
    }

    /// The same in front of these URLs, the remote's first, with more settings.
    pub(crate) async fn between([remote, local]: [&str; 2], more: &str) -> Self {
        let port = free_port().await;
        let directory = tempfile::tempdir().expect("a directory");
        let text = format!(
            "[databases]\nremote = {}\nlocal = {}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = {POOL_SIZE}\n{more}\n",
            target(remote),
            target(local),
        );
        std::fs::write(directory.path().join(FILE), text).expect("write its settings");
        let child = start(&directory, port).await;
        let url = |name| format!("postgres://postgres@127.0.0.1:{port}/{name}?sslmode=disable");
        Self {
            remote_url: url("remote"),
            local_url: url("local"),
            port,
            child,
            directory,
        }
    }

    /// Kills it, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("kill -9");
    }

    /// Starts it again after [`Self::kill`].
    pub(crate) async fn restart(&mut self) {
        self.child = start(&self.directory, self.port).await;
    }

    /// The settings of a site whose two sides are behind it.
    pub(crate) fn settings(&self) -> CommandLineSettings {
        settings(&self.remote_url, &self.local_url)
    }
}

/// One client for each server connection of a pool, all in a transaction at the same time: together
/// they hold every server connection that the pool has.
pub(crate) async fn whole_pool(url: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..POOL_SIZE {
        let client = connect(url).await;
        client.batch_execute("begin").await.expect("a transaction");
        clients.push(client);
    }
    clients
}

/// Starts it with the settings in this directory; it takes connections then.
async fn start(directory: &TempDir, port: u16) -> Child {
    let found = debian_packages::found("pgbouncer", program);
    let mut command = Command::new(&found.file);
    if let Some(libraries) = found.library_path() {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    // it refuses to run as root
    if rustix::process::geteuid().is_root() {
        command.args(["-u", "postgres"]);
    }
    command.arg(directory.path().join(FILE)).current_dir("/");
    command.kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    let child = command.spawn().expect("start PgBouncer");
    let listens = async || TcpStream::connect(("127.0.0.1", port)).await.is_ok();
    wait::until("PgBouncer listens", listens).await;
    child
}

fn program(root: &Path) -> Option<PathBuf> {
    let program = root.join("usr/sbin/pgbouncer");
    program.is_file().then_some(program)
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// The server and database of a URL as `PgBouncer` names them.
fn target(url: &str) -> String {
    let driver: tokio_postgres::Config = url.parse().expect("a URL");
    let database = driver.get_dbname().expect("a database");
    let port = driver.get_ports()[0];
    let user = driver.get_user().expect("a role");
    format!("host=127.0.0.1 port={port} dbname={database} user={user}")
}
