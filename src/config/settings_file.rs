//! Reads the TOML file of settings. An unknown key or a value of the wrong type is an error that names the key.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::error::ConfigError;
use super::setting_definitions::{Setting, ValueType};
use super::value_parsers;
use super::watched_file::without_mark;

/// The value of a setting: a list if it comes from an array in the TOML file or from several `--tenant` flags,
/// otherwise a text.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum SettingValue {
    Text(String),
    List(Vec<String>),
}

/// Reads the settings in the file at `path`. `named_by` is the flag or environment variable that gives the path; the
/// error shows it.
pub(super) fn read(
    path: &Path,
    named_by: &str,
) -> Result<BTreeMap<Setting, SettingValue>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File {
        place: format!("{named_by} = {}", path.display()),
        source,
    })?;
    parse(without_mark(&text), path)
}

fn parse(text: &str, path: &Path) -> Result<BTreeMap<Setting, SettingValue>, ConfigError> {
    let table: toml::Table = text
        .parse()
        .map_err(|error| syntax_error(text, path, &error))?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        let place = place_in_file(&key, path);
        let refused = |problem: String| ConfigError::invalid(&place, problem);
        if value.is_table() {
            let problem = "settings are top-level keys of the file; there are no sections";
            return Err(refused(problem.to_owned()));
        }
        let setting = setting_of(&key).map_err(refused)?;
        let given = value.clone();
        let Some(value) = convert(setting, value) else {
            return Err(refused(expected(setting, &given)));
        };
        if !is_empty(&value) {
            values.insert(setting, value);
        }
    }
    Ok(values)
}

/// Returns the name that errors give to a key of the settings file, such as `listen in meter-sync.toml`.
pub(super) fn place_in_file(key: &str, path: &Path) -> String {
    format!("{key} in {}", path.display())
}

/// Makes an error of the message of the TOML parser and the line number. The parser's full error text is not used,
/// because it quotes the line, which may contain a password.
fn syntax_error(text: &str, path: &Path, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.unwrap_or_default().matches('\n').count() + 1;
    ConfigError::invalid(
        path.display().to_string(),
        format!("is not TOML: {} (line {line})", error.message()),
    )
}

fn setting_of(key: &str) -> Result<Setting, String> {
    // The file cannot name another settings file, because it would be unclear which of the two is used.
    let known = || {
        Setting::ALL
            .iter()
            .copied()
            .filter(|known| *known != Setting::Config)
    };
    if let Some(setting) = known().find(|known| known.key() == key) {
        return Ok(setting);
    }
    let nearest = known().min_by_key(|known| strsim::damerau_levenshtein(known.key(), key));
    let nearest = nearest.map(Setting::key).unwrap_or_default();
    Err(format!(
        "there is no such setting; the nearest is {nearest}"
    ))
}

/// Converts a TOML value to a text or list; `None` if its type is not one that the setting accepts.
fn convert(setting: Setting, value: toml::Value) -> Option<SettingValue> {
    match (setting.kind(), value) {
        (
            ValueType::Text | ValueType::Id | ValueType::Ids | ValueType::List,
            toml::Value::String(text),
        ) => Some(SettingValue::Text(text)),
        (ValueType::Id | ValueType::Ids | ValueType::Number, toml::Value::Integer(number)) => {
            Some(SettingValue::Text(number.to_string()))
        }
        (ValueType::Switch, toml::Value::Boolean(on)) => Some(SettingValue::Text(on.to_string())),
        (kind @ (ValueType::List | ValueType::Ids), toml::Value::Array(items)) => {
            let texts = items.into_iter().map(|item| match item {
                toml::Value::String(text) => Some(text),
                toml::Value::Integer(number) if kind == ValueType::Ids => Some(number.to_string()),
                toml::Value::Integer(_)
                | toml::Value::Float(_)
                | toml::Value::Boolean(_)
                | toml::Value::Datetime(_)
                | toml::Value::Array(_)
                | toml::Value::Table(_) => None,
            });
            texts.collect::<Option<Vec<_>>>().map(SettingValue::List)
        }
        _ => None,
    }
}

fn expected(setting: Setting, given: &toml::Value) -> String {
    let is = match setting.kind() {
        ValueType::Text => "is not a string",
        ValueType::Id => "is neither a string nor a whole number",
        ValueType::Ids => "is not an array of strings and whole numbers",
        ValueType::Number => "is not a whole number",
        ValueType::Switch => "is neither true nor false",
        ValueType::List => "is not an array of strings",
    };
    let default = setting.default_text().unwrap_or_default();
    let is_duration = value_parsers::duration(default, &(Duration::ZERO..=Duration::MAX)).is_ok();
    match given.as_integer() {
        Some(number) if is_duration => {
            format!("{is}; write {} = \"{number}s\" for seconds", setting.key())
        }
        Some(_) | None => is.to_owned(),
    }
}

fn is_empty(value: &SettingValue) -> bool {
    match value {
        SettingValue::Text(text) => text.trim().is_empty(),
        SettingValue::List(items) => items.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn error(text: &str) -> String {
        match parse(text, Path::new("m.toml")) {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => format!("{error} {error:?}"),
        }
    }

    #[test]
    fn an_error_names_the_key_and_what_belongs_there() {
        for (text, part) in [
            (
                "remote_ulr = 'x'",
                "remote_ulr in m.toml: there is no such setting; the nearest is remote_url",
            ),
            ("config = 'x'", "no such setting"),
            (
                "change_limit = '5'",
                "change_limit in m.toml: is not a whole number",
            ),
            ("read_only = 1", "neither true nor false"),
            ("columns = [1]", "not an array of strings"),
            ("tenant_id = 1.5", "neither a string nor a whole number"),
            (
                "tenants = [1.5]",
                "not an array of strings and whole numbers",
            ),
            (
                "[limits]\nx = 1",
                "limits in m.toml: settings are top-level keys of the file; there are no sections",
            ),
            ("a = 1\nb =\n", "line 2"),
        ] {
            assert!(error(text).contains(part), "{text}: {}", error(text));
        }
    }

    #[test]
    fn an_id_may_be_a_number_and_a_list_an_array() {
        let values = parse(
            "tenant_id = 7\ncolumns = ['a,b', 'c']\nlog = ''",
            Path::new("m.toml"),
        );
        let values = values.unwrap();
        assert!(values.get(&Setting::TenantId) == Some(&SettingValue::Text("7".to_owned())));
        let columns = vec!["a,b".to_owned(), "c".to_owned()];
        assert!(values.get(&Setting::Columns) == Some(&SettingValue::List(columns)));
        assert_eq!(values.len(), 2);
    }

    quickcheck! {
        fn a_broken_line_shows_nothing_of_itself(before: String, after: String) -> bool {
            ["remote_url = \"{}\"", "remote_url = {}", "remote_url {}", "tokens = [\"{}]"]
                .iter()
                .map(|shape| shape.replace("{}", &format!("{before}hunter2{after}")))
                .filter_map(|text| parse(&text, Path::new("m.toml")).err())
                .all(|error| !format!("{error} {error:?}").contains("hunter2"))
        }
    }
}
