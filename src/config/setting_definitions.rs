//! Defines every setting once, with its flag, environment variable, file key and help text. The command line, the
//! environment, the TOML file and the tests of the documentation all use this list.

use std::collections::BTreeMap;

use clap::builder::ArgAction;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// The type of a setting in the TOML file. Flags and environment variables are always text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueType {
    /// A string.
    Text,
    /// The id of a tenant: a string, or a whole number.
    Id,
    /// Several ids of tenants: an array of strings and whole numbers, one string with commas, or one whole number.
    Ids,
    /// A whole number.
    Number,
    /// `true` or `false`. The flag without a value means `true`.
    Switch,
    /// An array of strings, or one string with commas.
    List,
}

macro_rules! settings {
    ($($heading:literal {
        $($(#[doc = $doc:literal])+ $name:ident = $key:literal $flag:literal $env:literal $kind:ident $value:literal;)+
    })+) => {
        /// A setting of the program. The doc comment of each variant is the help text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Setting { $($($(#[doc = $doc])+ $name,)+)+ }

        impl Setting {
            /// Every setting, in the order of `--help`.
            pub const ALL: &'static [Self] = &[$($(Self::$name,)+)+];

            /// Returns the key of the setting in the TOML file.
            pub fn key(self) -> &'static str {
                match self { $($(Self::$name => $key,)+)+ }
            }

            /// Returns the command-line flag of the setting, without the dashes.
            pub fn flag(self) -> &'static str {
                match self { $($(Self::$name => $flag,)+)+ }
            }

            /// Returns the environment variable of the setting.
            pub fn env(self) -> &'static str {
                match self { $($(Self::$name => $env,)+)+ }
            }

            pub(super) fn kind(self) -> ValueType {
                match self { $($(Self::$name => ValueType::$kind,)+)+ }
            }

            fn heading(self) -> &'static str {
                match self { $($(Self::$name => $heading,)+)+ }
            }

            fn help(self) -> &'static str {
                match self { $($(Self::$name => concat!($($doc),+),)+)+ }
            }

            /// Returns the default that the help text gives in brackets; `None` if it gives none.
            pub(super) fn default_text(self) -> Option<&'static str> {
                let (_, after) = self.help().split_once("[default: ")?;
                after.split_once(']').map(|(default, _)| default)
            }

            fn value_name(self) -> &'static str {
                match self { $($(Self::$name => $value,)+)+ }
            }
        }
    };
}

settings! {
    "Databases" {
        /// The central database, which is only read: a postgres:// URL or key=value pairs, with sslmode and sslrootcert as in psql.
        RemoteUrl = "remote_url" "remote-url" "METER_SYNC_REMOTE_URL" Text "URL";
        /// A file that holds the remote URL, for secrets.
        RemoteUrlFile = "remote_url_file" "remote-url-file" "METER_SYNC_REMOTE_URL_FILE" Text "PATH";
        /// The site's own database, which is kept equal: a postgres:// URL or key=value pairs.
        LocalUrl = "local_url" "local-url" "METER_SYNC_LOCAL_URL" Text "URL";
        /// A file that holds the local URL, for secrets.
        LocalUrlFile = "local_url_file" "local-url-file" "METER_SYNC_LOCAL_URL_FILE" Text "PATH";
    }
    "What to sync" {
        /// The customer organisation whose meters this site mirrors [default: the single row of the local table tenant].
        TenantId = "tenant_id" "tenant-id" "METER_SYNC_TENANT_ID" Id "ID";
        /// The customer organisations whose meters to mirror, separated by commas, or all for every row of the local table tenant.
        Tenants = "tenants" "tenants" "METER_SYNC_TENANTS" Ids "IDS|all";
        /// A query on the local database whose first column is the ids of the customer organisations, and whose column `name`, if any, their names; it is run again from time to time.
        TenantsQuery = "tenants_query" "tenants-query" "METER_SYNC_TENANTS_QUERY" Text "SQL";
        /// The remote table or view, with its schema if need be [default: meter].
        RemoteTable = "remote_table" "remote-table" "METER_SYNC_REMOTE_TABLE" Text "TABLE";
        /// A select to read in place of a remote table; it gives the tenant column too.
        RemoteQuery = "remote_query" "remote-query" "METER_SYNC_REMOTE_QUERY" Text "SQL";
        /// The local table, with its schema if need be; {tenant} in it stands for the tenant's id [default: meter].
        LocalTable = "local_table" "local-table" "METER_SYNC_LOCAL_TABLE" Text "TABLE";
        /// The columns to sync, separated by commas [default: every column both tables have].
        Columns = "columns" "columns" "METER_SYNC_COLUMNS" List "NAMES";
        /// The columns that identify a meter, separated by commas [default: the local primary key].
        Key = "key" "key" "METER_SYNC_KEY" List "NAMES";
        /// The column that names the tenant [default: tenant_id].
        TenantColumn = "tenant_column" "tenant-column" "METER_SYNC_TENANT_COLUMN" Text "NAME";
        /// The column that says whether a meter is in use [default: active].
        ActiveColumn = "active_column" "active-column" "METER_SYNC_ACTIVE_COLUMN" Text "NAME";
        /// What a run does when the remote has dropped, renamed or retyped a synced column: warn and sync the others, or fail [default: warn].
        OnDrift = "on_drift" "on-drift" "METER_SYNC_ON_DRIFT" Text "warn|fail";
    }
    "Schedule" {
        /// When to sync by itself: a cron line of 5, 6 or 7 fields, @hourly or alike, or off [default: 0 * * * *].
        Schedule = "schedule" "schedule" "METER_SYNC_SCHEDULE" Text "CRON";
        /// The time zone of the schedule, such as Europe/Berlin [default: UTC].
        Timezone = "timezone" "timezone" "METER_SYNC_TIMEZONE" Text "ZONE";
        /// The longest random delay of a scheduled run, so that many sites do not ask at once [default: 30s].
        Jitter = "jitter" "jitter" "METER_SYNC_JITTER" Text "DURATION";
        /// How late a slot that passed while no process ran is still made up when one starts; without it, any time until the next slot.
        CatchUp = "catch_up" "catch-up" "METER_SYNC_CATCH_UP" Text "DURATION";
        /// A URL to call after each success, as healthchecks.io gives one; with /start and /fail after it also when a sync begins and when one does not succeed.
        HeartbeatUrl = "heartbeat_url" "heartbeat-url" "METER_SYNC_HEARTBEAT_URL" Text "URL";
        /// A file that holds the heartbeat URL, for secrets.
        HeartbeatUrlFile = "heartbeat_url_file" "heartbeat-url-file" "METER_SYNC_HEARTBEAT_URL_FILE" Text "PATH";
    }
    "HTTP server" {
        /// The address serve listens on; anything but loopback needs tokens [default: 127.0.0.1:8765].
        Listen = "listen" "listen" "METER_SYNC_LISTEN" Text "ADDRESS";
        /// Host names that serve answers to besides its address, separated by commas.
        AllowedHosts = "allowed_hosts" "allowed-hosts" "METER_SYNC_ALLOWED_HOSTS" List "NAMES";
        /// Bearer tokens, separated by commas: read:SECRET, trigger:SECRET, trigger:NAME:SECRET or trigger:NAME@TENANT,TENANT:SECRET, 16 characters or more.
        Tokens = "tokens" "tokens" "METER_SYNC_TOKENS" List "TOKENS";
        /// A file that holds the tokens, one a line.
        TokensFile = "tokens_file" "tokens-file" "METER_SYNC_TOKENS_FILE" Text "PATH";
        /// Take access tokens (OAuth 2.1) of this authorization server: its issuer URL, as in the tokens.
        OauthIssuer = "oauth_issuer" "oauth-issuer" "METER_SYNC_OAUTH_ISSUER" Text "URL";
        /// The URL that names this server in access tokens: the address by which clients reach /mcp.
        OauthAudience = "oauth_audience" "oauth-audience" "METER_SYNC_OAUTH_AUDIENCE" Text "URL";
        /// The authorization server's public keys (JWKS): a file or an https URL.
        OauthJwks = "oauth_jwks" "oauth-jwks" "METER_SYNC_OAUTH_JWKS" Text "PATH|URL";
        /// Refuse every sync; the trigger tool is absent.
        ReadOnly = "read_only" "read-only" "METER_SYNC_READ_ONLY" Switch "BOOL";
    }
    "Limits" {
        /// How many runs of different tenants go on at once [default: 4].
        Workers = "workers" "workers" "METER_SYNC_WORKERS" Number "COUNT";
        /// How long to wait for a connection, TLS and sign-in included [default: 10s].
        ConnectTimeout = "connect_timeout" "connect-timeout" "METER_SYNC_CONNECT_TIMEOUT" Text "DURATION";
        /// How long one statement may take, and the remote may be silent [default: 60s].
        StatementTimeout = "statement_timeout" "statement-timeout" "METER_SYNC_STATEMENT_TIMEOUT" Text "DURATION";
        /// How long to wait for a lock on local rows [default: 5s].
        LockTimeout = "lock_timeout" "lock-timeout" "METER_SYNC_LOCK_TIMEOUT" Text "DURATION";
        /// How long a whole run may take [default: 15m].
        RunTimeout = "run_timeout" "run-timeout" "METER_SYNC_RUN_TIMEOUT" Text "DURATION";
        /// The brake refuses a run that would deactivate more than this percentage of the active meters and more than --max-deactivated-rows, until a person approves it [default: 20].
        MaxDeactivatedPercent = "max_deactivated_percent" "max-deactivated-percent" "METER_SYNC_MAX_DEACTIVATED_PERCENT" Number "PERCENT";
        /// The brake refuses a run that would deactivate more than this number of meters and more than --max-deactivated-percent, until a person approves it [default: 5].
        MaxDeactivatedRows = "max_deactivated_rows" "max-deactivated-rows" "METER_SYNC_MAX_DEACTIVATED_ROWS" Number "COUNT";
        /// Whether a run that would change meters also waits for a person after the remote was restored or swapped for another: standard only warns, strict refuses [default: standard].
        Brake = "brake" "brake" "METER_SYNC_BRAKE" Text "standard|strict";
        /// How often the contents of all rows are compared after a run, which itself compares row versions or digests; 0s for after each run [default: 1d].
        FullCompare = "full_compare" "full-compare" "METER_SYNC_FULL_COMPARE" Text "DURATION";
        /// How long the log keeps runs, or off for ever; those with problems are kept four times as long, and each meter's last change for ever [default: 90d].
        KeepRuns = "keep_runs" "keep-runs" "METER_SYNC_KEEP_RUNS" Text "DURATION";
        /// How many changes of one run the log keeps [default: 10000].
        ChangeLimit = "change_limit" "change-limit" "METER_SYNC_CHANGE_LIMIT" Number "COUNT";
        /// How many rows one run may reject before it gives up [default: 1000].
        RejectedLimit = "rejected_limit" "rejected-limit" "METER_SYNC_REJECTED_LIMIT" Number "COUNT";
        /// Whether a unique value that another meter needs is set to NULL in an inactive meter that is gone from the remote: on or off [default: on].
        ReleaseUnique = "release_unique" "release-unique" "METER_SYNC_RELEASE_UNIQUE" Switch "BOOL";
    }
    "Logging and file" {
        /// What to log, on stderr: a level or a filter such as info,meter_sync=debug [default: info,rmcp=warn for servers, warn for other commands].
        Log = "log" "log" "METER_SYNC_LOG" Text "FILTER";
        /// How to log: text or json [default: text].
        LogFormat = "log_format" "log-format" "METER_SYNC_LOG_FORMAT" Text "FORMAT";
        /// A TOML file with any of these settings; flags and environment variables override it.
        Config = "config" "config" "METER_SYNC_CONFIG" Text "PATH";
    }
}

/// The settings given as command-line flags, which override all other sources. The command line contains this type (see
/// `clap::Args`). Other code starts from the default and adds settings with [`CommandLineSettings::with`].
#[derive(Clone, Default)]
pub struct CommandLineSettings {
    given: BTreeMap<Setting, String>,
    /// The ids of tenants given with `--tenant`, one for each use of the flag.
    tenants: Vec<String>,
    defaults: BTreeMap<Setting, String>,
}

impl CommandLineSettings {
    /// Sets a setting as its flag would, so that it overrides the environment and the settings file. The items of a
    /// list are separated by commas. An empty value counts as not set.
    #[must_use]
    pub fn with(mut self, setting: Setting, value: impl Into<String>) -> Self {
        self.given.insert(setting, value.into());
        self
    }

    /// Changes the default of a setting, which is used if flags, environment and settings file give no value.
    #[must_use]
    pub fn with_default(mut self, setting: Setting, value: impl Into<String>) -> Self {
        self.defaults.insert(setting, value.into());
        self
    }

    pub(super) fn get(&self, setting: Setting) -> Option<&str> {
        let value = self.given.get(&setting)?;
        (!value.trim().is_empty()).then_some(value)
    }

    /// Returns the ids of tenants given with `--tenant`. A blank id counts as not given.
    pub(super) fn tenants(&self) -> Vec<String> {
        let given = self.tenants.iter().filter(|id| !id.trim().is_empty());
        given.cloned().collect()
    }

    /// Returns the id of the tenant given with `--tenant`; `None` if the flag was given several times or not at all.
    pub(crate) fn only_tenant(&self) -> Option<&str> {
        let mut given = self.tenants.iter().filter(|id| !id.trim().is_empty());
        given
            .next()
            .filter(|_| given.next().is_none())
            .map(String::as_str)
    }

    pub(super) fn defaults(&self) -> &BTreeMap<Setting, String> {
        &self.defaults
    }
}

/// Shows only the names of the settings, because values may be secrets.
impl std::fmt::Debug for CommandLineSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.given.keys()).finish()
    }
}

impl clap::Args for CommandLineSettings {
    fn augment_args(command: Command) -> Command {
        let arguments = Setting::ALL.iter().copied().map(argument);
        command.args(arguments).arg(tenant_flag())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for CommandLineSettings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Self::default();
        settings.update_from_arg_matches(matches)?;
        Ok(settings)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in Setting::ALL.iter().copied() {
            // Values that clap read from the environment are skipped. The environment is a separate layer (see
            // `setting_layers`), so that an error names the source of a value and a test can pass another environment.
            if matches.value_source(setting.key()) != Some(ValueSource::CommandLine) {
                continue;
            }
            if let Some(value) = matches.get_one::<String>(setting.key()) {
                self.given.insert(setting, value.clone());
            }
        }
        if let Some(ids) = matches.get_many::<String>(TENANT_FLAG) {
            self.tenants = ids.cloned().collect();
        }
        Ok(())
    }
}

/// The flag `--tenant`, which names one tenant and can be repeated. Used once, it sets the setting `tenant_id`; used
/// several times, it sets `tenants`. Unlike with `--tenants`, an id may contain a comma.
pub(super) const TENANT_FLAG: &str = "tenant";

fn tenant_flag() -> Arg {
    Arg::new(TENANT_FLAG)
        .long(TENANT_FLAG)
        .global(true)
        .action(ArgAction::Append)
        .allow_hyphen_values(true)
        .value_name("ID")
        .help_heading(Setting::TenantId.heading())
        .help("An organisation whose meters to mirror; give the flag once for each")
}

fn argument(setting: Setting) -> Arg {
    let argument = Arg::new(setting.key())
        .long(setting.flag())
        .env(setting.env())
        .hide_env_values(true)
        .global(true)
        .action(ArgAction::Set)
        .value_name(setting.value_name())
        .help_heading(setting.heading())
        .help(setting.help().trim().trim_end_matches('.'));
    match setting.kind() {
        ValueType::Switch => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        ValueType::Id | ValueType::Ids => argument.allow_hyphen_values(true),
        ValueType::Text if setting == Setting::Schedule => argument.allow_hyphen_values(true),
        ValueType::Text | ValueType::Number | ValueType::List => argument,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        settings: CommandLineSettings,
        #[command(subcommand)]
        command: Option<Sub>,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Sub {
        Sync,
    }

    #[test]
    fn the_three_names_of_a_setting_agree() {
        for setting in Setting::ALL {
            assert_eq!(setting.flag(), setting.key().replace('_', "-"));
            let variable = format!("METER_SYNC_{}", setting.key().to_uppercase());
            assert_eq!(setting.env(), variable);
        }
    }

    #[test]
    fn flags_are_taken_before_and_after_the_command() {
        let line = Line::parse_from([
            "meter-sync",
            "--tenant-id",
            "-7",
            "sync",
            "--schedule",
            "*/5 * * * *",
            "--read-only",
        ]);
        assert!(matches!(line.command, Some(Sub::Sync)));
        assert_eq!(line.settings.get(Setting::TenantId), Some("-7"));
        assert_eq!(line.settings.get(Setting::Schedule), Some("*/5 * * * *"));
        assert_eq!(line.settings.get(Setting::ReadOnly), Some("true"));
        assert_eq!(line.settings.get(Setting::Listen), None);
    }

    #[test]
    fn a_tenant_flag_names_one_id_each_time() {
        let line = ["meter-sync", "sync", "--tenant", "-7", "--tenant", "a,b"];
        let settings = Line::parse_from(line).settings;
        assert_eq!(settings.tenants(), ["-7", "a,b"]);
        let blank = Line::parse_from(["meter-sync", "--tenant", ""]).settings;
        assert!(blank.tenants().is_empty());
    }

    #[test]
    fn debug_shows_no_value() {
        let settings =
            CommandLineSettings::default().with(Setting::RemoteUrl, "postgres://u:hunter2@h/m");
        assert_eq!(format!("{settings:?}"), "{RemoteUrl}");
    }

    #[test]
    fn help_names_every_setting_and_shows_no_value_of_the_environment() {
        use clap::CommandFactory;
        let help = Line::command().render_long_help().to_string();
        for setting in Setting::ALL {
            assert!(
                help.contains(&format!("--{}", setting.flag())),
                "{setting:?}"
            );
            assert!(
                help.contains(&format!("[env: {}]", setting.env())),
                "{setting:?}"
            );
        }
    }
}
