//! The volume of the remote is taken back to an earlier state.

use std::path::{Path, PathBuf};
use std::process::Command;

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::embedded::Server;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{RunApprovals, RunRequest};
use meter_sync::model::{DeactivationApproval, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use tokio_postgres::Client;

use super::{METERS, NAMES_HERE, NAMES_THERE, on, syncs, warns};
use crate::support::postgres::{Pair, binaries, connect, pair, start_server};
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, finish, mirror, rows, settings};

/// A remote whose data can be saved and taken back, and a local database beside it.
struct Volume {
    server: Server,
    saved: PathBuf,
    local: Pair,
}

impl Volume {
    /// Synced once, saved, and synced with a change made after it was saved.
    async fn changed_since_it_was_saved() -> Self {
        let (local, binaries) = tokio::join!(pair(), binaries());
        let server = start_server(&binaries, "restored").await;
        on(&connect(&local.local_url).await, LOCAL_SCHEMA).await;
        let saved = server.directory().join("saved");
        let mut volume = Self {
            server,
            saved,
            local,
        };
        on(&volume.remote().await, REMOTE_SCHEMA).await;
        on(&volume.remote().await, METERS).await;
        let settings = volume.settings();
        assert_eq!(syncs(&settings, RunOutcome::Succeeded).await, None);
        volume.save().await;
        on(
            &volume.remote().await,
            "update meter set name = 'newer' where id = 3",
        )
        .await;
        // A restart alone is nothing to tell of.
        assert_eq!(syncs(&settings, RunOutcome::Succeeded).await, None);
        volume
    }

    fn settings(&self) -> CommandLineSettings {
        settings(&self.server.url("postgres"), &self.local.local_url)
    }

    async fn remote(&self) -> Client {
        connect(&self.server.url("postgres")).await
    }

    /// Copies the data, which takes a restart.
    async fn save(&mut self) {
        on(&self.remote().await, "checkpoint").await;
        self.server.stop_immediately().await.expect("stop it");
        if self.saved.exists() {
            std::fs::remove_dir_all(&self.saved).expect("remove the former copy");
        }
        copy(&self.server.directory().join("data"), &self.saved);
        self.server.restart().await.expect("start it");
    }

    async fn take_back(&mut self) {
        self.server.stop_immediately().await.expect("stop it");
        let data = self.server.directory().join("data");
        std::fs::remove_dir_all(&data).expect("remove its data");
        copy(&self.saved, &data);
        self.server.restart().await.expect("start it");
    }

    async fn is_equal(&self) {
        let local = connect(&self.local.local_url).await;
        let there = rows(&self.remote().await, NAMES_THERE).await;
        assert_eq!(rows(&local, NAMES_HERE).await, there);
    }
}

/// What other programs write, some 20 MB of the log.
const MORE: &str = "create table more as select n from generate_series(1, 300000) n";

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("run cp").success());
}

#[tokio::test]
async fn a_volume_that_is_taken_back_is_told_by_its_log() {
    let mut volume = Volume::changed_since_it_was_saved().await;
    volume.take_back().await;
    let told = "taken back to an earlier state";
    warns(&volume.settings(), RunOutcome::Succeeded, told).await;
    volume.is_equal().await;
}

#[tokio::test]
async fn a_volume_that_is_taken_back_and_used_since_is_told_by_its_row_versions() {
    let mut volume = Volume::changed_since_it_was_saved().await;
    volume.take_back().await;
    // As the programs of other tenants do.
    on(&volume.remote().await, MORE).await;
    let told = "as they were before the last sync";
    warns(&volume.settings(), RunOutcome::Succeeded, told).await;
    volume.is_equal().await;
}

/// As a volume of a server that has run for long is taken back: much was written between the first look and the copy.
#[tokio::test]
async fn what_a_server_wrote_since_the_first_look_does_not_hide_that_it_was_taken_back() {
    let mut volume = Volume::changed_since_it_was_saved().await;
    let settings = volume.settings();
    on(&volume.remote().await, MORE).await;
    on(
        &volume.remote().await,
        "update meter set name = 'second' where id = 4",
    )
    .await;
    assert_eq!(syncs(&settings, RunOutcome::Succeeded).await, None);
    volume.save().await;
    on(
        &volume.remote().await,
        "truncate more; insert into more select generate_series(1, 300000); update meter set name = 'lost' where id = 5",
    )
    .await;
    assert_eq!(syncs(&settings, RunOutcome::Succeeded).await, None);
    volume.take_back().await;
    on(
        &volume.remote().await,
        "update meter set name = 'newest' where id = 6",
    )
    .await;
    let told = "its write-ahead log ends earlier";
    warns(&settings, RunOutcome::Succeeded, told).await;
    volume.is_equal().await;
}

#[tokio::test]
async fn a_strict_brake_waits_on_though_the_signs_of_a_restore_fade_and_then_lets_all_pass() {
    let mut volume = Volume::changed_since_it_was_saved().await;
    volume.take_back().await;
    let strict = volume.settings().with(Setting::Brake, "strict");
    let code = |run: &RunReport| run.error.as_ref().map(|error| error.code);
    let refused = Some(ErrorCode::RemoteChangedRefused);
    let run = finish(&mirror(&strict), RunRequest::new(RunTrigger::Cli)).await;
    assert_eq!(code(&run), refused, "{run:#?}");
    on(&volume.remote().await, MORE).await;
    on(
        &volume.remote().await,
        "update meter set name = 'newest' where id = 6; delete from meter where id > 10",
    )
    .await;
    let run = finish(&mirror(&strict), RunRequest::new(RunTrigger::Cli)).await;
    assert_eq!(code(&run), refused, "{run:#?}");
    let allowing = |allow| RunRequest {
        allow,
        ..RunRequest::new(RunTrigger::Cli)
    };
    let allow = RunApprovals {
        remote_change: true,
        ..RunApprovals::default()
    };
    let run = finish(&mirror(&strict), allowing(allow)).await;
    assert_eq!(code(&run), Some(ErrorCode::MassDeactivationRefused));
    let allow = RunApprovals {
        mass_deactivation: DeactivationApproval::OfRun(run.run_id),
        ..RunApprovals::default()
    };
    let run = finish(&mirror(&strict), allowing(allow)).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(syncs(&strict, RunOutcome::NoChange).await, None);
}
