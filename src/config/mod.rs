//! Settings: flags, then environment, then an optional TOML file, then defaults.

use std::net::SocketAddr;
use std::time::Duration;

pub use endpoint::Endpoint;
pub use schedule::{Schedule, ScheduleError};

use crate::meter::TenantId;

mod endpoint;
mod schedule;

/// Everything a process is told, parsed and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The central database; `None` until it is configured.
    pub remote: Option<Endpoint>,
    /// The site's database; `None` until it is configured.
    pub local: Option<Endpoint>,
    /// What to sync.
    pub mapping: Mapping,
    /// How long to wait and how much to allow.
    pub limits: Limits,
    /// When to sync by itself; `None` when the schedule is off.
    pub schedule: Option<Schedule>,
    /// The longest random delay before a scheduled run, so that many sites do not ask at once.
    pub jitter: Duration,
    /// Where `serve` listens.
    pub listen: SocketAddr,
    /// Who may call over HTTP; empty means anyone who can reach the (loopback) address.
    pub tokens: Vec<Token>,
    /// Host names `serve` answers to beside the address it listens on.
    pub allowed_hosts: Vec<String>,
    /// Whether triggers are refused and the trigger tool is absent.
    pub read_only: bool,
}

/// Which rows and columns of which relations are kept equal.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The tenant; `None` means the single row of the local `tenant` table, read at each run.
    pub tenant: Option<TenantId>,
    /// Where the remote rows come from.
    pub source: Source,
    /// The local table, `table` or `schema.table`.
    pub local_table: String,
    /// The columns to sync; `None` means every column both sides have.
    pub columns: Option<Vec<String>>,
    /// The key; `None` means the local primary key.
    pub key: Option<Vec<String>>,
    /// The column that names the tenant.
    pub tenant_column: String,
    /// The column that says whether a meter is in use.
    pub active_column: String,
}

/// Where the remote rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A table or view, `table` or `schema.table`.
    Table(String),
    /// A `select` to use in place of a table; it must give the tenant column too.
    Query(String),
}

/// How long to wait and how much to allow.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For a connection to be made, TLS and sign-in included.
    pub connect_timeout: Duration,
    /// For one statement on either side, and for the remote to send its next bytes.
    pub statement_timeout: Duration,
    /// For a lock on local rows.
    pub lock_timeout: Duration,
    /// For a whole run.
    pub run_timeout: Duration,
    /// The brake: deactivations above this share of the active meters, in percent, ...
    pub max_deactivated_percent: u8,
    /// ... and above this number are refused.
    pub max_deactivated_rows: u32,
    /// How many changes of one run the log keeps.
    pub change_limit: u32,
    /// How many rows one run may set aside before it gives up.
    pub rejected_limit: u32,
}

/// A bearer token and what it allows.
#[derive(Clone)]
pub struct Token {
    secret: String,
    /// Whether it may trigger syncs; every token may read.
    pub may_trigger: bool,
}

impl Token {
    /// A token that allows reading, and triggering if `may_trigger`.
    pub fn new(secret: String, may_trigger: bool) -> Self {
        Self {
            secret,
            may_trigger,
        }
    }

    /// The secret's bytes, for a comparison in constant time.
    pub fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("may_trigger", &self.may_trigger)
            .finish_non_exhaustive()
    }
}
