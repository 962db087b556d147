//! CommandLineSettings: a value means the same as a flag, as a variable and in the file, and no error shows a secret.

use std::fmt::Debug;
use std::io::Write;
use std::sync::LazyLock;

use bolero::{Driver, TypeGenerator, check};
use meter_sync::config::{CommandLineSettings, Config, ConfigError, Environment, Setting};
use tempfile::NamedTempFile;

use super::draw::{below, edited, odd, once_in, pick};
use super::inputs;

/// A part of each secret.
const SECRET: &str = "hunter2";

/// Values that some setting takes.
const VALUES: &[&str] = &[
    "30s",
    "1m",
    "2h",
    "90d",
    "off",
    "on",
    "true",
    "false",
    "1",
    "7",
    "20",
    "100",
    "1000",
    "warn",
    "fail",
    "json",
    "text",
    "info,meter_sync=debug",
    "0 * * * *",
    "@daily",
    "Europe/Berlin",
    "UTC",
    "127.0.0.1:8766",
    "[::1]:80",
    "0.0.0.0:8765",
    "meters.example.com",
    "central.meter",
    "meter",
    "meter_{tenant}",
    "7,acme",
    "all",
    "id",
    "id, meter_element_id",
    "select * from meter",
];

/// Values of the settings that hold secrets.
const SECRETS: &[&str] = &[
    "postgres://u:hunter2@db.example/meters?sslmode=disable",
    "host=/run/pg dbname=site user=u password='hunter2 x'",
    "trigger:ann:hunter2hunter2hunter2",
    "trigger:ann@7,8:hunter2hunter2hunter2,read:bob@9:0123456789abcdef",
    "read:hunter2hunter2hunter2,trigger:0123456789abcdef",
];

const PIECES: &[&str] = &[
    ",", ":", ".", "\"", "=", " ", "s", "d", "%", "0", "-", "select ", "*", "@", "'",
];

/// How the file writes a setting that takes no text, as its error says.
const NUMBER: &str = "is not a whole number";
const SWITCH: &str = "is neither true nor false";
static BARE: LazyLock<Vec<(Setting, &str)>> = LazyLock::new(|| {
    let kind = |setting: &Setting| {
        let refused = load_file(&format!("{} = \"x\"", setting.key()))
            .err()?
            .to_string();
        let kind = [NUMBER, SWITCH]
            .into_iter()
            .find(|told| refused.contains(told));
        kind.map(|kind| (*setting, kind))
    };
    Setting::ALL.iter().filter_map(kind).collect()
});

fn load_file(text: &str) -> Result<Config, ConfigError> {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let settings = CommandLineSettings::default().with(Setting::Config, path);
    Config::load_from(&settings, &Environment::default())
}

fn shown(loaded: &Result<Config, ConfigError>) -> String {
    fn all(shown: &impl Debug) -> String {
        format!("{shown:?}")
    }
    match loaded {
        Ok(config) => all(config),
        Err(error) => format!("{error} {}", all(error)),
    }
}

/// A few settings with values of their own or of others.
#[derive(Clone, Debug)]
struct GivenSettings(Vec<(Setting, String)>);

impl TypeGenerator for GivenSettings {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        let mut given: Vec<(Setting, String)> = Vec::new();
        for _ in 0..3 {
            let setting = *pick(driver, Setting::ALL)?;
            let is_of_a_file = setting == Setting::Config || setting.key().ends_with("_file");
            if is_of_a_file || given.iter().any(|(known, _)| *known == setting) {
                continue;
            }
            // An edit may make a secret the name of a token, or a host, which are shown.
            let secret = [Setting::RemoteUrl, Setting::LocalUrl, Setting::Tokens];
            let is_secret = secret.contains(&setting);
            let value = *pick(driver, if is_secret { SECRETS } else { VALUES })?;
            let value = match !is_secret && once_in(driver, 3)? {
                true => edited(driver, value, PIECES)?,
                false => value.to_owned(),
            };
            // No variable of an environment holds it, and the file has no raw control characters.
            given.push((setting, value.replace(char::is_control, "")));
        }
        Some(Self(given))
    }
}

impl GivenSettings {
    fn as_flags(&self) -> Result<Config, ConfigError> {
        let settings = self.0.iter().fold(
            CommandLineSettings::default(),
            |settings, (setting, value)| settings.with(*setting, value),
        );
        Config::load_from(&settings, &Environment::default())
    }

    fn as_variables(&self) -> Result<Config, ConfigError> {
        let mut variables = [("", ""); 3];
        for (variable, (setting, value)) in variables.iter_mut().zip(&self.0) {
            *variable = (setting.env(), value);
        }
        Config::load_from(
            &CommandLineSettings::default(),
            &Environment::from(variables),
        )
    }

    /// As the file has them; `None` where it has no such value.
    fn as_file(&self) -> Option<Result<Config, ConfigError>> {
        let mut text = String::new();
        for (setting, value) in &self.0 {
            let bare = BARE.iter().find(|(known, _)| known == setting);
            let value = match bare.map(|(_, kind)| *kind) {
                None => toml_text(value),
                Some(NUMBER) if value.parse::<u32>().is_ok_and(|n| n.to_string() == *value) => {
                    value.clone()
                }
                Some(SWITCH) if ["true", "false"].contains(&value.as_str()) => value.clone(),
                Some(_) => return None,
            };
            text += &format!("{} = {value}\n", setting.key());
        }
        Some(load_file(&text))
    }
}

fn toml_text(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
}

#[test]
fn a_setting_means_the_same_wherever_it_is_given() {
    check!()
        .with_iterations(inputs(500))
        .with_type::<GivenSettings>()
        .for_each(|given| {
            let flags = given.as_flags();
            for other in [Some(given.as_variables()), given.as_file()]
                .into_iter()
                .flatten()
            {
                match (&flags, &other) {
                    (Ok(flags), Ok(other)) => {
                        assert_eq!(format!("{flags:?}"), format!("{other:?}"));
                    }
                    (Err(_), Err(_)) => {}
                    (one, other) => panic!("{one:?} {other:?}"),
                }
                assert!(!shown(&other).contains(SECRET), "{}", shown(&other));
            }
            assert!(!shown(&flags).contains(SECRET), "{}", shown(&flags));
            if let Err(error) = flags {
                let told = error.to_string();
                let mut given = given.0.iter();
                let names_one = given.any(|(setting, _)| {
                    [setting.flag(), setting.env()]
                        .iter()
                        .any(|name| told.contains(name))
                });
                assert!(names_one, "{told}");
            }
        });
}

/// The sample file with its settings switched on, and a few edits.
#[derive(Clone, Debug)]
struct File(String);

impl TypeGenerator for File {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        const SAMPLE: &str = include_str!("../../../examples/meter-sync.toml");
        let mut text = String::new();
        for line in SAMPLE.lines().filter(|line| line.contains(" = ")) {
            if below(driver, 4)? == 0 {
                let line = line.trim_start_matches("# ").replace("secret", SECRET);
                // To read the certificates of the system takes as long as a hundred files.
                let line = line.replace("verify-full", "disable");
                let line = line.replace("0123456789abcdef", "hunter2hunter2hunter2");
                text += &edited(
                    driver,
                    &line,
                    &[
                        "\"", "'", "\n", "=", "[", "]", "[x]\n", "#", "\\u", "\"\"\"",
                    ],
                )?;
                text += "\n";
            }
        }
        text += &odd(driver)?;
        Some(Self(text))
    }
}

#[test]
fn a_file_is_taken_or_refused_by_key_or_line_without_its_secrets() {
    check!()
        .with_iterations(inputs(2000))
        .with_type::<File>()
        .for_each(|File(text)| {
            let loaded = load_file(text);
            let told = shown(&loaded);
            assert!(!told.contains(SECRET), "{told}");
            if let Err(error) = &loaded {
                let told = error.to_string();
                let names_a_key = Setting::ALL
                    .iter()
                    .any(|setting| told.contains(setting.key()));
                let names_a_place = told.contains("(line ")
                    || told.contains("no such setting")
                    || told.contains("sections");
                assert!(names_a_key || names_a_place, "{told}");
            }
        });
}
