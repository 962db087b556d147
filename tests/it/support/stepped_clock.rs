//! A clock that a program is shown in place of the machine's, and that a test sets, by Debian's libfaketime.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use super::debian_packages;

/// Says how far the clock is ahead.
const FILE: &str = "ahead";

/// A clock that is right until it is stepped.
pub(crate) struct SteppedClock {
    directory: TempDir,
}

impl SteppedClock {
    pub(crate) fn new() -> Self {
        let clock = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        clock.step("+0");
        clock
    }

    /// From now on the clock is so far ahead, in seconds or as in `+1d`; behind with a minus.
    pub(crate) fn step(&self, ahead: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, ahead).expect("write the step");
        fs::rename(new, self.file()).expect("set the clock");
    }

    /// Shows it to a program. What measures durations goes on as it does when a machine's clock is set.
    pub(crate) fn show_to(&self, command: &mut Command) {
        command
            .env(
                "LD_PRELOAD",
                debian_packages::found("libfaketime", library).file,
            )
            .env("FAKETIME_TIMESTAMP_FILE", self.file())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join(FILE)
    }
}

fn library(root: &Path) -> Option<PathBuf> {
    debian_packages::folders(&root.join("usr/lib"))
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.is_file())
}
