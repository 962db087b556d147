//! What `meter-sync check` says of several servers.

use std::net::TcpListener;

use meter_sync::check::{self, Verdict};
use meter_sync::config::{CommandLineSettings, Setting};

use super::at;
use crate::support::postgres::{binaries, start_server};
use crate::support::site::config;
use crate::support::standby::standby_of;

/// What is said of the servers of the remote, if anything.
async fn told(url: &str) -> Option<Verdict> {
    let settings = CommandLineSettings::default()
        .with(Setting::RemoteUrl, url)
        .with(
            Setting::LocalUrl,
            "host=127.0.0.1 port=1 dbname=site user=site",
        );
    let findings = check::run(&config(&settings)).await;
    let found = findings.into_iter().find(|f| f.subject == "remote servers");
    found.map(|finding| finding.verdict)
}

#[tokio::test]
async fn of_several_servers_it_is_told_which_let_us_in_and_whether_they_are_one_database() {
    let binaries = binaries().await;
    let (mut primary, other) = tokio::join!(
        start_server(&binaries, "primary"),
        start_server(&binaries, "other")
    );
    let standby = standby_of(&mut primary).await;
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let refusing = nobody.local_addr().expect("its address").port();
    drop(nobody);

    assert_eq!(told(&at(&[primary.port()], "")).await, None);

    let Some(Verdict::Ok(well)) = told(&at(&[primary.port(), standby.port()], "")).await else {
        panic!("one database and its standby are well")
    };
    let expected = format!(
        "127.0.0.1:{}/postgres (primary); 127.0.0.1:{}/postgres (standby)",
        primary.port(),
        standby.port()
    );
    assert_eq!(well, expected);

    let one_gone = told(&at(
        &[refusing, primary.port()],
        "target_session_attrs=primary",
    ))
    .await;
    let Some(Verdict::Warning(one_gone)) = one_gone else {
        panic!("a server that is not there deserves a warning: {one_gone:?}")
    };
    assert!(
        one_gone.contains(&format!("127.0.0.1:{refusing}: connection refused")),
        "{one_gone}"
    );
    assert!(one_gone.contains("another one lets it in"), "{one_gone}");

    let apart = told(&at(&[primary.port(), other.port()], "")).await;
    let Some(Verdict::Warning(apart)) = apart else {
        panic!("two databases deserve a warning: {apart:?}")
    };
    assert!(apart.contains("databases of their own"), "{apart}");
    assert!(apart.contains("METER_SYNC_REMOTE_URL"), "{apart}");
}
