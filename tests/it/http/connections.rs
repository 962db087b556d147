//! What clients can do that connect in great number, say nothing, say it slowly, or do not read.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use meter_sync::config::Setting;
use serde_json::json;
use tokio::process::Command;

use crate::support::program::{self, MoreSettings, RunningProgram};
use crate::support::site::{Site, rows};
use crate::support::test_size::size;
use crate::support::wait;

/// So many files the program may have open, and so many clients come.
const FILES: u32 = 128;
const CLIENTS: u32 = 150;
/// So many connections come and go for each unit of `TEST_SIZE`: 10,000 in the gate.
const CONNECTIONS: u64 = 2500;
/// A health check gives up after it.
const HEALTH: Duration = Duration::from_secs(1);
/// So many checks in a row must fail before an orchestrator restarts the program (`failureThreshold` of Kubernetes).
const CHECKS: u32 = 3;

/// The program as a process that may open few files.
async fn serve(site: &Site, more: MoreSettings<'_>) -> (RunningProgram, String) {
    let served = program::over(site, &["serve"], more);
    let served = served.as_std();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {FILES} && exec \"$0\" serve")])
        .arg(served.get_program())
        .env_clear()
        .envs(
            served
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .kill_on_drop(true);
    RunningProgram::serve(command).await
}

/// Asks as an orchestrator does: a few times if an answer comes too late, as it may while other tests use all cores.
fn assert_healthy(address: &str) {
    let found: Vec<_> = (0..CHECKS)
        .map(|_| check(address))
        .take_while(Result::is_err)
        .collect();
    assert!(found.len() < CHECKS as usize, "{found:?}");
}

/// One check over a connection of its own.
fn check(address: &str) -> Result<(), String> {
    let begun = Instant::now();
    let mut client = TcpStream::connect(address).expect("a connection");
    client.set_read_timeout(Some(HEALTH)).expect("a limit");
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    let read = client.read_to_string(&mut answer);
    read.map_err(|error| format!("{error} after {:?}", begun.elapsed()))?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    match begun.elapsed() < HEALTH {
        true => Ok(()),
        false => Err(format!("it took {:?}", begun.elapsed())),
    }
}

/// What clients send that wait for ever, or have the server wait.
fn half_sent(address: &str) -> [(&'static str, String); 5] {
    let host = format!("Host: {address}\r\n");
    let status = format!("GET /api/v1/openapi.json HTTP/1.1\r\n{host}\r\n");
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000";
    let json = "Content-Type: application/json\r\nContent-Length: 1000";
    [
        ("nothing", String::new()),
        ("half a head", format!("GET /livez HTTP/1.1\r\n{host}")),
        (
            "half a form",
            format!(
                "POST /sign-in HTTP/1.1\r\n{host}Origin: http://{address}\r\n{form}\r\n\r\ntok"
            ),
        ),
        (
            "half a message",
            format!("POST /mcp HTTP/1.1\r\n{host}{json}\r\n\r\n{{"),
        ),
        (
            "requests whose answers it does not read",
            status.repeat(100),
        ),
    ]
}

#[tokio::test]
async fn health_is_answered_whatever_other_clients_leave_unsaid_or_unread() {
    let site = Site::new().await;
    let (_program, address) = serve(&site, &[]).await;
    for (what, said) in half_sent(&address) {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = TcpStream::connect(&address).expect("a connection");
            client.set_nonblocking(true).expect("set it");
            let sent = client.write(said.as_bytes()).map_err(|error| error.kind());
            assert!(
                sent.is_ok() || sent == Err(ErrorKind::WouldBlock),
                "{what}: {sent:?}"
            );
            clients.push(client);
        }
        for _ in 0..3 {
            assert_healthy(&address);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        drop(clients);
    }
}

#[tokio::test]
async fn health_is_answered_while_connections_come_and_go_by_the_thousand() {
    let site = Site::new().await;
    let (_program, address) = serve(&site, &[]).await;
    for n in 0..CONNECTIONS * size() {
        drop(TcpStream::connect(&address).expect("a connection"));
        if n % 1000 == 0 {
            assert_healthy(&address);
        }
    }
    assert_healthy(&address);
}

/// Each of them is an answer that goes on: none of these connections waits for its client.
#[tokio::test]
async fn health_is_answered_while_streams_have_all_other_connections() {
    let site = Site::new().await;
    let (_program, address) = serve(&site, &[]).await;
    let open = |_| {
        let mut client = TcpStream::connect(&address).expect("a connection");
        let request = format!("GET /sse HTTP/1.1\r\nHost: {address}\r\n\r\n");
        client.write_all(request.as_bytes()).expect("it is sent");
        let mut begun = [0; 12];
        client.read_exact(&mut begun).expect("an answer");
        (client, String::from_utf8(begun.to_vec()).expect("ASCII"))
    };
    let streams: Vec<_> = (0..CLIENTS).map(open).collect();
    let count = |status: &str| {
        streams
            .iter()
            .filter(|(_, begun)| begun.ends_with(status))
            .count()
    };
    assert!(count("200") > 20, "{streams:?}");
    assert_eq!(count("200") + count("503"), streams.len());
    for _ in 0..20 {
        assert_healthy(&address);
    }
}

/// A client that takes its time is served, if it is done in time.
#[tokio::test]
async fn a_body_may_come_slowly_and_not_without_end() {
    let site = Site::new().await;
    let (_program, address) = serve(&site, &[]).await;
    let mut client = TcpStream::connect(&address).expect("a connection");
    let body = r#"{"dry_run": true}"#;
    let head = format!(
        "POST /api/v1/sync HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).expect("it is sent");
    for byte in body.bytes() {
        client.write_all(&[byte]).expect("it is sent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut begun = [0; 12];
    client.read_exact(&mut begun).expect("an answer");
    assert_eq!(&begun, b"HTTP/1.1 202");
    let long = "x".repeat(20_000);
    let mut client = TcpStream::connect(&address).expect("a connection");
    let head = format!(
        "POST /api/v1/sync HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n{long}"
    );
    client.write_all(head.as_bytes()).expect("it is sent");
    client.read_exact(&mut begun).expect("an answer");
    assert_eq!(&begun, b"HTTP/1.1 413");
}

#[tokio::test]
async fn clients_that_say_nothing_leave_the_databases_theirs() {
    let site = Site::new().await;
    site.sync().await;
    let every_second = [(Setting::Schedule, "* * * * * *"), (Setting::Jitter, "0s")];
    let (program, address) = serve(&site, &every_second).await;
    let silent = (0..CLIENTS).map(|_| {
        let mut client = TcpStream::connect(&address).expect("a connection");
        client
            .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
            .expect("half a head");
        client
    });
    let silent: Vec<TcpStream> = silent.collect();
    let since = meter_sync::machine_clock::now().to_rfc3339();
    let later = format!(
        "select outcome from meter_sync.meter_sync_log where started_at > '{since}' and outcome is not null"
    );
    let went_on = async || {
        let outcomes = rows(&site.local, &later).await;
        outcomes
            .as_array()
            .is_some_and(|outcomes| outcomes.len() >= 3)
    };
    wait::until("three slots have had their runs", went_on).await;
    let failed = format!("{later} and outcome <> 'no_change'");
    assert_eq!(
        rows(&site.local, &failed).await,
        json!([]),
        "{}",
        program.stderr()
    );
    drop(silent);
}
