//! The errors of database access. Users see each of them as a [`Failure`]: a code, a message and a remedy.

use std::time::Duration;

use deadpool::managed::{BuildError, PoolError};
use tokio_postgres::error::SqlState;

use super::connection_ending_errors::is_fatal;
use super::connector::NoServerReached;
use super::{Side, SideName};
use crate::error::{ErrorCode, Failure};

mod choose_remedy;
mod classify_server_error;
mod denied_object;
mod describe_connect_failure;
mod describe_error;
mod shorten_server_text;

pub(crate) use choose_remedy::PUBLICATION_REMEDY;
pub(crate) use denied_object::DeniedObject;

/// An error in the use of the remote or the local database. Its `Display` text contains no user name and no SQL; the
/// cause, if there is one, is its `source()`.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The connection pool could not be built.
    #[error("the {side} connection pool could not be set up")]
    Pool {
        /// Which database: remote or local.
        side: SideName,
        /// Why the pool could not be built.
        source: BuildError,
    },
    /// No connection could be made.
    #[error("no connection to the {side} database")]
    Connect {
        /// Which database: remote or local.
        side: SideName,
        /// The time limit for getting a connection.
        waited: Duration,
        /// Why no connection could be made.
        source: PoolError<NoServerReached>,
    },
    /// A statement failed.
    #[error("the {side} database failed at: {doing}")]
    Query {
        /// Which database: remote or local.
        side: SideName,
        /// The name of the statement, which says what it was to do, such as `plan the changes`.
        doing: String,
        /// The error of the driver or of the server.
        source: tokio_postgres::Error,
    },
    /// A request waited too long for a connection: all connections that may be used to answer requests were in use.
    #[error("no connection to the {side} database is free for reading")]
    Busy {
        /// Which database: remote or local.
        side: SideName,
        /// How long this process waited for a connection to become free.
        waited: Duration,
    },
    /// The server did not answer a statement within the time limit of this process.
    #[error("the {side} database was silent for {waited:?} at: {doing}")]
    Silence {
        /// Which database: remote or local.
        side: SideName,
        /// The name of the statement, which says what it was to do.
        doing: String,
        /// How long this process waited for the answer.
        waited: Duration,
    },
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        error.failure()
    }
}

impl DbError {
    pub(crate) fn query<S: Side>(doing: impl Into<String>, source: tokio_postgres::Error) -> Self {
        Self::Query {
            side: S::NAME,
            doing: doing.into(),
            source,
        }
    }

    pub(crate) fn silence<S: Side>(doing: impl Into<String>, waited: Duration) -> Self {
        Self::Silence {
            side: S::NAME,
            doing: doing.into(),
            waited,
        }
    }

    /// Returns which database the error is about: remote or local.
    pub fn side(&self) -> SideName {
        match self {
            Self::Pool { side, .. }
            | Self::Connect { side, .. }
            | Self::Query { side, .. }
            | Self::Busy { side, .. }
            | Self::Silence { side, .. } => *side,
        }
    }

    /// The error message of the server itself; `None` if the error did not come from the server.
    pub fn server_error(&self) -> Option<&tokio_postgres::error::DbError> {
        self.driver_error()
            .and_then(tokio_postgres::Error::as_db_error)
    }

    /// Returns the object on which the role lacks a privilege; `None` if the server's message names no such object.
    pub(crate) fn denied(&self) -> Option<DeniedObject<'_>> {
        self.server_error().and_then(DeniedObject::of)
    }

    fn driver_error(&self) -> Option<&tokio_postgres::Error> {
        match self {
            Self::Connect {
                source: PoolError::Backend(source),
                ..
            } => source.driver_error(),
            Self::Query { source, .. } => Some(source),
            Self::Connect { .. } | Self::Pool { .. } | Self::Busy { .. } | Self::Silence { .. } => {
                None
            }
        }
    }

    /// Whether the error concerns one row, and not the statement or the server. Either a value of the row breaks a
    /// constraint or cannot be cast, or a trigger or another user-defined function fails on the row.
    pub fn is_about_a_row(&self) -> bool {
        self.server_error()
            .is_some_and(classify_server_error::is_about_a_row)
            && !self.is_of_an_event_trigger()
    }

    /// Whether an event trigger refused to create or drop one of the temporary tables or views that runs need.
    pub fn is_of_an_event_trigger(&self) -> bool {
        match self {
            Self::Query { doing, source, .. } => source
                .as_db_error()
                .is_some_and(|error| choose_remedy::is_of_an_event_trigger(doing, error)),
            Self::Pool { .. } | Self::Connect { .. } | Self::Busy { .. } | Self::Silence { .. } => {
                false
            }
        }
    }

    /// Whether the connection can no longer be used: the server ended it, or the error did not come from a server.
    pub fn ends_the_connection(&self) -> bool {
        self.server_error().is_none_or(is_fatal)
    }

    /// Whether the statement was refused only because an earlier statement of the transaction had failed.
    pub fn follows_another(&self) -> bool {
        self.server_error()
            .is_some_and(|error| *error.code() == SqlState::IN_FAILED_SQL_TRANSACTION)
    }

    /// Whether the server failed because a row or value, written as text, exceeds the limit of 1 GiB.
    pub fn exceeds_size_limit(&self) -> bool {
        self.server_error().is_some_and(|error| {
            let is_of_memory =
                ["mcxt.c", "stringinfo.c"].contains(&error.file().unwrap_or_default());
            let codes = [SqlState::PROGRAM_LIMIT_EXCEEDED, SqlState::INTERNAL_ERROR];
            is_of_memory && codes.contains(error.code())
        })
    }

    /// Whether the statement was cancelled, usually by `statement_timeout`, or needs a function that the server does
    /// not have. Callers whose computation is optional then go on without it.
    pub fn is_too_much_to_compute(&self) -> bool {
        self.server_error().is_some_and(|error| {
            [SqlState::QUERY_CANCELED, SqlState::UNDEFINED_FUNCTION].contains(error.code())
        })
    }

    /// Whether an optional computation over rows is not possible, although a plain read of the rows may be:
    /// - a value cannot be converted, such as a text that is no number where the local column is numeric;
    /// - the server does not have a function or a system column, does not support what was asked, or denies it to the
    ///   role;
    /// - the statement was cancelled, usually because of its time limit, which is shorter than that of a COPY (a COPY
    ///   may take as long as a run).
    pub fn is_not_computable(&self) -> bool {
        self.is_about_a_row() || self.is_too_much_to_compute() || self.lacks_a_function()
    }

    /// Whether the relation cannot be locked: it is no table or view, does not exist, or the role may not read it. A
    /// later read of the relation then fails with the reason.
    pub fn cannot_be_locked(&self) -> bool {
        self.server_error().is_some_and(|error| {
            [
                SqlState::WRONG_OBJECT_TYPE,
                SqlState::FEATURE_NOT_SUPPORTED,
                SqlState::UNDEFINED_TABLE,
                SqlState::INVALID_SCHEMA_NAME,
                SqlState::INSUFFICIENT_PRIVILEGE,
            ]
            .contains(error.code())
        })
    }

    /// Whether the server has no such function or column, does not support what was asked, or denies the function to
    /// the role. Whether it denies a function or something else is told from the message, if that is in English.
    /// Otherwise, a denial does not count, because a table may be denied, too.
    pub fn lacks_a_function(&self) -> bool {
        let lacking = [
            SqlState::UNDEFINED_FUNCTION,
            SqlState::UNDEFINED_COLUMN,
            SqlState::UNDEFINED_OBJECT,
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::SYNTAX_ERROR,
        ];
        let said = self.server_error();
        said.is_some_and(|error| lacking.contains(error.code()))
            || self.denied().is_some_and(DeniedObject::is_on_function)
    }

    /// Whether the role lacks a privilege.
    pub fn is_denied(&self) -> bool {
        self.server_error()
            .is_some_and(|error| *error.code() == SqlState::INSUFFICIENT_PRIVILEGE)
    }

    /// Converts the error to the failure that users see: a code, a message and a remedy.
    pub fn failure(&self) -> Failure {
        let side = self.side();
        match self {
            Self::Pool { .. } => Failure::new(ErrorCode::Internal, self.to_string()),
            Self::Silence { doing, waited, .. } => Failure::new(
                choose_remedy::timeout(side),
                format!(
                    "The {side} database gave no answer within {} s; it was to {doing}.",
                    waited.as_secs()
                ),
            ),
            Self::Busy { waited, .. } => Failure::new(
                choose_remedy::timeout(side),
                format!(
                    "The {side} connections that reading may use were all busy for {waited:?}."
                ),
            ),
            Self::Connect {
                waited,
                source: PoolError::Timeout(_),
                ..
            } => Failure::new(
                choose_remedy::unreachable(side),
                format!("The {side} database did not answer within {waited:?}."),
            ),
            Self::Connect {
                source: PoolError::Backend(source),
                ..
            } => describe_connect_failure::of_dial(side, source),
            Self::Connect { .. } => Failure::new(
                choose_remedy::unreachable(side),
                format!("No connection to the {side} database could be had."),
            ),
            Self::Query { doing, source, .. } => describe_error::of_driver(side, doing, source),
        }
    }
}
