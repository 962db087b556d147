//! What the command takes.

use std::path::PathBuf;

use clap::Parser;

/// Measures how fast meter-sync answers and how small it is, over a site of its own.
///
/// Without arguments it measures all that docs/serving-performance.md shows, and writes that file.
#[derive(Clone, Debug, Parser)]
#[command(name = "serving")]
pub(crate) struct Options {
    /// How many clients there are at a time in the crowds; the program takes 1,000 at most
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) clients: u32,
    /// How many calls are timed in each way and round
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) calls: u32,
    /// How many meters a large site has
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) large_meters: u32,
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// The program; without it the one that cargo builds for the bench, whose file is larger than that of
    /// `cargo build --release` by what the bench's own dependencies switch on
    #[arg(long, default_value = env!("CARGO_BIN_EXE_meter-sync"))]
    pub(crate) program: PathBuf,
    /// Where to write serving-performance.md, or `none`
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/docs"))]
    output: PathBuf,
    /// Given by cargo; changes nothing
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Whether the program is one that was built by itself.
    pub(crate) fn is_shipped(&self) -> bool {
        self.program.as_os_str() != env!("CARGO_BIN_EXE_meter-sync")
    }

    /// Where the page goes, if anywhere.
    pub(crate) fn output(&self) -> Option<&PathBuf> {
        Some(&self.output).filter(|path| path.as_os_str() != "none")
    }
}
