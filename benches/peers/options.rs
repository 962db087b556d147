//! What the command takes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::case::Case;
use crate::peer::Peer;

/// Measures meter-sync against other ways to keep a table equal, on a pair of servers of its own.
///
/// Without arguments it runs all that docs/performance.md shows, and writes that file.
#[derive(Debug, Parser)]
#[command(name = "peers", args_conflicts_with_subcommands = true)]
pub(crate) struct Command {
    #[command(subcommand)]
    pub(crate) part: Option<ChildCommand>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What the bench starts as a process of its own.
#[derive(Debug, Subcommand)]
pub(crate) enum ChildCommand {
    /// The peer that compares row by row
    #[command(hide = true)]
    RowByRow {
        /// The remote database
        remote: String,
        /// The local database
        local: String,
    },
}

/// What is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// How many meters the tenant has, ascending
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 200_000, 1_000_000])]
    pub(crate) sizes: Vec<u64>,
    /// Which changes; the first load always comes first
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Case::SHARED)]
    pub(crate) cases: Vec<Case>,
    /// Which peers
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::ALL)]
    pub(crate) peers: Vec<Peer>,
    /// How often everything is measured; without it 3 times, and 5 times at 10,000 and 200,000
    #[arg(long)]
    pub(crate) rounds: Option<u32>,
    /// Which line to the remote; without it the fast one, and the thin one at 100,000 meters
    #[arg(long, value_enum)]
    pub(crate) line: Option<LineKind>,
    /// Where to write performance.md and performance.svg, or `none`
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/docs"))]
    pub(crate) output: PathBuf,
    /// Given by cargo; changes nothing
    #[arg(long, hide = true)]
    bench: bool,
}

/// A line between the site and the remote server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum LineKind {
    /// As fast as this machine passes bytes on.
    Lan,
    /// 10 Mbit/s and 50 ms there and back.
    Thin,
}

/// The size that the thin line is measured with, and the one that most targets are about.
const THIN_SIZE: u64 = 100_000;
pub(crate) const TARGET_SIZE: u64 = 200_000;
/// The thin line takes the same time in each round, and half a minute for each first load.
const THIN_ROUNDS: u32 = 2;

impl Options {
    /// What is measured over which line, in order.
    pub(crate) fn series(&self) -> Vec<(LineKind, u64)> {
        let over = |kind: LineKind| self.sizes.iter().map(move |size| (kind, *size));
        match self.line {
            Some(kind) => over(kind).collect(),
            None => over(LineKind::Lan)
                .chain(over(LineKind::Thin).filter(|(_, size)| *size == THIN_SIZE))
                .collect(),
        }
    }

    /// How often everything is measured.
    pub(crate) fn rounds(&self, kind: LineKind, size: u64) -> u32 {
        self.rounds.unwrap_or(match (kind, size) {
            (LineKind::Thin, _) => THIN_ROUNDS,
            (LineKind::Lan, ..=10_000 | TARGET_SIZE) => 5,
            (LineKind::Lan, _) => 3,
        })
    }

    /// Where the report goes, if anywhere.
    pub(crate) fn output(&self) -> Option<&PathBuf> {
        Some(&self.output).filter(|path| path.as_os_str() != "none")
    }
}
