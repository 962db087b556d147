//! Builds a checked [`Config`] from flags, environment variables and the settings file. Applies the default and the
//! bounds of each setting.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::database_endpoint::DatabaseEndpoint;
use super::error::ConfigError;
use super::legacy_environment_variables::{self, LegacyVariablePrefix};
use super::log_settings::LogSettings;
use super::setting_definitions::{CommandLineSettings, Setting};
use super::setting_layers::{Environment, FoundSetting, SettingLayers};
use super::{
    Config, DEFAULT_WORKERS, Limits, Mapping, OnDrift, Schedule, SourceSetting, TenantSelection,
    Tokens, bearer_tokens, heartbeat_url, oauth_settings, parse_table_name, table_name_per_tenant,
    tenants, trim_sql, value_parsers,
};
use crate::machine_clock;

const DEFAULT_SCHEDULE: &str = "0 * * * *";
const DEFAULT_JITTER: Duration = Duration::from_secs(30);
const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8765);
const DEFAULT_TABLE: &str = "meter";
/// The upper bound of the setting `workers`, the number of parallel runs. Each run holds connections to both servers,
/// and Postgres accepts 100 connections by default.
const MOST_WORKERS: u32 = 64;

/// How long data sent to the remote may stay unacknowledged before a connection is closed (`tcp_user_timeout`). The
/// local database has no such limit: runs copy many rows into it, and Linux also counts the time in which a busy server
/// does not read them.
const REMOTE_UNACKNOWLEDGED: Duration = Duration::from_secs(6);

impl Config {
    /// Reads the settings from flags, environment variables and the settings file. Checks each setting, and whether
    /// they fit together.
    pub fn load(settings: &CommandLineSettings) -> Result<Self, ConfigError> {
        Self::load_from(settings, &Environment::of_process())
    }

    /// Like [`Config::load`], but with the given environment variables in place of those of the process.
    pub fn load_from(
        settings: &CommandLineSettings,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let layers = SettingLayers::read(settings, environment)?;
        LogSettings::from_layers(&layers)?;
        let limits = limits(&layers)?;
        let tenants = tenants::read(&layers)?;
        let mapping = mapping(&layers, &tenants)?;
        let config = Self {
            remote: DatabaseSettingNames::REMOTE
                .endpoint(&layers, environment, &limits)?
                .map(|remote| remote.with_unacknowledged_limit(REMOTE_UNACKNOWLEDGED)),
            local: DatabaseSettingNames::LOCAL.endpoint(&layers, environment, &limits)?,
            tenants,
            mapping,
            workers: number(&layers, Setting::Workers, DEFAULT_WORKERS, 1..=MOST_WORKERS)?,
            schedule: schedule(&layers)?,
            jitter: duration(
                &layers,
                Setting::Jitter,
                DEFAULT_JITTER,
                Duration::ZERO..=HOUR,
            )?,
            catch_up: parse(&layers, Setting::CatchUp, None, value_parsers::catch_up)?,
            heartbeat_url: heartbeat_url::read(&layers)?,
            listen: parse(
                &layers,
                Setting::Listen,
                DEFAULT_LISTEN,
                value_parsers::address,
            )?,
            tokens: tokens(&layers)?,
            oauth: oauth_settings::read(&layers)?,
            allowed_hosts: list(&layers, Setting::AllowedHosts, value_parsers::hosts)?
                .unwrap_or_default(),
            read_only: parse(&layers, Setting::ReadOnly, false, value_parsers::switch)?,
            limits,
        };
        config.check_listen(&layers)?;
        config.check_sides_differ()?;
        Ok(config)
    }

    fn check_listen(&self, layers: &SettingLayers) -> Result<(), ConfigError> {
        if self.listen.ip().to_canonical().is_loopback() || self.requires_token() {
            return Ok(());
        }
        let place = layers.find(Setting::Listen).map(|found| found.place);
        Err(ConfigError::Invalid {
            place: place.unwrap_or_default(),
            problem: format!(
                "{} can be reached from other machines, and no tokens are set",
                self.listen
            ),
            remedy: Some(
                "Set METER_SYNC_TOKENS (or METER_SYNC_TOKENS_FILE, or METER_SYNC_OAUTH_ISSUER), or listen on 127.0.0.1.",
            ),
        })
    }

    fn check_sides_differ(&self) -> Result<(), ConfigError> {
        let local_tables = self.local_tables()?;
        let (Some(remote), Some(local)) = (&self.remote, &self.local) else {
            return Ok(());
        };
        let SourceSetting::Table(remote_table) = &self.mapping.source else {
            return Ok(());
        };
        let is_remote_table = |table: &&String| with_schema(table) == with_schema(remote_table);
        let Some(table) = local_tables.iter().find(is_remote_table) else {
            return Ok(());
        };
        if !remote.same_database(local) {
            return Ok(());
        }
        Err(ConfigError::Invalid {
            place: format!(
                "{} and {}",
                Setting::RemoteUrl.env(),
                Setting::LocalUrl.env()
            ),
            problem: format!("both lead to table {table} of {}", local.address()),
            remedy: Some(
                "Let METER_SYNC_REMOTE_URL name the central database and METER_SYNC_LOCAL_URL the site's own.",
            ),
        })
    }

    /// Returns the names of the local tables, as far as the settings alone tell them. If the tenants are stored in the
    /// database, this is the one name from the settings, with its placeholder for the tenant.
    fn local_tables(&self) -> Result<Vec<String>, ConfigError> {
        let TenantSelection::Listed(ids) = &self.tenants else {
            return Ok(vec![self.mapping.local_table.clone()]);
        };
        let tables = ids.iter().map(|id| self.mapping.for_tenant(id));
        tables.map(|mapping| Ok(mapping?.local_table)).collect()
    }
}

/// The names of the settings and of the legacy environment variables that say how to connect to one of the two
/// databases.
struct DatabaseSettingNames {
    url: Setting,
    url_file: Setting,
    legacy: LegacyVariablePrefix,
}

impl DatabaseSettingNames {
    const REMOTE: Self = Self {
        url: Setting::RemoteUrl,
        url_file: Setting::RemoteUrlFile,
        legacy: LegacyVariablePrefix::Remote,
    };
    const LOCAL: Self = Self {
        url: Setting::LocalUrl,
        url_file: Setting::LocalUrlFile,
        legacy: LegacyVariablePrefix::Local,
    };

    fn endpoint(
        &self,
        layers: &SettingLayers,
        environment: &Environment,
        limits: &Limits,
    ) -> Result<Option<DatabaseEndpoint>, ConfigError> {
        let (place, endpoint) = match layers.find_secret(self.url, self.url_file)? {
            Some(found) => {
                let endpoint = DatabaseEndpoint::parse(&found.text(), limits);
                let endpoint = endpoint.map(|endpoint| match found.file {
                    Some(file) => endpoint.of_file(file),
                    None => endpoint,
                });
                (found.place, endpoint)
            }
            None => match legacy_environment_variables::parameters(environment, self.legacy)? {
                Some(pairs) => (
                    self.legacy.place(),
                    DatabaseEndpoint::from_pairs(pairs, limits),
                ),
                None => return Ok(None),
            },
        };
        match endpoint {
            Ok(endpoint) => Ok(Some(endpoint)),
            Err(error) => Err(ConfigError::invalid(place, error.to_string())),
        }
    }
}

fn mapping(layers: &SettingLayers, tenants: &TenantSelection) -> Result<Mapping, ConfigError> {
    let text = |setting, default: &str| {
        let found = layers.find(setting);
        found.map_or_else(|| default.to_owned(), |found: FoundSetting| found.text())
    };
    let mapping = Mapping {
        tenant: None,
        source: match layers.find_one_of(&[Setting::RemoteTable, Setting::RemoteQuery])? {
            Some((Setting::RemoteQuery, found)) => SourceSetting::Query(trim_sql::trim(&found)?),
            Some((_, found)) => SourceSetting::Table(table(&found, |text| {
                parse_table_name::parts(text).map(drop)
            })?),
            None => SourceSetting::Table(DEFAULT_TABLE.to_owned()),
        },
        local_table: match layers.find(Setting::LocalTable) {
            Some(found) => table(&found, table_name_per_tenant::check)?,
            None => DEFAULT_TABLE.to_owned(),
        },
        columns: list(layers, Setting::Columns, value_parsers::names)?,
        key: list(layers, Setting::Key, value_parsers::names)?,
        tenant_column: text(Setting::TenantColumn, "tenant_id"),
        active_column: text(Setting::ActiveColumn, "active"),
        on_drift: parse(
            layers,
            Setting::OnDrift,
            OnDrift::default(),
            value_parsers::on_drift,
        )?,
    };
    match tenants {
        TenantSelection::One(Some(id)) => mapping.for_tenant(id),
        TenantSelection::One(None) => mapping.without_placeholder(),
        TenantSelection::Listed(_) | TenantSelection::All | TenantSelection::Query(_) => {
            Ok(mapping)
        }
    }
}

/// Returns the name of a table from a setting. Error: `check` refuses the name.
fn table(
    found: &FoundSetting,
    check: impl FnOnce(&str) -> Result<(), String>,
) -> Result<String, ConfigError> {
    let text = found.text();
    found.checked(check(&text)).map(|()| text)
}

fn schedule(layers: &SettingLayers) -> Result<Option<Schedule>, ConfigError> {
    let zone = parse(
        layers,
        Setting::Timezone,
        chrono_tz::UTC,
        value_parsers::timezone,
    )?;
    let found = layers.find(Setting::Schedule);
    let line = found
        .as_ref()
        .map_or_else(|| DEFAULT_SCHEDULE.to_owned(), FoundSetting::text);
    if line.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    match Schedule::parse(&line, zone)
        .and_then(|schedule| schedule.still_fires(machine_clock::now()))
    {
        Ok(schedule) => Ok(Some(schedule)),
        Err(error) => {
            let place = found.map_or_else(|| Setting::Schedule.env().to_owned(), |f| f.place);
            Err(ConfigError::invalid(place, format!("\"{line}\": {error}")))
        }
    }
}

fn tokens(layers: &SettingLayers) -> Result<Tokens, ConfigError> {
    let Some(found) = layers.find_secret(Setting::Tokens, Setting::TokensFile)? else {
        return Ok(Tokens::default());
    };
    let list = found.checked(bearer_tokens::read(&found.value))?;
    match found.file {
        _ if list.is_empty() => Err(found.error("holds no token")),
        Some(file) => Ok(Tokens::of_file(list, file)),
        None => Ok(Tokens::new(list)),
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Reads the timeouts and other limits, and checks their bounds. The lower bounds are small enough for tests. The upper
/// bounds are the largest values that still limit something in practice.
fn limits(layers: &SettingLayers) -> Result<Limits, ConfigError> {
    use Setting as S;
    let default = Limits::default();
    let wait = |setting, default, range| duration(layers, setting, default, range);
    let count = |setting, default, most| number(layers, setting, default, 0..=most);
    Ok(Limits {
        connect_timeout: wait(
            S::ConnectTimeout,
            default.connect_timeout,
            MILLISECOND * 100..=MINUTE * 5,
        )?,
        statement_timeout: wait(
            S::StatementTimeout,
            default.statement_timeout,
            MILLISECOND * 100..=HOUR * 24,
        )?,
        lock_timeout: wait(
            S::LockTimeout,
            default.lock_timeout,
            MILLISECOND * 10..=HOUR,
        )?,
        run_timeout: wait(S::RunTimeout, default.run_timeout, SECOND..=HOUR * 24)?,
        max_deactivated_percent: u8::try_from(count(
            S::MaxDeactivatedPercent,
            default.max_deactivated_percent.into(),
            100,
        )?)
        .unwrap_or(default.max_deactivated_percent),
        max_deactivated_rows: count(
            S::MaxDeactivatedRows,
            default.max_deactivated_rows,
            1_000_000_000,
        )?,
        brake: parse(layers, S::Brake, default.brake, value_parsers::brake)?,
        full_compare: wait(
            S::FullCompare,
            default.full_compare,
            Duration::ZERO..=HOUR * 24 * 31,
        )?,
        keep_runs: parse(layers, S::KeepRuns, default.keep_runs, |text| match text {
            "off" => Ok(None),
            text => value_parsers::duration(text, &(HOUR * 24..=HOUR * 24 * 36_500)).map(Some),
        })?,
        change_limit: count(S::ChangeLimit, default.change_limit, 10_000_000)?,
        rejected_limit: count(S::RejectedLimit, default.rejected_limit, 10_000_000)?,
        release_unique: parse(
            layers,
            S::ReleaseUnique,
            default.release_unique,
            value_parsers::switch,
        )?,
    })
}

fn duration(
    layers: &SettingLayers,
    setting: Setting,
    default: Duration,
    range: RangeInclusive<Duration>,
) -> Result<Duration, ConfigError> {
    parse(layers, setting, default, |text| {
        value_parsers::duration(text, &range)
    })
}

fn number(
    layers: &SettingLayers,
    setting: Setting,
    default: u32,
    range: RangeInclusive<u32>,
) -> Result<u32, ConfigError> {
    parse(layers, setting, default, |text| {
        value_parsers::number(text, &range)
    })
}

fn parse<T>(
    layers: &SettingLayers,
    setting: Setting,
    default: T,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    match layers.find(setting) {
        Some(found) => found.checked(read(&found.text())),
        None => Ok(default),
    }
}

fn list(
    layers: &SettingLayers,
    setting: Setting,
    read: fn(&[String]) -> Result<Vec<String>, String>,
) -> Result<Option<Vec<String>>, ConfigError> {
    match layers.find(setting) {
        Some(found) => found.checked(read(&found.list())).map(Some),
        None => Ok(None),
    }
}

/// Splits the name of a table into its schema and table; `None` if it cannot be parsed. The schema is `public` if the
/// name has none, so that `meter` and `public.meter` count as the same table.
fn with_schema(table: &str) -> Option<Vec<String>> {
    let mut parts = parse_table_name::parts(table).ok()?;
    if parts.len() == 1 {
        parts.insert(0, "public".to_owned());
    }
    Some(parts)
}
