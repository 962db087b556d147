//! A standby of a server of a test's own.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::process::Command;

use meter_sync::embedded::Server;

use super::postgres::{binaries, start_server_with};

/// A copy of the primary's files, which goes on with the primary's log.
pub(crate) async fn standby_of(primary: &mut Server) -> Server {
    let settings = vec![
        "max_standby_streaming_delay=100ms".to_owned(),
        format!(
            "primary_conninfo=host=127.0.0.1 port={} user=postgres",
            primary.port()
        ),
    ];
    let mut standby = start_server_with(&binaries().await, "standby", settings).await;
    let stopped = tokio::try_join!(standby.stop_immediately(), primary.stop_immediately());
    stopped.expect("stop the servers");
    let data = standby.directory().join("data");
    fs::remove_dir_all(&data).expect("remove its data");
    let from = primary.directory().join("data");
    let copied = Command::new("cp").arg("-a").args([&from, &data]).status();
    assert!(copied.expect("run cp").success());
    let signal = data.join("standby.signal");
    fs::write(&signal, "").expect("say that it is a standby");
    let owner = fs::metadata(&from).expect("the primary's data");
    chown(&signal, Some(owner.uid()), Some(owner.gid())).expect("give it to the server");
    let started = tokio::try_join!(standby.restart(), primary.restart());
    started.expect("start the servers");
    standby
}
