//! What figures were measured on.

use std::fs;
use std::thread;

use anyhow::{Context, Result};

/// A machine and the Postgres on it.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) postgres: String,
}

impl Machine {
    pub(crate) fn this(postgres: &str) -> Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo")?;
        let kib = memory
            .split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok());
        let kib: u64 = kib.context("no size of the memory")?;
        Ok(Self {
            cores: thread::available_parallelism()?.get(),
            memory_gib: (kib + (1 << 19)) >> 20,
            postgres: postgres.to_owned(),
        })
    }
}
