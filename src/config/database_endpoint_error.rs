//! The errors of connection strings. No error contains a secret.

use super::database_tls::TlsError;
use super::parse_connection_string::ConninfoError;

/// Why a connection string cannot be used. The error quotes no part of the string, which may contain a password.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The string cannot be parsed.
    #[error(transparent)]
    Syntax(#[from] ConninfoError),
    /// The string has a parameter with an unknown name.
    #[error("has a parameter that is not known (the nearest known one is {nearest})")]
    UnknownParameter {
        /// The name of the known parameter that is most similar to the unknown name.
        nearest: &'static str,
    },
    /// A known parameter has a value that cannot be used, or this program does not support the parameter.
    #[error("has a bad {parameter}: {problem}")]
    BadParameter {
        /// The parameter's name.
        parameter: &'static str,
        /// What is wrong with the parameter or its value.
        problem: &'static str,
    },
    /// TLS cannot be set up as the string asks.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file with the connection string has changed, and now cannot be read or is empty.
    #[error("its file cannot be read, or is empty")]
    FileUnread,
    /// The file with the connection string has changed, and now names another server or database. That needs a restart.
    #[error("leads to another server or database than before, which takes a restart")]
    OtherDatabase,
}
