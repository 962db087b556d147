//! What the command takes.

use clap::Parser;

use crate::shared_options::SharedOptions;

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
    #[command(flatten)]
    pub(crate) program: SharedOptions,
}
