//! What clients that connect and say nothing can do.

use std::io::Write;
use std::net::TcpStream;

use meter_sync::config::Setting;
use serde_json::json;
use tokio::process::Command;

use crate::support::program::{self, Running};
use crate::support::site::{Site, rows};
use crate::support::wait;

/// So many files the program may have open, and so many clients come.
const FILES: u32 = 128;
const CLIENTS: u32 = 150;

#[tokio::test]
async fn clients_that_say_nothing_leave_the_databases_theirs() {
    let site = Site::new().await;
    site.sync().await;
    let every_second = [(Setting::Schedule, "* * * * * *"), (Setting::Jitter, "0s")];
    let served = program::over(&site, &["serve"], &every_second);
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
    let (program, address) = Running::serve(command).await;
    let silent = (0..CLIENTS).map(|_| {
        let mut client = TcpStream::connect(&address).expect("a connection");
        client
            .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
            .expect("half a head");
        client
    });
    let silent: Vec<TcpStream> = silent.collect();
    let since = meter_sync::clock::now().to_rfc3339();
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
