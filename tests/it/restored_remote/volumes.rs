//! The volume of the remote is taken back to an earlier state.

use std::path::{Path, PathBuf};
use std::process::Command;

use meter_sync::config::SettingFlags;
use meter_sync::embedded::Server;
use meter_sync::model::Outcome;
use tokio_postgres::Client;

use super::{METERS, NAMES_HERE, NAMES_THERE, on, syncs, warns};
use crate::support::postgres::{Pair, binaries, connect, pair, start_server};
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, rows, settings};

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
        assert_eq!(syncs(&settings, Outcome::Succeeded).await, None);
        on(&volume.remote().await, "checkpoint").await;
        volume.server.stop_immediately().await.expect("stop it");
        copy(&volume.server.directory().join("data"), &volume.saved);
        volume.server.restart().await.expect("start it");
        on(
            &volume.remote().await,
            "update meter set name = 'newer' where id = 3",
        )
        .await;
        // A restart alone is nothing to tell of.
        assert_eq!(syncs(&settings, Outcome::Succeeded).await, None);
        volume
    }

    fn settings(&self) -> SettingFlags {
        settings(&self.server.url("postgres"), &self.local.local_url)
    }

    async fn remote(&self) -> Client {
        connect(&self.server.url("postgres")).await
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

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("run cp").success());
}

#[tokio::test]
async fn a_volume_that_is_taken_back_is_told_by_its_log() {
    let mut volume = Volume::changed_since_it_was_saved().await;
    volume.take_back().await;
    let told = "taken back to an earlier state";
    warns(&volume.settings(), Outcome::Succeeded, told).await;
    volume.is_equal().await;
}

#[tokio::test]
async fn a_volume_that_is_taken_back_and_used_since_is_told_by_its_row_versions() {
    let mut volume = Volume::changed_since_it_was_saved().await;
    volume.take_back().await;
    // As the programs of other tenants do.
    let more = "create table more as select n from generate_series(1, 300000) n";
    on(&volume.remote().await, more).await;
    let told = "as they were before the last sync";
    warns(&volume.settings(), Outcome::Succeeded, told).await;
    volume.is_equal().await;
}
