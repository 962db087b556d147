//! Settings: flags, then environment, then an optional TOML file, then the seed system's variables
//! for the two databases, then defaults.
//!
//! What comes out is a [`Config`]: parsed, within bounds, checked together, so that nothing after
//! it checks a setting again. A missing database is no error here, as the server runs without one
//! and says so; a command that needs both asks [`Config::require_databases`]. Neither database ever
//! stands in for the other. No error and no `Debug` of this module shows a secret.

use std::net::SocketAddr;
use std::time::Duration;

pub use endpoint::{Endpoint, EndpointError};
pub use error::ConfigError;
pub use layers::{Environment, SettingSource};
pub use listed::{ListedSetting, list};
pub use logging::{LogFormat, LogSettings};
pub use oauth::{Jwks, OAuth};
pub(crate) use reread::Reread;
pub use schedule::{Schedule, ScheduleError};
pub use servers::{Server, Servers, SessionAttrs};
pub use settings::{Setting, Settings};
pub use tls::{Check, Tls};
pub use tokens::{Token, Tokens};

use crate::meter::TenantId;

mod conninfo;
mod endpoint;
mod error;
mod file;
mod layers;
mod libpq;
mod listed;
mod load;
mod logging;
mod oauth;
mod parameters;
mod query;
mod reread;
mod schedule;
mod seed;
mod servers;
mod settings;
mod sslmode;
pub mod table_name;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod values;

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
    /// Who may call over HTTP. Where there are none, and no OAuth, anyone may who can reach the (loopback) address.
    pub tokens: Tokens,
    /// Whose access tokens count beside them; `None` while OAuth is off.
    pub oauth: Option<OAuth>,
    /// Host names `serve` answers to beside the address it listens on.
    pub allowed_hosts: Vec<String>,
    /// Whether triggers are refused and the trigger tool is absent.
    pub read_only: bool,
}

impl Config {
    /// Whether whoever calls over HTTP must show a token.
    pub fn asks_for_tokens(&self) -> bool {
        self.oauth.is_some() || !self.tokens.is_empty()
    }

    /// Both databases, remote first, for what cannot do without. Errors: `CONFIG_MISSING`.
    pub fn require_databases(&self) -> Result<(&Endpoint, &Endpoint), ConfigError> {
        let remote = self.remote.as_ref();
        let local = self.local.as_ref();
        Ok((
            remote.ok_or(ConfigError::Missing(Setting::RemoteUrl.env()))?,
            local.ok_or(ConfigError::Missing(Setting::LocalUrl.env()))?,
        ))
    }
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
    /// What a run does about a synced column that has changed on the remote.
    pub on_drift: OnDrift,
}

/// What a run does when the remote has dropped, renamed or retyped a synced column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDrift {
    /// It warns, and syncs the other columns.
    #[default]
    Warn,
    /// It fails and writes no meter.
    Fail,
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
    /// How often contents are compared after a run, whatever versions tell.
    pub full_compare: Duration,
    /// How long the log keeps runs; `None` for ever. Runs with problems and each meter's last change are kept longer.
    pub keep_runs: Option<Duration>,
    /// How many changes of one run the log keeps.
    pub change_limit: u32,
    /// How many rows one run may reject before it gives up.
    pub rejected_limit: u32,
    /// Whether an inactive meter that is gone from the remote gives a unique value up to one that exists.
    pub release_unique: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(5),
            run_timeout: Duration::from_secs(15 * 60),
            max_deactivated_percent: 20,
            max_deactivated_rows: 5,
            full_compare: Duration::from_secs(24 * 60 * 60),
            keep_runs: Some(Duration::from_secs(90 * 24 * 60 * 60)),
            change_limit: 10_000,
            rejected_limit: 1000,
            release_unique: true,
        }
    }
}
