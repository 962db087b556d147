//! Lists every setting with its effective value and where the value comes from, so that people can see which values are
//! used. Secrets are left out.

use serde::Serialize;

use super::bearer_tokens;
use super::error::ConfigError;
use super::heartbeat_url;
use super::legacy_environment_variables::{self, LegacyVariablePrefix};
use super::parse_connection_string;
use super::setting_definitions::{CommandLineSettings, Setting};
use super::setting_layers::{Environment, FoundSetting, SettingLayers, SettingSource};
use super::tenants::TENANT_SETTINGS;
use super::{Config, Token};
use crate::model::TenantId;

/// One setting, the value that is used for it, and where the value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EffectiveSetting {
    /// The key of the setting in the settings file.
    pub setting: &'static str,
    /// The value, or the default as `--help` describes it. `None` if the setting has no value and no default, or if an
    /// alternative is used instead (such as `remote_query` instead of `remote_table`). Secrets are left out: the
    /// password of a connection string, and of tokens everything but their number, scopes, names and tenants.
    pub value: Option<String>,
    /// The kind of source that the value came from.
    pub source: SettingSource,
    /// The exact source: the flag, the environment variable, or the key and the file. `None` if no source gives a
    /// value.
    pub place: Option<String>,
}

/// Lists every setting, in the order of `--help`. Error: a setting cannot be used. Then nothing is listed, because a
/// secret can only be left out of a value that can be parsed.
pub fn list(
    settings: &CommandLineSettings,
    environment: &Environment,
) -> Result<Vec<EffectiveSetting>, ConfigError> {
    Config::load_from(settings, environment)?;
    let layers = SettingLayers::read(settings, environment)?;
    let listed = Setting::ALL.iter().copied();
    listed
        .map(|setting| one(setting, &layers, environment))
        .collect()
}

fn one(
    setting: Setting,
    layers: &SettingLayers,
    environment: &Environment,
) -> Result<EffectiveSetting, ConfigError> {
    let secret = SECRETS.iter().find(|secret| secret.setting == setting);
    let mut default = setting.default_text();
    let given = match secret {
        Some(secret) => secret.given(layers, environment)?,
        None => match used_setting(setting, layers)? {
            Some((of, found)) if of == setting => Some(ListedValue {
                value: found.text(),
                source: found.source,
                place: found.place,
            }),
            Some(_used_in_its_place) => {
                default = None;
                None
            }
            None => None,
        },
    };
    Ok(match given {
        Some(given) => EffectiveSetting {
            setting: setting.key(),
            value: Some(given.value),
            source: given.source,
            place: Some(given.place),
        },
        None => EffectiveSetting {
            setting: setting.key(),
            value: default.map(str::to_owned),
            source: SettingSource::Default,
            place: None,
        },
    })
}

/// Groups of settings of which only one is used: the one in the source with the highest precedence.
const EXCLUSIVE: &[&[Setting]] = &[
    &[Setting::RemoteUrl, Setting::RemoteUrlFile],
    &[Setting::LocalUrl, Setting::LocalUrlFile],
    &[Setting::Tokens, Setting::TokensFile],
    &[Setting::HeartbeatUrl, Setting::HeartbeatUrlFile],
    &[Setting::RemoteTable, Setting::RemoteQuery],
    TENANT_SETTINGS,
];

/// Returns `setting`, or the alternative from its [`EXCLUSIVE`] group that is used instead, with its value. `None` if
/// none of them is set.
fn used_setting(
    setting: Setting,
    layers: &SettingLayers,
) -> Result<Option<(Setting, FoundSetting)>, ConfigError> {
    match EXCLUSIVE.iter().find(|group| group.contains(&setting)) {
        Some(group) => layers.find_one_of(group),
        None => Ok(layers.find(setting).map(|found| (setting, found))),
    }
}

/// A value in the form that is shown, and where it came from.
struct ListedValue {
    value: String,
    source: SettingSource,
    place: String,
}

/// A setting whose value holds a secret, and how to show the value without the secret.
struct SecretSetting {
    setting: Setting,
    /// The setting that names a file with the value, such as `tokens_file` for `tokens`.
    by_file: Setting,
    /// The environment variables of the replaced (legacy) program that are used if both settings are missing; `None` if
    /// there are no such variables.
    legacy: Option<LegacyVariablePrefix>,
    /// Returns the value without the secret.
    show: fn(&FoundSetting) -> String,
}

const SECRETS: &[SecretSetting] = &[
    SecretSetting {
        setting: Setting::RemoteUrl,
        by_file: Setting::RemoteUrlFile,
        legacy: Some(LegacyVariablePrefix::Remote),
        show: without_password,
    },
    SecretSetting {
        setting: Setting::LocalUrl,
        by_file: Setting::LocalUrlFile,
        legacy: Some(LegacyVariablePrefix::Local),
        show: without_password,
    },
    SecretSetting {
        setting: Setting::Tokens,
        by_file: Setting::TokensFile,
        legacy: None,
        show: scopes,
    },
    SecretSetting {
        setting: Setting::HeartbeatUrl,
        by_file: Setting::HeartbeatUrlFile,
        legacy: None,
        show: heartbeat_url::without_path,
    },
];

impl SecretSetting {
    fn given(
        &self,
        layers: &SettingLayers,
        environment: &Environment,
    ) -> Result<Option<ListedValue>, ConfigError> {
        if let Some(found) = layers.find_secret(self.setting, self.by_file)? {
            return Ok(Some(ListedValue {
                value: (self.show)(&found),
                source: found.source,
                place: found.place,
            }));
        }
        let Some(prefix) = self.legacy else {
            return Ok(None);
        };
        let pairs = legacy_environment_variables::parameters(environment, prefix)?;
        Ok(pairs.map(|pairs| ListedValue {
            value: parse_connection_string::show(&pairs),
            source: SettingSource::Variable,
            place: prefix.place(),
        }))
    }
}

/// Returns a connection string without its password. [`list`] calls this only after the string was parsed without an
/// error.
fn without_password(found: &FoundSetting) -> String {
    let pairs = parse_connection_string::parse(&found.text());
    pairs.map_or_else(
        |_unread| String::new(),
        |pairs| parse_connection_string::show(&pairs),
    )
}

/// Describes a list of tokens without the secrets: their number, and the scope, name and tenants of each.
fn scopes(found: &FoundSetting) -> String {
    let tokens = bearer_tokens::read(&found.value).unwrap_or_default();
    let scope = |token: &Token| {
        let scope = match token.may_trigger {
            true => "trigger",
            false => "read",
        };
        let name = token.name.iter().map(|name| format!(":{name}"));
        let tenants = token.tenants.iter().map(|tenants| {
            let ids: Vec<_> = tenants.iter().map(TenantId::as_str).collect();
            format!("@{}", ids.join(","))
        });
        name.chain(tenants)
            .fold(scope.to_owned(), |text, part| text + &part)
    };
    let scopes: Vec<_> = tokens.iter().map(scope).collect();
    let noun = match scopes.len() {
        1 => "token",
        _ => "tokens",
    };
    format!("{} {noun}: {}", scopes.len(), scopes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings whose default is described in words in the help text, and is not a value that can be set.
    const DESCRIBED: &[Setting] = &[
        Setting::TenantId,
        Setting::Columns,
        Setting::Key,
        Setting::Log,
    ];

    #[test]
    fn a_default_that_is_shown_is_the_one_that_counts() {
        let nothing = Environment::default();
        let load = |settings: &CommandLineSettings| {
            let config = Config::load_from(settings, &nothing).expect("settings");
            format!("{config:?}")
        };
        let unset = load(&CommandLineSettings::default());
        for setting in Setting::ALL {
            let Some(default) = setting.default_text() else {
                continue;
            };
            if !DESCRIBED.contains(setting) {
                let set = load(&CommandLineSettings::default().with(*setting, default));
                assert_eq!(set, unset, "{}", setting.key());
            }
        }
    }
}
