//! The options of the command.

use std::str::FromStr;

use anyhow::{Context, Error, ensure};
use clap::Parser;

use crate::shared_options::SharedOptions;

/// Measures one process, or several, that keep the meters of many tenants in sync, over servers of its own.
///
/// Without arguments it measures all that docs/fleet-performance.md shows, and writes that file.
#[derive(Clone, Debug, Parser)]
#[command(name = "fleet")]
pub(crate) struct Options {
    /// How many tenants there are and how many meters each of them has; several are measured one after another. With `t`
    /// at the end, each tenant has a local table of its own
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10000x100,1000x1000,1000x100t",
        value_name = "TENANTSxMETERS[t]"
    )]
    pub(crate) sizes: Vec<Size>,
    /// How many single runs of unchanged tenants are timed in each round
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) single_runs: u32,
    /// How many runs a sweep may have at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
    /// How many processes share the runs; several numbers are measured one after another, and nothing is without a
    /// number
    #[arg(long, value_delimiter = ',', num_args = 0.., default_value = "1,2,4,8", value_name = "PROCESSES",
        value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) replicas: Vec<u32>,
    /// How many tenants several processes keep, and how many meters each of them has
    #[arg(long, default_value = "500x100", value_name = "TENANTSxMETERS")]
    pub(crate) replica_size: Size,
    #[command(flatten)]
    pub(crate) program: SharedOptions,
}

/// How many tenants there are, how many meters each has, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) tenants: u32,
    pub(crate) meters: u32,
    /// Whether each tenant has a local table of its own.
    pub(crate) has_own_tables: bool,
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (tenants, meters) = text.split_once('x').context("a size is like 1000x100")?;
        let shared = meters.strip_suffix('t');
        let size = Self {
            tenants: tenants.parse().context("the number of tenants")?,
            has_own_tables: shared.is_some(),
            meters: shared
                .unwrap_or(meters)
                .parse()
                .context("the number of meters")?,
        };
        // Four tenants are changed in ways of their own, and of a few the second meter is.
        ensure!(
            size.tenants >= 8 && size.meters >= 2,
            "at least 8 tenants with 2 meters"
        );
        Ok(size)
    }
}
