//! How to log. Read before everything else, so that what goes wrong later can be logged.

use tracing_subscriber::filter::Targets;

use super::error::ConfigError;
use super::layers::{Environment, Found, Layers};
use super::settings::{Setting, Settings};

/// What is logged and how, always on stderr.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// A level or a filter such as `info,meter_sync=debug`; absent for the command's own default.
    pub filter: Option<Targets>,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogSettings {
    /// What flags, environment and file say. Whatever cannot be used is left at its default here;
    /// [`Config::load`](super::Config::load) then says what is wrong with it.
    pub fn load(settings: &Settings) -> Self {
        Self::load_from(settings, &Environment::of_process())
    }

    /// The same with another environment.
    pub fn load_from(settings: &Settings, environment: &Environment) -> Self {
        Layers::read(settings, environment)
            .or_else(|_| Layers::without_file(settings, environment))
            .and_then(|layers| Self::from_layers(&layers))
            .unwrap_or_default()
    }

    pub(super) fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
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

fn filter(found: &Found) -> Result<Targets, ConfigError> {
    let text = found.text();
    match text.parse() {
        Ok(filter) => Ok(filter),
        Err(_) => Err(found.error(format!(
            "\"{text}\" is no log filter; write info, debug or info,meter_sync=debug"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_setting_that_cannot_be_used_leaves_the_default() {
        for (variable, value) in [
            ("METER_SYNC_LOG", "meter_sync=shout"),
            ("METER_SYNC_LOG_FORMAT", "xml"),
            ("METER_SYNC_CONFIG", "/nowhere/meter-sync.toml"),
        ] {
            let environment = Environment::from([(variable, value)]);
            let log = LogSettings::load_from(&Settings::default(), &environment);
            assert_eq!(log, LogSettings::default(), "{variable}");
        }
    }

    #[test]
    fn flags_go_before_the_environment() {
        let settings = Settings::default().with(Setting::Log, "debug");
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
