//! The settings of the program's log output. They are read before all other settings, so that errors in those can be
//! logged.

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::error::ConfigError;
use super::setting_definitions::{CommandLineSettings, Setting};
use super::setting_layers::{Environment, FoundSetting, SettingLayers};

/// What is logged and in which format. Logs always go to stderr.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// Which lines are logged: a level or a filter such as `info,meter_sync=debug`. `None` means the default filter of
    /// the command that runs.
    pub filter: Option<Targets>,
    /// The format of the log lines.
    pub format: LogFormat,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people to read.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogSettings {
    /// Reads the log settings from flags, environment variables and the settings file. It never fails:
    ///
    /// - If the file cannot be used, only flags and environment variables are read.
    /// - If one log setting cannot be used, all of them keep their defaults.
    ///
    /// [`Config::load`](super::Config::load) reports the error later.
    pub fn load(settings: &CommandLineSettings) -> Self {
        Self::load_from(settings, &Environment::of_process())
    }

    /// Like [`LogSettings::load`], but with the given environment variables in place of those of the process.
    pub fn load_from(settings: &CommandLineSettings, environment: &Environment) -> Self {
        SettingLayers::read(settings, environment)
            .or_else(|_| SettingLayers::without_file(settings, environment))
            .and_then(|layers| Self::from_layers(&layers))
            .unwrap_or_default()
    }

    pub(super) fn from_layers(layers: &SettingLayers) -> Result<Self, ConfigError> {
        let mut log = Self::default();
        if let Some(found) = layers.find(Setting::Log) {
            log.filter = Some(filter(&found)?);
        }
        if let Some(found) = layers.find(Setting::LogFormat) {
            log.format = match found.text().as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(found.error("is neither text nor json")),
            };
        }
        Ok(log)
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            filter: None,
            format: LogFormat::Text,
        }
    }
}

fn filter(found: &FoundSetting) -> Result<Targets, ConfigError> {
    let text = found.text();
    parsed(&text).ok_or_else(|| {
        found.error(format!(
            "\"{text}\" is no log filter; write info, debug or info,meter_sync=debug"
        ))
    })
}

/// Parses a log filter: a level for all targets and `target=level` for single ones, separated by commas. Returns `None`
/// if the text is no filter. The parser of the `tracing` library is not used: it accepts nearly any text as a target,
/// so a typing error would silence the log.
fn parsed(text: &str) -> Option<Targets> {
    let parts = text.split(',').map(str::trim);
    let mut filter = None;
    for part in parts.filter(|part| !part.is_empty()) {
        let before: Targets = filter.unwrap_or_default();
        filter = Some(match part.split_once('=') {
            None => before.with_default(level(part)?),
            Some((of, at)) => before.with_target(target(of)?, level(at)?),
        });
    }
    filter
}

fn level(text: &str) -> Option<LevelFilter> {
    // An empty text is refused here, because the library would parse it as `error`.
    let text = Some(text).filter(|text| !text.is_empty());
    text?.parse().ok()
}

fn target(text: &str) -> Option<&str> {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
    Some(text).filter(|text| !text.is_empty() && text.chars().all(is_usual))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_log_setting_that_cannot_be_used_leaves_the_default() {
        for (variable, value) in [
            ("METER_SYNC_LOG", "meter_sync=shout"),
            ("METER_SYNC_LOG", "\"info\""),
            ("METER_SYNC_LOG", "meter_sync="),
            ("METER_SYNC_LOG", "=debug"),
            ("METER_SYNC_LOG", "*=debug"),
            ("METER_SYNC_LOG", "info,[request]=debug"),
            ("METER_SYNC_LOG", "info warn"),
            ("METER_SYNC_LOG", "verbose"),
            ("METER_SYNC_LOG", ","),
            ("METER_SYNC_LOG_FORMAT", "xml"),
            ("METER_SYNC_CONFIG", "/nowhere/meter-sync.toml"),
        ] {
            let environment = Environment::from([(variable, value)]);
            let log = LogSettings::load_from(&CommandLineSettings::default(), &environment);
            assert_eq!(log, LogSettings::default(), "{variable}");
        }
    }

    #[test]
    fn a_filter_is_levels_of_all_and_of_targets() {
        let meter_sync = Targets::new().with_target("meter_sync", Level::DEBUG);
        for (text, filter) in [
            ("WARN", Targets::new().with_default(Level::WARN)),
            ("off", Targets::new().with_default(LevelFilter::OFF)),
            ("meter_sync=debug", meter_sync.clone()),
            (
                " info, meter_sync=debug ,",
                meter_sync.clone().with_default(Level::INFO),
            ),
            (
                "meter_sync=debug,,info",
                meter_sync.with_default(Level::INFO),
            ),
            (
                "meter_sync::mirrors=error",
                Targets::new().with_target("meter_sync::mirrors", Level::ERROR),
            ),
        ] {
            assert_eq!(parsed(text), Some(filter), "{text}");
        }
    }

    #[test]
    fn flags_go_before_the_environment() {
        let settings = CommandLineSettings::default().with(Setting::Log, "debug");
        let environment = Environment::from([
            ("METER_SYNC_LOG", "warn"),
            ("METER_SYNC_LOG_FORMAT", "json"),
        ]);
        let log = LogSettings::load_from(&settings, &environment);
        assert_eq!(
            (log.filter, log.format),
            ("debug".parse().ok(), LogFormat::Json)
        );
    }
}
