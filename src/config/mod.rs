//! Reads all settings and checks them.
//!
//! The value of a setting comes from the first of these sources that has one: flag, environment variable, optional TOML
//! file, legacy variables (for the two databases only), default.
//!
//! The result is a [`Config`]. Its values are parsed, within their bounds, and checked against each other, so no other
//! code checks a setting again. A missing database is not an error, because the server runs without one and reports it.
//! A command that needs both databases calls [`Config::require_databases`]. If only one database is set, it is never
//! used in place of the other. No error and no `Debug` output of this module shows a secret.

use std::net::SocketAddr;
use std::time::Duration;

pub use connection_hosts::{ConnectionHost, ConnectionHosts, SessionAttrs};
pub use database_tls::{CertificateCheck, Tls};
pub use effective_settings::{EffectiveSetting, list};
pub use endpoint::Endpoint;
pub use endpoint_error::EndpointError;
pub use error::ConfigError;
pub use log_settings::{LogFormat, LogSettings};
pub use oauth_settings::{Jwks, OAuth};
pub use schedule::{Schedule, ScheduleError};
pub use setting_definitions::{Setting, SettingFlags};
pub use setting_layers::{Environment, SettingSource};
pub use tenant_table_name::TENANT_PLACEHOLDER;
pub use tenants::{DEFAULT_WORKERS, Tenants};
pub use tokens::{Token, Tokens};
pub(crate) use watched_file::WatchedFile;

use crate::model::TenantId;

mod connection_hosts;

mod watched_file;

mod replaced_program_variables;

mod connection_parameters;
mod connection_string;
mod database_tls;
mod effective_settings;
mod endpoint;
mod endpoint_error;
mod error;
mod libpq_parameters;
mod load_config;
mod log_settings;
mod oauth_settings;
mod schedule;
mod setting_definitions;
mod setting_layers;
mod settings_file;
pub mod table_name;
mod tenant_table_name;
mod tenants;
#[cfg(test)]
mod tests;
mod tls_parameters;
mod tokens;
mod trim_query;
mod value_parsers;

/// All settings of a process, parsed and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The remote (central) database; `None` if it is not configured.
    pub remote: Option<Endpoint>,
    /// The local (site's) database; `None` if it is not configured.
    pub local: Option<Endpoint>,
    /// Which tenants' meters to keep in sync.
    pub tenants: Tenants,
    /// Which rows and columns to sync, and between which tables. With several tenants, `mapping.tenant` is `None`, and
    /// the local table may hold [`TENANT_PLACEHOLDER`].
    pub mapping: Mapping,
    /// How many runs are carried out at the same time, each for another tenant.
    pub workers: u32,
    /// Timeouts and upper bounds.
    pub limits: Limits,
    /// When to start runs without a request; `None` if the schedule is off.
    pub schedule: Option<Schedule>,
    /// The longest random delay before a scheduled run. The delay keeps many sites from querying the remote at the same
    /// time.
    pub jitter: Duration,
    /// The address that `serve` listens on.
    pub listen: SocketAddr,
    /// The bearer tokens accepted over HTTP. Without tokens and OAuth, no caller needs a token, and the listen address
    /// must be a loopback address.
    pub tokens: Tokens,
    /// The authorization server whose access tokens are also accepted; `None` if OAuth is off.
    pub oauth: Option<OAuth>,
    /// The host names that `serve` answers to, in addition to the address it listens on.
    pub allowed_hosts: Vec<String>,
    /// Whether every request for a run is refused, and the MCP tool that requests runs is absent.
    pub read_only: bool,
}

impl Config {
    /// Whether callers over HTTP must send a token.
    pub fn requires_token(&self) -> bool {
        self.oauth.is_some() || !self.tokens.is_empty()
    }

    /// Returns both databases, remote first. Error: `CONFIG_MISSING` if one of them is not configured.
    pub fn require_databases(&self) -> Result<(&Endpoint, &Endpoint), ConfigError> {
        let remote = self.remote.as_ref();
        let local = self.local.as_ref();
        Ok((
            remote.ok_or(ConfigError::Missing(Setting::RemoteUrl.env()))?,
            local.ok_or(ConfigError::Missing(Setting::LocalUrl.env()))?,
        ))
    }
}

/// Which rows and columns are kept equal, and between which tables.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The tenant; `None` means that each run reads its id from the single row of the local `tenant` table.
    pub tenant: Option<TenantId>,
    /// Where the remote rows come from.
    pub source: Source,
    /// The local table, `table` or `schema.table`.
    pub local_table: String,
    /// The columns to sync; `None` means every column that both sides have.
    pub columns: Option<Vec<String>>,
    /// The columns that identify a meter; `None` means the local primary key.
    pub key: Option<Vec<String>>,
    /// The column that holds the tenant's id.
    pub tenant_column: String,
    /// The column that says whether a meter is in use.
    pub active_column: String,
    /// What a run does when a synced column has changed on the remote.
    pub on_drift: OnDrift,
}

/// What a run does when the remote has dropped, renamed or retyped a synced column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDrift {
    /// The run warns, and syncs the other columns.
    #[default]
    Warn,
    /// The run fails and writes no meter.
    Fail,
}

/// Where the remote rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A table or view, `table` or `schema.table`.
    Table(String),
    /// A `select` that is read instead of a table. Its result must include the tenant column.
    Query(String),
}

/// Timeouts and upper bounds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest time to open a connection, TLS and sign-in included.
    pub connect_timeout: Duration,
    /// The longest time for one statement on either side, and the longest wait for the next bytes from the remote.
    pub statement_timeout: Duration,
    /// The longest wait for one lock in the local database, such as the lock on a row.
    pub lock_timeout: Duration,
    /// The longest time for a whole run.
    pub run_timeout: Duration,
    /// First limit of the brake, in percent of the active meters. The brake holds a plan back if its deactivations
    /// exceed both this limit and `max_deactivated_rows`.
    pub max_deactivated_percent: u8,
    /// Second limit of the brake, a number of meters; see `max_deactivated_percent`.
    pub max_deactivated_rows: u32,
    /// How much time may pass before a run is again followed by a comparison of all row contents. That comparison finds
    /// differences that row versions do not show.
    pub full_compare: Duration,
    /// How long the log keeps a run; `None` means for ever. Runs with problems are kept longer, and the last change of
    /// each meter is kept for ever.
    pub keep_runs: Option<Duration>,
    /// How many changes of one run the log keeps at most.
    pub change_limit: u32,
    /// How many rows one run may reject. A run that rejects more rows fails.
    pub rejected_limit: u32,
    /// Whether a run may take a unique value away from an inactive meter that is missing on the remote, so that another
    /// meter can have the value.
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
