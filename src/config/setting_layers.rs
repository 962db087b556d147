//! Finds the values of settings. Each source of settings is a *layer*. In order of precedence: flags, environment
//! variables, settings file, defaults of the command.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::ConfigError;
use super::setting_definitions::{CommandLineSettings, Setting, TENANT_FLAG};
use super::settings_file::{self, SettingValue, place_in_file};
use super::watched_file::{self, WatchedFile};

/// A set of environment variables. Only [`Environment::of_process`] reads the real ones of the process.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Returns the environment variables of this process.
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Whether the variable `name` is set to an empty value.
    pub fn is_blank(&self, name: &OsStr) -> bool {
        self.0.get(name).is_some_and(|value| value.is_empty())
    }

    /// Returns the name of the user who called `sudo` (`SUDO_USER`); `None` without `sudo`.
    pub fn account_behind_sudo(&self) -> Option<String> {
        let name = self.0.get(OsStr::new("SUDO_USER"))?.to_str()?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// Returns an error if a variable seems to be meant for this program but is not in `known`. The error suggests the
    /// nearest known name.
    pub fn refuse_unknown(&self, known: &BTreeSet<String>) -> Result<(), ConfigError> {
        let variables = self
            .0
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?, value)));
        let ours = variables.filter(|(name, value)| may_be_ours(name, value));
        let unknown = ours
            .map(|(name, _)| name)
            .filter(|name| !known.contains(*name));
        let Some(unknown) = unknown.min() else {
            return Ok(());
        };
        let distance = |known: &&String| strsim::damerau_levenshtein(known, unknown);
        let nearest = known.iter().min_by_key(distance);
        let nearest = nearest.map(String::as_str).unwrap_or_default();
        let problem = format!("there is no such setting; the nearest is {nearest}");
        Err(ConfigError::invalid(unknown, problem))
    }

    /// Returns the text of a variable; `None` if the variable is not set or blank. Error: the text is not UTF-8.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, ConfigError> {
        let Some(value) = self.0.get(OsStr::new(name)) else {
            return Ok(None);
        };
        let text = value
            .to_str()
            .ok_or_else(|| ConfigError::invalid(name, "is not UTF-8 text"))?;
        Ok((!text.trim().is_empty()).then_some(text))
    }
}

/// Whether a variable seems to be meant for this program: its name starts with `METER_SYNC_`, and does not look like
/// one that our tests or Kubernetes set. Kubernetes sets variables for each service, named after the service
/// (<https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables>).
fn may_be_ours(name: &str, value: &OsStr) -> bool {
    let Some(rest) = name.strip_prefix("METER_SYNC_") else {
        return false;
    };
    let is_of_kubernetes = rest.ends_with("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || rest.ends_with("PORT") && is_address(value)
        || rest
            .split("PORT_")
            .skip(1)
            .any(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    !is_of_kubernetes && !rest.starts_with("TEST_")
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        let pairs = variables.map(|(name, value)| (name.into(), value.into()));
        Self(pairs.into_iter().collect())
    }
}

/// Shows only the names of the variables, because values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// All sources of settings (*layers*) with their values, in order of precedence, the highest first.
pub(super) struct SettingLayers(Vec<SettingLayer>);

/// One source of settings, with the values that it gives.
struct SettingLayer {
    origin: SettingOrigin,
    values: BTreeMap<Setting, SettingValue>,
}

/// Where the values of a layer come from.
#[derive(Clone)]
enum SettingOrigin {
    /// The flag `--tenant`, which sets the setting `tenant_id` or `tenants` (see [`TENANT_FLAG`]).
    TenantFlag,
    Flags,
    Environment,
    File(PathBuf),
    Defaults,
}

/// Whether a value looks like the address of a Kubernetes service, such as `tcp://10.0.0.1:8765`.
fn is_address(value: &OsStr) -> bool {
    let text = value.to_string_lossy();
    ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
}

/// The kind of source that the value of a setting came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingSource {
    /// A command-line flag.
    Flag,
    /// An environment variable.
    Variable,
    /// The settings file, which `--config` names.
    File,
    /// No other source has a value, so the default is used.
    Default,
}

/// The value of a setting, and the source that it was found in.
pub(super) struct FoundSetting {
    pub(super) source: SettingSource,
    /// The name of the setting in its source, such as `--listen`, `METER_SYNC_LISTEN` or `listen in <file>`.
    pub(super) place: String,
    pub(super) value: SettingValue,
    /// The file that the value was read from, if a setting such as `tokens_file` names one; otherwise `None`.
    pub(super) file: Option<WatchedFile>,
}

impl SettingLayers {
    /// Reads all layers: the flags, the environment variables, the settings file that one of these names (if any), and
    /// the defaults of the command.
    pub(super) fn read(
        settings: &CommandLineSettings,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let mut layers = Self::without_file(settings, environment)?;
        if let Some(found) = layers.find(Setting::Config) {
            let path = PathBuf::from(found.text());
            let values = settings_file::read(&path, &found.place)?;
            layers.0.push(SettingLayer {
                origin: SettingOrigin::File(path),
                values,
            });
        }
        let texts = settings.defaults().iter();
        layers.0.push(SettingLayer {
            origin: SettingOrigin::Defaults,
            values: texts
                .map(|(setting, text)| (*setting, SettingValue::Text(text.clone())))
                .collect(),
        });
        Ok(layers)
    }

    pub(super) fn without_file(
        settings: &CommandLineSettings,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let tenant = match settings.tenants().as_slice() {
            [] => None,
            [id] => Some((Setting::TenantId, SettingValue::Text(id.clone()))),
            ids => Some((Setting::Tenants, SettingValue::List(ids.to_vec()))),
        };
        let mut flags = BTreeMap::new();
        let mut variables = BTreeMap::new();
        for setting in Setting::ALL.iter().copied() {
            if let Some(text) = settings.get(setting) {
                flags.insert(setting, SettingValue::Text(text.to_owned()));
            }
            if let Some(text) = environment.get(setting.env())? {
                variables.insert(setting, SettingValue::Text(text.to_owned()));
            }
        }
        let layer = |origin, values| SettingLayer { origin, values };
        Ok(Self(vec![
            layer(SettingOrigin::TenantFlag, tenant.into_iter().collect()),
            layer(SettingOrigin::Flags, flags),
            layer(SettingOrigin::Environment, variables),
        ]))
    }

    /// Returns the value of a setting from the first layer that has one; `None` if no layer has one.
    pub(super) fn find(&self, setting: Setting) -> Option<FoundSetting> {
        self.0.iter().find_map(|layer| layer.find(setting))
    }

    /// Returns the value of `setting`, which can also be given in a file: the setting `by_file` holds the path of that
    /// file. The first layer that has one of the two decides; `None` if no layer has. Error: one layer has both, or the
    /// file cannot be used.
    pub(super) fn find_secret(
        &self,
        setting: Setting,
        by_file: Setting,
    ) -> Result<Option<FoundSetting>, ConfigError> {
        for layer in &self.0 {
            match (layer.find(setting), layer.find(by_file)) {
                (None, None) => {}
                (Some(found), None) => return Ok(Some(found)),
                (None, Some(path)) => return read_secret(path).map(Some),
                (Some(_), Some(path)) => {
                    let problem = format!("is set beside {}; set one", setting.key());
                    return Err(path.error(problem));
                }
            }
        }
        Ok(None)
    }

    /// Returns the one of several alternative settings that is used, and its value; `None` if none is set. The first
    /// source that has one of them decides, so a flag overrides all of these settings in the file. Error: this source
    /// has two of them.
    pub(super) fn find_one_of(
        &self,
        settings: &[Setting],
    ) -> Result<Option<(Setting, FoundSetting)>, ConfigError> {
        let of_layer = |layer| {
            let found =
                move |setting: &Setting| Some((*setting, SettingLayer::find(layer, *setting)?));
            settings.iter().filter_map(found)
        };
        let mut found = self.0.iter().flat_map(of_layer);
        let (first, second) = (found.next(), found.next());
        match (&first, &second) {
            (Some((_, first)), Some((_, second))) if first.source == second.source => {
                let problem = format!("cannot be used together with {}", second.place);
                Err(first.error(problem))
            }
            _ => Ok(first),
        }
    }
}

impl SettingLayer {
    fn find(&self, setting: Setting) -> Option<FoundSetting> {
        let value = self.values.get(&setting)?.clone();
        let (source, place) = match &self.origin {
            SettingOrigin::TenantFlag => (SettingSource::Flag, format!("--{TENANT_FLAG}")),
            SettingOrigin::Flags => (SettingSource::Flag, format!("--{}", setting.flag())),
            SettingOrigin::Environment => (SettingSource::Variable, setting.env().to_owned()),
            SettingOrigin::File(path) => (SettingSource::File, place_in_file(setting.key(), path)),
            SettingOrigin::Defaults => (
                SettingSource::Default,
                format!("the default of --{}", setting.flag()),
            ),
        };
        Some(FoundSetting {
            source,
            place,
            value,
            file: None,
        })
    }
}

impl FoundSetting {
    /// Returns the value as one text, trimmed. The items of a list are joined with commas.
    pub(super) fn text(&self) -> String {
        match &self.value {
            SettingValue::Text(text) => text.trim().to_owned(),
            SettingValue::List(items) => items.join(","),
        }
    }

    /// Like [`FoundSetting::text`], but removes only line ends at the end, and keeps all other white space.
    pub(super) fn exact_text(&self) -> String {
        match &self.value {
            SettingValue::Text(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
            SettingValue::List(items) => items.join(","),
        }
    }

    /// Returns the value as a list of trimmed items, without blank ones. A text is split at commas and line ends.
    pub(super) fn list(&self) -> Vec<String> {
        match &self.value {
            SettingValue::Text(text) => items(text),
            SettingValue::List(list) => list.iter().flat_map(|item| trimmed(item)).collect(),
        }
    }

    /// Returns the value as a list of ids. The ids of an array are kept exactly as they are, with their white space. A
    /// text is split at commas and line ends, and its items are trimmed.
    pub(super) fn ids(&self) -> Vec<String> {
        match &self.value {
            SettingValue::Text(text) => items(text),
            SettingValue::List(list) => list.clone(),
        }
    }

    /// Creates an error that names the source of this value and says why the value cannot be used (`problem`).
    pub(super) fn error(&self, problem: impl Into<String>) -> ConfigError {
        ConfigError::invalid(&self.place, problem)
    }

    /// Adds the source of this value to the error in `read`, the result of parsing the value.
    pub(super) fn checked<T>(&self, read: Result<T, String>) -> Result<T, ConfigError> {
        read.map_err(|problem| self.error(problem))
    }
}

/// Splits a text at commas and line ends. Trims the items, and drops blank ones.
pub(super) fn items(text: &str) -> Vec<String> {
    text.split([',', '\n']).flat_map(trimmed).collect()
}

fn trimmed(item: &str) -> Option<String> {
    let item = item.trim();
    (!item.is_empty()).then(|| item.to_owned())
}

fn read_secret(path: FoundSetting) -> Result<FoundSetting, ConfigError> {
    let file = WatchedFile::new(Path::new(&path.text()));
    match watched_file::read(file.path()) {
        Ok(None) => Err(path.error("the file it names is empty")),
        Ok(Some(text)) => Ok(FoundSetting {
            source: path.source,
            place: path.place,
            value: SettingValue::Text(text),
            file: Some(file),
        }),
        Err(source) => Err(ConfigError::File {
            place: path.place,
            source,
        }),
    }
}
