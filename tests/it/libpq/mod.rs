//! Connection strings mean what they mean to psql: the same servers let both in, or neither.

use std::net::TcpListener;
use std::process::Command;

use meter_sync::config::{DatabaseEndpoint, Limits};
use meter_sync::db::{Database, DbError, Remote};
use meter_sync::embedded::PostgresBinaries;

use crate::support::postgres::{binaries, connect, freeze, resume, start_server};
use crate::support::standby::standby_of;
use crate::support::wait;

mod certificates;
mod check_of_several_servers;

/// What a client finds at the other end: the server's port, or why it is not there.
type FoundPort = Result<String, String>;

/// The port of the server that psql is let in by.
fn psql(binaries: &PostgresBinaries, text: &str) -> FoundPort {
    let output = Command::new(binaries.program("psql"))
        .args(["-XAtw", "-c", "select inet_server_port()", text])
        .env_clear()
        .output()
        .expect("run psql");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The port of the server that we are let in by.
async fn ours(text: &str) -> FoundPort {
    let endpoint =
        DatabaseEndpoint::parse(text, &Limits::default()).map_err(|error| error.to_string())?;
    let said = |error: DbError| error.failure().message;
    let database = Database::<Remote>::new(&endpoint, &Limits::default()).map_err(said)?;
    let mut connection = database.connect().await.map_err(said)?;
    let tx = connection.snapshot("test", &[]).await.map_err(said)?;
    let row = tx.query_one("select inet_server_port()", &[]).await;
    Ok(row.map_err(said)?.get::<_, i32>(0).to_string())
}

/// Both are let in by one server, or neither is let in.
async fn agree(binaries: &PostgresBinaries, text: &str) -> FoundPort {
    let (theirs, ours) = (psql(binaries, text), ours(text).await);
    println!("{text}\n  psql: {theirs:?}\n  ours: {ours:?}");
    assert_eq!(theirs.as_ref().ok(), ours.as_ref().ok(), "{text}");
    ours
}

fn at(ports: &[u16], more: &str) -> String {
    let hosts = vec!["127.0.0.1"; ports.len()].join(",");
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let ports = ports.join(",");
    format!("host={hosts} port={ports} user=postgres dbname=postgres sslmode=disable {more}")
}

#[tokio::test]
async fn a_server_is_looked_for_as_psql_looks_for_it() {
    let binaries = binaries().await;
    let (mut primary, reading) = tokio::join!(
        start_server(&binaries, "primary"),
        start_server(&binaries, "reading")
    );
    let standby = standby_of(&mut primary).await;
    let admin = connect(&reading.url("postgres")).await;
    let no_writes = "alter system set default_transaction_read_only = on";
    admin.batch_execute(no_writes).await.expect("set it");
    admin
        .batch_execute("select pg_reload_conf()")
        .await
        .expect("reload");
    let reads_only = async || {
        let shown = connect(&reading.url("postgres")).await;
        let row = shown.query_one("show transaction_read_only", &[]).await;
        row.expect("show it").get::<_, String>(0) == "on"
    };
    wait::until("the server takes no writes", reads_only).await;

    let ports = [standby.port(), reading.port(), primary.port()];
    for attrs in [
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ] {
        let more = format!("target_session_attrs={attrs}");
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let found = agree(&binaries, &at(&order.map(|at| ports[at]), &more)).await;
            assert!(found.is_ok(), "{attrs}: {found:?}");
        }
        agree(&binaries, &at(&ports[1..], &more)).await.ok();
    }
    let found = agree(&binaries, &at(&ports[1..], "target_session_attrs=standby")).await;
    let told = found.expect_err("there is no standby");
    for port in &ports[1..] {
        assert!(
            told.contains(&format!("127.0.0.1:{port}: it is not standby")),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_passed() {
    let binaries = binaries().await;
    let (silent, good) = tokio::join!(
        start_server(&binaries, "silent"),
        start_server(&binaries, "good")
    );
    freeze(&silent);
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let refusing = nobody.local_addr().expect("its address").port();
    drop(nobody);
    let text = at(&[silent.port(), refusing, good.port()], "connect_timeout=2");
    let found = agree(&binaries, &text).await;
    let alone = agree(
        &binaries,
        &at(&[silent.port(), refusing], "connect_timeout=2"),
    )
    .await;
    resume(&silent);
    assert_eq!(found, Ok(good.port().to_string()));
    let told = alone.expect_err("neither is there");
    let silent = format!("127.0.0.1:{}: it did not answer within 2s", silent.port());
    let refused = format!("127.0.0.1:{refusing}: connection refused");
    assert!(told.contains(&silent) && told.contains(&refused), "{told}");
}

#[tokio::test]
async fn a_server_that_refuses_us_is_the_last_that_is_tried() {
    let binaries = binaries().await;
    let (first, second) = tokio::join!(
        start_server(&binaries, "first"),
        start_server(&binaries, "second")
    );
    let admin = connect(&second.url("postgres")).await;
    admin
        .batch_execute("create database there")
        .await
        .expect("create it");
    let there = |ports: &[u16]| at(ports, "dbname=there");
    let ports = [first.port(), second.port()];
    let found = agree(&binaries, &there(&ports)).await;
    let told = found.expect_err("the first has no such database");
    let named = format!("There is no database there on 127.0.0.1:{}", first.port());
    assert!(told.contains(&named), "{told}");
    let found = agree(&binaries, &there(&[ports[1], ports[0]])).await;
    assert_eq!(found, Ok(second.port().to_string()));
}
