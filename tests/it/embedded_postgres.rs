//! The launcher of embedded Postgres servers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meter_sync::embedded::{DataDirectory, EmbeddedError, PostgresBinaries, Server, ServerOptions};

use crate::support::postgres::{
    binaries, connect, freeze, pair, postgres_18, resume, start_pair, start_server,
};
use crate::support::process_resources::processes_in;

/// Set for the process that a test starts to kill it.
const HOLD: &str = "METER_SYNC_TEST_HOLD";

#[tokio::test]
async fn a_pair_of_servers_answers_on_two_ports() {
    let (remote, local) = start_pair().await;
    assert_ne!(remote.port(), local.port());
    assert_eq!(select_one(&remote).await, 1);
    assert_eq!(select_one(&local).await, 1);
}

#[tokio::test]
async fn each_test_gets_empty_databases_of_its_own() {
    let (one, other) = tokio::join!(pair(), pair());
    for url in [&one.remote_url, &one.local_url] {
        let create = "create table meter (id bigint primary key)";
        connect(url).await.batch_execute(create).await.unwrap();
    }
    for url in [&other.remote_url, &other.local_url] {
        let count = "select count(*) from pg_tables where tablename = 'meter'";
        let row = connect(url).await.query_one(count, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0);
    }
}

#[tokio::test]
async fn a_stopped_server_leaves_nothing() {
    let server = start_server(&binaries().await, "stopped").await;
    let directory = server.directory().to_owned();
    assert!(directory.exists());
    server.stop().await.unwrap();
    assert!(!directory.exists());
    assert_eq!(processes_in(&directory), Vec::<String>::new());
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_even_when_it_was_frozen() {
    let server = start_server(&binaries().await, "frozen").await;
    let directory = server.directory().to_owned();
    let _idle = connect(&server.url("postgres")).await;
    freeze(&server);
    drop(server);
    wait_until_gone(&directory).await;
}

#[tokio::test]
async fn a_process_killed_by_force_leaves_nothing() {
    if std::env::var_os(HOLD).is_some() {
        return hold_a_pair().await;
    }
    let test = "embedded_postgres::a_process_killed_by_force_leaves_nothing";
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let directories: Vec<PathBuf> = lines
        .filter_map(|line| Some(PathBuf::from(line.unwrap().split_once("holds ")?.1)))
        .take(2)
        .collect();
    assert!(
        directories
            .iter()
            .all(|directory| !processes_in(directory).is_empty())
    );

    holder.kill().unwrap();
    holder.wait().unwrap();

    for directory in directories {
        wait_until_gone(&directory).await;
    }
}

#[tokio::test]
async fn what_a_killed_supervisor_left_is_swept_and_what_lives_is_not() {
    let binaries = binaries().await;
    let living = start_server(&binaries, "living").await;
    let left = living
        .directory()
        .with_file_name(format!("server-left-{}", living.port()));
    fs::create_dir_all(left.join("data")).unwrap();
    fs::write(left.join("made-by-meter-sync"), "").unwrap();
    let foreign = left.with_file_name(format!("server-foreign-{}", living.port()));
    fs::create_dir_all(&foreign).unwrap();
    let _next = start_server(&binaries, "next").await;
    assert!(!left.exists());
    fs::remove_dir(&foreign).expect("it is there, and nothing is in it");
    assert_eq!(select_one(&living).await, 1);
}

#[tokio::test]
async fn a_crashed_server_comes_back_on_its_port_with_what_was_committed() {
    let mut server = start_server(&binaries().await, "crashing").await;
    let (url, port) = (server.url("postgres"), server.port());
    let create = "create table kept as select 1 as one";
    connect(&url).await.batch_execute(create).await.unwrap();
    server.stop_immediately().await.unwrap();
    assert_eq!(server.pid(), None);
    assert!(
        tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .is_err()
    );
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    let row = connect(&url)
        .await
        .query_one("select one from kept", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
}

#[tokio::test]
async fn a_frozen_server_answers_again_once_resumed() {
    let server = start_server(&binaries().await, "frozen").await;
    let client = connect(&server.url("postgres")).await;
    freeze(&server);
    let answer = client.query_one("select 1", &[]);
    tokio::pin!(answer);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut answer).await;
    assert!(early.is_err());
    resume(&server);
    assert_eq!(answer.await.unwrap().get::<_, i32>(0), 1);
}

#[tokio::test]
async fn persistent_data_and_its_url_survive_a_restart_and_ask_for_the_password() {
    let place = PersistentDirectory::new();
    let binaries = binaries().await;
    let server = Server::start(&binaries, place.options()).await.unwrap();
    let url = server.url("postgres");
    let create = "create table kept as select 1 as one";
    connect(&url).await.batch_execute(create).await.unwrap();
    server.stop().await.unwrap();

    let server = Server::start(&binaries, place.options()).await.unwrap();
    assert_eq!(server.url("postgres"), url);
    let row = connect(&url)
        .await
        .query_one("select one from kept", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
    let (_, address) = url.split_once('@').unwrap();
    let guess = format!("postgres://postgres:guess@{address}");
    let refused = tokio_postgres::connect(&guess, tokio_postgres::NoTls)
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code().unwrap().code(), "28P01");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn persistent_data_waits_for_the_server_of_a_dropped_handle() {
    let place = PersistentDirectory::new();
    let binaries = binaries().await;
    drop(Server::start(&binaries, place.options()).await.unwrap());
    let server = Server::start(&binaries, place.options()).await.unwrap();
    assert_eq!(select_one(&server).await, 1);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn persistent_data_cannot_be_used_twice_at_once() {
    let place = PersistentDirectory::new();
    let binaries = binaries().await;
    let server = Server::start(&binaries, place.options()).await.unwrap();
    let second = Server::start(&binaries, place.options()).await;
    assert!(
        matches!(second, Err(EmbeddedError::InUse { .. })),
        "{second:?}"
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn erased_data_starts_empty() {
    let place = PersistentDirectory::new();
    let options = place.options();
    let binaries = binaries().await;
    let server = Server::start(&binaries, options.clone()).await.unwrap();
    let (url, create) = (server.url("postgres"), "create table kept (one int)");
    connect(&url).await.batch_execute(create).await.unwrap();
    server.stop().await.unwrap();

    options.data.erase().await.unwrap();

    let server = Server::start(&binaries, options).await.unwrap();
    let client = connect(&server.url("postgres")).await;
    client.batch_execute(create).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_setting_the_server_refuses_is_reported_with_its_log() {
    let options = ServerOptions {
        name: "refusing",
        data: DataDirectory::Temporary,
        settings: vec!["max_connections=many".to_owned()],
    };
    let error = Server::start(&binaries().await, options).await.unwrap_err();
    assert!(error.to_string().contains("max_connections"), "{error}");
}

#[tokio::test]
async fn a_directory_without_binaries_is_refused_by_name() {
    let empty = tempfile::tempdir().unwrap();
    let error = PostgresBinaries::find(Some(empty.path()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&empty.path().display().to_string()),
        "{error}"
    );
    assert!(error.contains("`initdb` and `postgres`"), "{error}");
}

#[tokio::test]
async fn servers_of_two_major_versions_run_side_by_side() {
    let wheel = postgres_18().await;
    assert_eq!(wheel.major(), 18);
    let installed = binaries().await;
    let (newer, other) = tokio::join!(
        start_server(&wheel, "newer"),
        start_server(&installed, "other")
    );
    assert_eq!(major(&newer).await, 18);
    assert_eq!(major(&other).await, installed.major());
}

/// What the killed process does: holds two servers until it is killed.
async fn hold_a_pair() {
    let (remote, local) = start_pair().await;
    for server in [&remote, &local] {
        // the test harness may have begun the line with the test's name
        println!("\nholds {}", server.directory().display());
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// A directory for persistent data, which the servers' account can reach.
struct PersistentDirectory(PathBuf);

impl PersistentDirectory {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap().keep();
        // tempdir is root's alone where the server runs as another user
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&parent, everyone).unwrap();
        Self(parent)
    }

    fn options(&self) -> ServerOptions {
        let data = DataDirectory::Persistent(self.0.join("server"));
        ServerOptions {
            name: "kept",
            data,
            settings: Vec::new(),
        }
    }
}

impl Drop for PersistentDirectory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

async fn select_one(server: &Server) -> i32 {
    let client = connect(&server.url("postgres")).await;
    client.query_one("select 1", &[]).await.unwrap().get(0)
}

async fn major(server: &Server) -> u32 {
    let client = connect(&server.url("postgres")).await;
    let row = client
        .query_one("show server_version_num", &[])
        .await
        .unwrap();
    row.get::<_, String>(0).parse::<u32>().unwrap() / 10_000
}

async fn wait_until_gone(directory: &Path) {
    let start = Instant::now();
    while directory.exists() || !processes_in(directory).is_empty() {
        let processes = processes_in(directory);
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{directory:?} {processes:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
