//! Who is measured.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::{dlt, fdw, logical, ours, psql_relay, row_by_row, sling};

/// A way to keep the local table equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Peer {
    /// meter-sync
    Ours,
    /// psql's COPY into a staging table, and a merge
    PsqlRelay,
    /// postgres_fdw, and the same merge
    Fdw,
    /// The initial copy of a subscription
    Logical,
    /// Select, compare and write row by row
    RowByRow,
    /// sling, from PyPI
    Sling,
    /// dlt, from PyPI
    Dlt,
}

/// Where a peer works: its own local database, and the remote through the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) remote_url: &'a str,
    pub(crate) remote_port: u16,
    /// The remote past the line, for what is no part of a run.
    pub(crate) direct_port: u16,
    pub(crate) local_url: &'a str,
    pub(crate) psql: &'a Path,
    /// A directory for its files.
    pub(crate) scratch: &'a Path,
}

/// How a peer is run.
#[derive(Debug)]
pub(crate) enum RunMethod {
    /// As a process.
    Process(Command),
    /// By statements that the local server carries out by itself.
    InServer,
}

impl Peer {
    pub(crate) const ALL: [Self; 7] = [
        Self::Ours,
        Self::PsqlRelay,
        Self::Fdw,
        Self::Logical,
        Self::RowByRow,
        Self::Sling,
        Self::Dlt,
    ];

    /// What it is called in the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Ours => "meter-sync",
            Self::PsqlRelay => "psql relay",
            Self::Fdw => "postgres_fdw",
            Self::Logical => "logical replication",
            Self::RowByRow => "row by row",
            Self::Sling => "sling",
            Self::Dlt => "dlt",
        }
    }

    /// The name of its local database.
    pub(crate) fn database(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::PsqlRelay => "psql_relay",
            Self::Fdw => "fdw",
            Self::Logical => "logical",
            Self::RowByRow => "row_by_row",
            Self::Sling => "sling",
            Self::Dlt => "dlt",
        }
    }

    /// How it works, for the report.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Ours => ours::METHOD,
            Self::PsqlRelay => psql_relay::METHOD,
            Self::Fdw => fdw::METHOD,
            Self::Logical => logical::METHOD,
            Self::RowByRow => row_by_row::METHOD,
            Self::Sling => sling::METHOD,
            Self::Dlt => dlt::METHOD,
        }
    }

    /// Ours, and those with which it is compared in every case and at every size.
    pub(crate) fn is_principal(self) -> bool {
        matches!(self, Self::Ours | Self::PsqlRelay | Self::Fdw)
    }

    /// Whether it is measured over the thin line, where whoever reads all rows takes the same half minute.
    pub(crate) fn is_on_the_thin_line(self) -> bool {
        self.is_principal() || self == Self::Logical
    }

    /// Installs what it needs beside Postgres, once; the error says why it cannot be had.
    pub(crate) fn install(self) -> Result<()> {
        match self {
            Self::Sling => sling::install(),
            Self::Dlt => dlt::install(),
            Self::Ours | Self::PsqlRelay | Self::Fdw | Self::Logical | Self::RowByRow => Ok(()),
        }
    }

    /// Makes ready what is no part of a run: foreign tables, files.
    pub(crate) async fn prepare(self, site: Site<'_>) -> Result<()> {
        match self {
            Self::PsqlRelay => psql_relay::prepare(site),
            Self::Fdw => fdw::prepare(site).await,
            Self::Sling => sling::prepare(site),
            Self::Dlt => dlt::prepare(site),
            Self::Ours | Self::Logical | Self::RowByRow => Ok(()),
        }
    }

    /// How one run is started.
    pub(crate) fn start(self, site: Site<'_>) -> Result<RunMethod> {
        Ok(RunMethod::Process(match self {
            Self::Ours => ours::command(site),
            Self::PsqlRelay => psql_relay::command(site),
            Self::Fdw => fdw::command(site),
            Self::RowByRow => row_by_row::command(site)?,
            Self::Sling => sling::command(site),
            Self::Dlt => dlt::command(site),
            Self::Logical => return Ok(RunMethod::InServer),
        }))
    }
}
