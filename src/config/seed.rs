//! The variables of the system that meter-sync takes over from, as a fallback for both URLs.
//!
//! There, `POSTGRES_SYNC_*` is the database beside the sync program, our *local*, and
//! `POSTGRES_CLIENT_*` is the customer's central database, our *remote*. The names read the other
//! way round just as well, and taking them wrongly would write to the central database: hence the
//! tests below.

use super::conninfo::Pairs;
use super::error::ConfigError;
use super::layers::Environment;

/// The prefix of the variables of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    /// `POSTGRES_CLIENT_`
    Remote,
    /// `POSTGRES_SYNC_`
    Local,
}

impl Prefix {
    fn as_str(self) -> &'static str {
        match self {
            Self::Remote => "POSTGRES_CLIENT_",
            Self::Local => "POSTGRES_SYNC_",
        }
    }

    /// How an error names the group.
    pub(super) fn place(self) -> String {
        format!("{}*", self.as_str())
    }
}

/// The names of a group, each with the parameter it gives; several names of one parameter are
/// alternatives, the first counts.
const NAMES: &[(&str, &str)] = &[
    ("HOST", "host"),
    ("PORT", "port"),
    ("DB", "dbname"),
    ("DATABASE", "dbname"),
    ("USER", "user"),
    ("PASSWORD", "password"),
    ("SSLMODE", "sslmode"),
];

/// Without these a group is not complete. The seed system had defaults for the last two, which
/// would be a guess at which database is meant.
const REQUIRED: &[&str] = &["HOST", "DB", "USER"];

/// The parameters of one side; `None` if none of its variables is set.
pub(super) fn parameters(
    environment: &Environment,
    prefix: Prefix,
) -> Result<Option<Pairs>, ConfigError> {
    let mut pairs = Pairs::new();
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
    // What these sites have worked with.
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
            (Prefix::Remote, "central.example", "meters"),
            (Prefix::Local, "localhost", "site"),
        ] {
            let pairs = parameters(&environment, prefix).unwrap().unwrap();
            assert!(pairs.contains(&("host".to_owned(), host.to_owned())));
            assert!(pairs.contains(&("dbname".to_owned(), database.to_owned())));
        }
    }

    #[test]
    fn a_group_is_complete_or_absent() {
        let none = Environment::from([("POSTGRES_SYNC_HOST", "")]);
        assert_eq!(parameters(&none, Prefix::Local).unwrap(), None);
        let partial = Environment::from([("POSTGRES_SYNC_HOST", "h"), ("POSTGRES_SYNC_USER", "u")]);
        let error = parameters(&partial, Prefix::Local).unwrap_err().to_string();
        assert!(error.starts_with("POSTGRES_SYNC_DB:"), "{error}");
    }
}
