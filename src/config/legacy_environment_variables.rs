//! Reads the environment variables of the older program that meter-sync replaces (the *legacy variables*). They are
//! used for a database whose connection string is not set.
//!
//! In the older program, `POSTGRES_SYNC_*` names the site's database, here *local*, and `POSTGRES_CLIENT_*` names the
//! customer's central database, here *remote*. The names are easily confused, and a mix-up would write to the central
//! database. The tests below therefore fix their meaning.

use super::error::ConfigError;
use super::parse_connection_string::ParameterPairs;
use super::setting_layers::Environment;

/// The beginning of the names of the legacy variables for one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegacyVariablePrefix {
    /// `POSTGRES_CLIENT_`, for the central database.
    Remote,
    /// `POSTGRES_SYNC_`, for the site's own database.
    Local,
}

impl LegacyVariablePrefix {
    fn as_str(self) -> &'static str {
        match self {
            Self::Remote => "POSTGRES_CLIENT_",
            Self::Local => "POSTGRES_SYNC_",
        }
    }

    /// Returns the name that errors give to all variables with this prefix, such as `POSTGRES_SYNC_*`.
    pub(super) fn place(self) -> String {
        format!("{}*", self.as_str())
    }
}

/// The names of the legacy variables without their prefix, each with the connection parameter that it sets. If several
/// variables set one parameter, the first of them in this list is used.
const NAMES: &[(&str, &str)] = &[
    ("HOST", "host"),
    ("PORT", "port"),
    ("DB", "dbname"),
    ("DATABASE", "dbname"),
    ("USER", "user"),
    ("PASSWORD", "password"),
    ("SSLMODE", "sslmode"),
];

/// The variables that must be set if any variable with the same prefix is set. `DATABASE` may replace `DB`. None of
/// them has a default, because a default might lead to the wrong database.
const REQUIRED: &[&str] = &["HOST", "DB", "USER"];

/// Reads the connection parameters from the variables with this prefix; `None` if none of them is set. Error: a
/// required variable is missing, or a variable is not UTF-8.
pub(super) fn parameters(
    environment: &Environment,
    prefix: LegacyVariablePrefix,
) -> Result<Option<ParameterPairs>, ConfigError> {
    let mut pairs = ParameterPairs::new();
    for &(name, parameter) in NAMES {
        let value = environment.get(&format!("{}{name}", prefix.as_str()))?;
        let known = pairs.iter().any(|(earlier, _)| earlier == parameter);
        if let (Some(value), false) = (value, known) {
            pairs.push((parameter.to_owned(), value.to_owned()));
        }
    }
    if pairs.is_empty() {
        return Ok(None);
    }
    for &(name, parameter) in NAMES.iter().filter(|(name, _)| REQUIRED.contains(name)) {
        if !pairs.iter().any(|(given, _)| given == parameter) {
            let missing = format!("{}{name}", prefix.as_str());
            let problem = format!("is not set, but others of {} are", prefix.place());
            return Err(ConfigError::invalid(missing, problem));
        }
    }
    // The legacy system connected in this mode.
    if !pairs.iter().any(|(given, _)| given == "sslmode") {
        pairs.push(("sslmode".to_owned(), "prefer".to_owned()));
    }
    Ok(Some(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_database_is_the_remote_and_the_sync_database_the_local() {
        let environment = Environment::from([
            ("POSTGRES_CLIENT_HOST", "central.example"),
            ("POSTGRES_CLIENT_DB", "meters"),
            ("POSTGRES_CLIENT_USER", "reader"),
            ("POSTGRES_SYNC_HOST", "localhost"),
            ("POSTGRES_SYNC_DATABASE", "site"),
            ("POSTGRES_SYNC_USER", "site"),
        ]);
        for (prefix, host, database) in [
            (LegacyVariablePrefix::Remote, "central.example", "meters"),
            (LegacyVariablePrefix::Local, "localhost", "site"),
        ] {
            let pairs = parameters(&environment, prefix).unwrap().unwrap();
            assert!(pairs.contains(&("host".to_owned(), host.to_owned())));
            assert!(pairs.contains(&("dbname".to_owned(), database.to_owned())));
        }
    }

    #[test]
    fn a_group_is_complete_or_absent() {
        let none = Environment::from([("POSTGRES_SYNC_HOST", "")]);
        assert_eq!(
            parameters(&none, LegacyVariablePrefix::Local).unwrap(),
            None
        );
        let partial = Environment::from([("POSTGRES_SYNC_HOST", "h"), ("POSTGRES_SYNC_USER", "u")]);
        let error = parameters(&partial, LegacyVariablePrefix::Local)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("POSTGRES_SYNC_DB:"), "{error}");
    }
}
