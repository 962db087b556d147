//! The errors of settings. No error contains a secret.

use crate::error::{ErrorCode, Failure};

/// Why a setting cannot be used. No variant contains the value of a secret setting.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting that the command needs is not set. The field names its environment variable.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A setting has a value that cannot be used.
    #[error("{place}: {problem}")]
    Invalid {
        /// The name of the setting in its source: a flag, an environment variable, or a key and the settings file.
        place: String,
        /// What is wrong with the value.
        problem: String,
        /// What the user can do; `None` if it is enough to correct the named setting.
        remedy: Option<&'static str>,
    },
    /// The file that a setting names cannot be read. If it should hold a secret, its path is left out, because the path
    /// may be a misplaced secret.
    #[error("{place}: the file it names cannot be read")]
    File {
        /// The flag, environment variable or file key that names the file.
        place: String,
        /// Why the file cannot be read.
        #[source]
        source: std::io::Error,
    },
}

impl ConfigError {
    /// Creates the error for a value that cannot be used. `place` is the flag, environment variable or file key that
    /// gives the value.
    pub(super) fn invalid(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            place: place.into(),
            problem: problem.into(),
            remedy: None,
        }
    }

    /// Returns the code of the error, as users and clients see it.
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
