//! The errors of settings. They never repeat a secret.

use crate::error::{ErrorCode, Failure};

/// An error about a setting: it is missing or cannot be used. No variant holds the value of a secret setting.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting that the command needs is not set anywhere.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A setting has a value that cannot be used.
    #[error("{place}: {problem}")]
    Invalid {
        /// The setting, by the name of its source: the flag, the environment variable or the key in the file.
        place: String,
        /// What is wrong with it.
        problem: String,
        /// What to do; `None` if correcting the named setting is enough.
        remedy: Option<&'static str>,
    },
    /// A setting names a file that cannot be read. The path is left out, because it may be a misplaced secret.
    #[error("{place}: the file it names cannot be read")]
    File {
        /// The setting, by the name of its source.
        place: String,
        /// Why the file cannot be read.
        #[source]
        source: std::io::Error,
    },
}

impl ConfigError {
    /// An error for a value that cannot be used. `place` names the setting by its flag, environment variable or key in
    /// the file.
    pub(super) fn invalid(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            place: place.into(),
            problem: problem.into(),
            remedy: None,
        }
    }

    /// The error code that every surface shows.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Missing(_) => ErrorCode::ConfigMissing,
            Self::Invalid { .. } | Self::File { .. } => ErrorCode::ConfigInvalid,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let message = match &error {
            ConfigError::File { source, .. } => format!("{error} ({})", source.kind()),
            ConfigError::Missing(_) | ConfigError::Invalid { .. } => error.to_string(),
        };
        let failure = Self::new(error.code(), message);
        match error {
            ConfigError::Invalid {
                remedy: Some(remedy),
                ..
            } => failure.with_remedy(remedy),
            ConfigError::Missing(_) | ConfigError::Invalid { .. } | ConfigError::File { .. } => {
                failure
            }
        }
    }
}
