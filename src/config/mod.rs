//! Reads all settings and checks them.
//!
//! The value of a setting comes from the first of these sources that has one: flag, environment variable, optional TOML
//! file, environment variables of the replaced (legacy) program (for the two databases only), default.
//!
//! The result is a [`Config`]. Its values are parsed, within their bounds, and checked against each other, so no other
//! code checks a setting again. A database that is not set is no error, because the server starts without it and
//! reports that. A command that needs both databases calls [`Config::require_databases`]. If only one database is set,
//! it is never used in place of the other. No error and no `Debug` output of this module shows a secret.

use std::net::SocketAddr;
use std::time::Duration;

pub use bearer_tokens::{Token, Tokens};
pub use connection_hosts::{ConnectionHost, ConnectionHosts, TargetSessionAttrs};
pub use database_endpoint::DatabaseEndpoint;
pub use database_endpoint_error::EndpointError;
pub use database_tls::{CertificateCheck, DatabaseTls};
pub use effective_settings::{EffectiveSetting, list};
pub use error::ConfigError;
pub use heartbeat_url::HeartbeatUrl;
pub use log_settings::{LogFormat, LogSettings};
pub use oauth_settings::{JwksSource, OAuthSettings};
pub use schedule::{Schedule, ScheduleError};
pub use setting_definitions::{CommandLineSettings, Setting};
pub use setting_layers::{Environment, SettingSource};
pub use table_name_per_tenant::TENANT_PLACEHOLDER;
pub use tenants::{DEFAULT_WORKERS, TenantSelection};
pub(crate) use watched_file::WatchedFile;

use crate::model::TenantId;

mod connection_hosts;

mod watched_file;

mod legacy_environment_variables;

mod bearer_tokens;
mod connection_parameters;
mod database_endpoint;
mod database_endpoint_error;
mod database_tls;
mod effective_settings;
mod error;
mod heartbeat_url;
mod http_url;
mod libpq_parameters;
mod load_config;
mod log_settings;
mod oauth_settings;
mod parse_connection_string;
pub mod parse_table_name;
mod schedule;
mod setting_definitions;
mod setting_layers;
mod settings_file;
mod table_name_per_tenant;
mod tenants;
#[cfg(test)]
mod tests;
mod tls_parameters;
mod trim_sql;
mod value_parsers;

/// All settings of a process, parsed and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to connect to the remote (central) database; `None` if it is not configured.
    pub remote: Option<DatabaseEndpoint>,
    /// How to connect to the local (site's) database; `None` if it is not configured.
    pub local: Option<DatabaseEndpoint>,
    /// The tenants whose meters this process keeps in sync.
    pub tenants: TenantSelection,
    /// Which tables, rows and columns to sync. With several tenants, it is a template for all of them: `mapping.tenant`
    /// is `None`, and the name of the local table may contain [`TENANT_PLACEHOLDER`].
    pub mapping: Mapping,
    /// How many runs, each for another tenant, may go on at the same time.
    pub workers: u32,
    /// Timeouts and other limits.
    pub limits: Limits,
    /// The times at which runs start without a request; `None` if the schedule is off.
    pub schedule: Option<Schedule>,
    /// The longest random delay before a scheduled run. The delay keeps many sites from querying the remote at the same
    /// time.
    pub jitter: Duration,
    /// How late a scheduled time that passed while no process ran is made up at the start of one; `None` for any time until
    /// the next scheduled time.
    pub catch_up: Option<Duration>,
    /// The URL that is called when a sync begins and ends; `None` if none is to be called.
    pub heartbeat_url: Option<HeartbeatUrl>,
    /// The address and port on which the command `serve` listens.
    pub listen: SocketAddr,
    /// The bearer tokens accepted over HTTP. Without tokens and OAuth, no caller needs a token, and the listen address
    /// must be a loopback address.
    pub tokens: Tokens,
    /// The authorization server whose access tokens (OAuth) are accepted too; `None` if OAuth is off.
    pub oauth: Option<OAuthSettings>,
    /// The host names that the `Host` header of an HTTP request may give, in addition to the address in `listen`.
    pub allowed_hosts: Vec<String>,
    /// Whether this process starts no runs: requests for runs are refused, the schedule is off, and the MCP tool that
    /// requests runs is absent.
    pub read_only: bool,
}

impl Config {
    /// Whether HTTP requests need a token, because the settings name tokens or an authorization server.
    pub fn requires_token(&self) -> bool {
        self.oauth.is_some() || !self.tokens.is_empty()
    }

    /// Returns the remote and the local database. Error: one of them is not configured ([`ConfigError::Missing`]).
    pub fn require_databases(&self) -> Result<(&DatabaseEndpoint, &DatabaseEndpoint), ConfigError> {
        let remote = self.remote.as_ref();
        let local = self.local.as_ref();
        Ok((
            remote.ok_or(ConfigError::Missing(Setting::RemoteUrl.env()))?,
            local.ok_or(ConfigError::Missing(Setting::LocalUrl.env()))?,
        ))
    }
}

/// What to sync: the source of the remote rows, the local table, and which rows and columns.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The tenant whose rows are synced. `None` means that each run reads its id from the single row of the local table
    /// `tenant`, or that this is the template for several tenants.
    pub tenant: Option<TenantId>,
    /// The table or query that gives the remote rows.
    pub source: SourceSetting,
    /// The name of the local table: `table` or `schema.table`.
    pub local_table: String,
    /// The columns to sync; `None` means every column that both sides have.
    pub columns: Option<Vec<String>>,
    /// The columns that identify a meter; `None` means the primary key of the local table.
    pub key: Option<Vec<String>>,
    /// The column that holds the tenant's id.
    pub tenant_column: String,
    /// The column that says whether a meter is in use.
    pub active_column: String,
    /// What a run does when the remote has dropped, renamed or retyped a synced column.
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

/// Which runs the brake refuses until a person allows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrakeMode {
    /// Runs that would deactivate too many meters.
    #[default]
    Standard,
    /// Also runs that would change meters after the remote was restored or swapped for another.
    Strict,
}

/// The table or query that gives the remote rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSetting {
    /// The name of a table or view: `table` or `schema.table`.
    Table(String),
    /// A `select` that is read instead of a table. Its result must include the tenant column.
    Query(String),
}

/// Timeouts and other limits.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest time to open a connection, including TLS and authentication.
    pub connect_timeout: Duration,
    /// The longest time for one statement on either side, and the longest wait for the next bytes from the remote.
    pub statement_timeout: Duration,
    /// The longest wait for one lock in the local database, such as the lock on a row.
    pub lock_timeout: Duration,
    /// The longest time for a whole run.
    pub run_timeout: Duration,
    /// How many of the active meters, in percent, one run may deactivate. A run that exceeds both this limit and
    /// `max_deactivated_rows` is refused until a person approves it. Together, the limits are called the *brake*.
    pub max_deactivated_percent: u8,
    /// How many meters one run may deactivate. A run is refused only if it also exceeds `max_deactivated_percent`.
    pub max_deactivated_rows: u32,
    /// Whether a run is also refused, until a person allows it, because the remote was restored or swapped for another.
    pub brake: BrakeMode,
    /// After how much time the contents of all rows are compared again, at the end of a run; zero means after each run.
    /// That comparison finds differences that row versions do not show.
    pub full_compare: Duration,
    /// How long a run stays in the log in the local database; `None` means for ever. A run that did not succeed
    /// completely stays four times as long, and the last change of each meter stays for ever.
    pub keep_runs: Option<Duration>,
    /// How many changes of one run are logged at most.
    pub change_limit: u32,
    /// How many rows one run may reject, which means that it skips a row that cannot be stored. A run that rejects more
    /// rows fails.
    pub rejected_limit: u32,
    /// Whether a run may set a unique value of an inactive meter to NULL, if the meter is missing on the remote and
    /// another meter needs the value.
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
            brake: BrakeMode::default(),
            full_compare: Duration::from_secs(24 * 60 * 60),
            keep_runs: Some(Duration::from_secs(90 * 24 * 60 * 60)),
            change_limit: 10_000,
            rejected_limit: 1000,
            release_unique: true,
        }
    }
}
