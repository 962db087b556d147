//! Every setting with its value and where it came from, for people who wonder what counts. Secrets are left out.

use serde::Serialize;

use super::conninfo;
use super::error::ConfigError;
use super::layers::{Environment, Found, Layers, SettingSource};
use super::seed::{self, Prefix};
use super::settings::{Setting, Settings};
use super::tokens;
use super::{Config, Token};

/// One setting as it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedSetting {
    /// Its key in the file.
    pub setting: &'static str,
    /// Its value, or the default as `--help` gives it; `None` where there is neither. Of a connection string all but the
    /// password, of tokens their number and scopes.
    pub value: Option<String>,
    /// What kind of place the value came from.
    pub source: SettingSource,
    /// The flag, the variable or the key and the file; `None` for a default.
    pub place: Option<String>,
}

/// Lists every setting. Settings that cannot be used are an error, as for any other command: a secret is told apart only in
/// what can be read.
pub fn list(
    settings: &Settings,
    environment: &Environment,
) -> Result<Vec<ListedSetting>, ConfigError> {
    Config::load_from(settings, environment)?;
    let layers = Layers::read(settings, environment)?;
    let listed = Setting::ALL.iter().copied();
    listed
        .map(|setting| one(setting, &layers, environment))
        .collect()
}

fn one(
    setting: Setting,
    layers: &Layers,
    environment: &Environment,
) -> Result<ListedSetting, ConfigError> {
    let secret = SECRETS.iter().find(|secret| secret.setting == setting);
    let mut default = setting.default_text();
    let given = match secret {
        Some(secret) => secret.given(layers, environment)?,
        None => {
            let (found, other) = counting(setting, layers)?;
            default = default.filter(|_| other.is_none());
            found.map(|found| Given {
                value: found.text(),
                source: found.source,
                place: found.place,
            })
        }
    };
    Ok(match given {
        Some(given) => ListedSetting {
            setting: setting.key(),
            value: Some(given.value),
            source: given.source,
            place: Some(given.place),
        },
        None => ListedSetting {
            setting: setting.key(),
            value: default.map(str::to_owned),
            source: SettingSource::Default,
            place: None,
        },
    })
}

/// Settings of which one counts at most: that of the first place that has either.
const EXCLUSIVE: &[(Setting, Setting)] = &[
    (Setting::RemoteUrl, Setting::RemoteUrlFile),
    (Setting::LocalUrl, Setting::LocalUrlFile),
    (Setting::Tokens, Setting::TokensFile),
    (Setting::RemoteTable, Setting::RemoteQuery),
];

/// The value that counts, and that of a setting which counts in its place.
fn counting(
    setting: Setting,
    layers: &Layers,
) -> Result<(Option<Found>, Option<Found>), ConfigError> {
    let is_of = |pair: &&(Setting, Setting)| pair.0 == setting || pair.1 == setting;
    let Some(&(one, other)) = EXCLUSIVE.iter().find(is_of) else {
        return Ok((layers.find(setting), None));
    };
    let (first, second) = layers.find_one_of(one, other)?;
    Ok(if setting == one {
        (first, second)
    } else {
        (second, first)
    })
}

/// A value as it is shown, and where it came from.
struct Given {
    value: String,
    source: SettingSource,
    place: String,
}

/// A setting whose value is not shown as it is.
struct Secret {
    setting: Setting,
    /// The setting that names a file with the value.
    by_file: Setting,
    /// The earlier system's variables that stand in for it.
    seed: Option<Prefix>,
    /// What is shown of it.
    show: fn(&Found) -> String,
}

const SECRETS: &[Secret] = &[
    Secret {
        setting: Setting::RemoteUrl,
        by_file: Setting::RemoteUrlFile,
        seed: Some(Prefix::Remote),
        show: without_password,
    },
    Secret {
        setting: Setting::LocalUrl,
        by_file: Setting::LocalUrlFile,
        seed: Some(Prefix::Local),
        show: without_password,
    },
    Secret {
        setting: Setting::Tokens,
        by_file: Setting::TokensFile,
        seed: None,
        show: scopes,
    },
];

impl Secret {
    fn given(
        &self,
        layers: &Layers,
        environment: &Environment,
    ) -> Result<Option<Given>, ConfigError> {
        if let Some(found) = layers.find_secret(self.setting, self.by_file)? {
            return Ok(Some(Given {
                value: (self.show)(&found),
                source: found.source,
                place: found.place,
            }));
        }
        let Some(prefix) = self.seed else {
            return Ok(None);
        };
        let pairs = seed::parameters(environment, prefix)?;
        Ok(pairs.map(|pairs| Given {
            value: conninfo::show(&pairs),
            source: SettingSource::Variable,
            place: prefix.place(),
        }))
    }
}

/// A connection string without its password. What cannot be read was refused before.
fn without_password(found: &Found) -> String {
    let pairs = conninfo::parse(&found.text());
    pairs.map_or_else(|_unread| String::new(), |pairs| conninfo::show(&pairs))
}

/// How many tokens there are, what each may do, and whose it is.
fn scopes(found: &Found) -> String {
    let tokens = tokens::parse(&found.list()).unwrap_or_default();
    let scope = |token: &Token| {
        let scope = match token.may_trigger {
            true => "trigger",
            false => "read",
        };
        let name = token.name.iter().map(|name| format!(":{name}"));
        name.fold(scope.to_owned(), |scope, name| scope + &name)
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

    /// What counts where nothing is set, in the words of the program and not of the machine.
    const DESCRIBED: &[Setting] = &[
        Setting::TenantId,
        Setting::Columns,
        Setting::Key,
        Setting::Log,
    ];

    #[test]
    fn a_default_that_is_shown_is_the_one_that_counts() {
        let nothing = Environment::default();
        let load = |settings: &Settings| {
            let config = Config::load_from(settings, &nothing).expect("settings");
            format!("{config:?}")
        };
        let unset = load(&Settings::default());
        for setting in Setting::ALL {
            let Some(default) = setting.default_text() else {
                continue;
            };
            if !DESCRIBED.contains(setting) {
                let set = load(&Settings::default().with(*setting, default));
                assert_eq!(set, unset, "{}", setting.key());
            }
        }
    }
}
