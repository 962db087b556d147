//! The command-line options that the benches of the program itself share.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

#[derive(Clone, Debug, Args)]
pub(crate) struct SharedOptions {
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// The program; without it the one that cargo builds for the bench, whose file is larger than that of
    /// `cargo build --release` by what the bench's own dependencies switch on
    #[arg(long, default_value = env!("CARGO_BIN_EXE_meter-sync"))]
    pub(crate) program: PathBuf,
    /// The folder to write the page to, or `none`
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/docs"))]
    output: PathBuf,
    /// Given by cargo; changes nothing
    #[arg(long, hide = true)]
    bench: bool,
}

impl SharedOptions {
    /// Writes a page into the folder of `--output`, which is made if it is missing; nothing if that is `none`.
    pub(crate) fn write(&self, page: &str, text: &str) -> Result<()> {
        if self.output.as_os_str() == "none" {
            return Ok(());
        }
        std::fs::create_dir_all(&self.output)
            .and_then(|()| std::fs::write(self.output.join(page), text))
            .with_context(|| format!("write {page} into {}", self.output.display()))
    }

    /// What the program is: one that was built by itself, or the one for the bench.
    pub(crate) fn in_words(&self) -> &'static str {
        match self.program.as_os_str() == env!("CARGO_BIN_EXE_meter-sync") {
            true => "the build for the bench (its file is larger than the release build's)",
            false => "the release build",
        }
    }
}
