//! The errors of connection strings. No error repeats a secret.

use super::connection_string::ConninfoError;
use super::database_tls::TlsError;

/// Why a connection string cannot be used. It repeats no part of the string.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The string cannot be parsed.
    #[error(transparent)]
    Syntax(#[from] ConninfoError),
    /// The string has a parameter with an unknown name.
    #[error("has a parameter that is not known (the nearest known one is {nearest})")]
    UnknownParameter {
        /// The known parameter whose name resembles the unknown one most.
        nearest: &'static str,
    },
    /// A known parameter has a value that cannot be used.
    #[error("has a bad {parameter}: {problem}")]
    BadParameter {
        /// The parameter's name.
        parameter: &'static str,
        /// What is wrong with its value.
        problem: &'static str,
    },
    /// TLS cannot be set up as the string asks.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file that holds the string has changed, and cannot be read or is empty.
    #[error("its file cannot be read, or is empty")]
    FileUnread,
    /// The file that holds the string has changed, and now names another server or database.
    #[error("leads to another server or database than before, which takes a restart")]
    OtherDatabase,
}
