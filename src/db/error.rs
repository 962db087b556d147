//! What can go wrong with a database, and which code of the contract it is.

use std::time::Duration;

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use super::{OPEN, Side, SideName};
use crate::error::{ErrorCode, Failure};

/// An error of one of the databases. Its text holds no host, user or SQL; the cause stays as source.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The pool could not be built.
    #[error("the {side} connection pool could not be set up")]
    Pool {
        /// Which database.
        side: SideName,
        /// Why.
        source: deadpool_postgres::BuildError,
    },
    /// No connection could be had.
    #[error("no connection to the {side} database")]
    Connect {
        /// Which database.
        side: SideName,
        /// How long was waited.
        waited: Duration,
        /// Why.
        source: PoolError,
    },
    /// A statement failed.
    #[error("the {side} database failed at: {doing}")]
    Query {
        /// Which database.
        side: SideName,
        /// What was being done.
        doing: String,
        /// Why.
        source: tokio_postgres::Error,
    },
    /// The server did not answer.
    #[error("the {side} database was silent for {waited:?} at: {doing}")]
    Silence {
        /// Which database.
        side: SideName,
        /// What was being done.
        doing: String,
        /// How long was waited.
        waited: Duration,
    },
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

    /// Which database.
    pub fn side(&self) -> SideName {
        match self {
            Self::Pool { side, .. }
            | Self::Connect { side, .. }
            | Self::Query { side, .. }
            | Self::Silence { side, .. } => *side,
        }
    }

    /// The server's own error, if it gave one.
    pub fn server_error(&self) -> Option<&tokio_postgres::error::DbError> {
        self.driver_error()
            .and_then(tokio_postgres::Error::as_db_error)
    }

    fn driver_error(&self) -> Option<&tokio_postgres::Error> {
        match self {
            Self::Connect {
                source: PoolError::Backend(source),
                ..
            }
            | Self::Query { source, .. } => Some(source),
            Self::Connect { .. } | Self::Pool { .. } | Self::Silence { .. } => None,
        }
    }

    /// Whether the error speaks of one row's values and not of the statement or the server:
    /// SQLSTATE classes 22, 23 and 44, an error raised by a trigger (class P0, or one that Postgres
    /// does not know), an index row or a value too large
    /// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
    pub fn is_about_a_row(&self) -> bool {
        self.server_error().is_some_and(|error| {
            let class = error.code().code().get(..2).unwrap_or_default();
            ["22", "23", "44", "P0"].contains(&class)
                || !KNOWN_CLASSES.contains(&class)
                || *error.code() == SqlState::PROGRAM_LIMIT_EXCEEDED
        })
    }

    /// Whether the server gave up on a computation that it may do without: it took longer than
    /// `statement_timeout`, or takes a function that the server does not have.
    pub fn is_too_much_to_compute(&self) -> bool {
        self.server_error().is_some_and(|error| {
            [SqlState::QUERY_CANCELED, SqlState::UNDEFINED_FUNCTION].contains(error.code())
        })
    }

    /// Whether what was to be locked takes no lock of ours: it is no table or view, is not there, or may not be read. To
    /// read it tells which.
    pub(super) fn cannot_be_locked(&self) -> bool {
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

    /// The contract's view of the error.
    pub fn failure(&self) -> Failure {
        let side = self.side();
        match self {
            Self::Pool { .. } => Failure::new(ErrorCode::Internal, self.to_string()),
            Self::Silence { doing, waited, .. } => Failure::new(
                timeout(side),
                format!(
                    "The {side} database gave no answer within {} s; it was to {doing}.",
                    waited.as_secs()
                ),
            ),
            Self::Connect {
                waited,
                source: PoolError::Timeout(_),
                ..
            } => Failure::new(
                unreachable(side),
                format!("The {side} database did not answer within {waited:?}."),
            ),
            Self::Connect {
                source: PoolError::Backend(source),
                ..
            } => driver_failure(side, "connect", source),
            Self::Connect { .. } => Failure::new(
                unreachable(side),
                format!("No connection to the {side} database could be had."),
            ),
            Self::Query { doing, source, .. } => driver_failure(side, doing, source),
        }
    }
}

/// The classes of SQLSTATE that Postgres itself uses; any other was chosen by whoever wrote a trigger.
const KNOWN_CLASSES: &[&str] = &[
    "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22",
    "23", "24", "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40",
    "42", "44", "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX",
];

fn driver_failure(side: SideName, doing: &str, source: &tokio_postgres::Error) -> Failure {
    if let Some(error) = source.as_db_error() {
        return server_failure(side, doing, error);
    }
    // The driver keeps its error kinds to itself; its texts are fixed.
    match source.to_string().as_str() {
        "error performing TLS handshake" => tls_failure(side, source),
        "authentication error" | "invalid configuration" => Failure::new(
            auth(side),
            format!("The {side} database asks for a sign-in that the settings do not give."),
        ),
        "error connecting to server" => Failure::new(
            unreachable(side),
            format!(
                "The {side} database cannot be reached: {}.",
                io_reason(source)
            ),
        ),
        "timeout waiting for server" => Failure::new(
            unreachable(side),
            format!("The {side} database did not answer in time."),
        ),
        _ if source.is_closed() || is_io(source) => Failure::new(
            unreachable(side),
            format!("The connection to the {side} database broke while it was at: {doing}."),
        ),
        other => Failure::new(
            ErrorCode::Internal,
            format!("The {side} database driver failed at {doing}: {other}."),
        ),
    }
}

fn tls_failure(side: SideName, source: &tokio_postgres::Error) -> Failure {
    let why = std::error::Error::source(source).map_or_else(String::new, |e| format!(": {e}"));
    let failure = Failure::new(
        match side {
            SideName::Remote => ErrorCode::RemoteTls,
            SideName::Local => ErrorCode::LocalUnreachable,
        },
        format!("TLS with the {side} database failed{}.", shortened(&why)),
    );
    match side {
        SideName::Remote => failure,
        SideName::Local => {
            failure.with_remedy("Check sslmode and sslrootcert in METER_SYNC_LOCAL_URL.")
        }
    }
}

fn server_failure(side: SideName, doing: &str, error: &tokio_postgres::error::DbError) -> Failure {
    let state = error.code().code();
    let message = shortened(error.message());
    // What is said at sign-in names users and databases; say it without them.
    if state.starts_with("28") {
        let message = format!("The {side} database refused the user or password.");
        return Failure::new(auth(side), message);
    }
    if *error.code() == SqlState::UNDEFINED_DATABASE {
        let message = format!("The {side} server has no database of the name in the settings.");
        return Failure::new(unreachable(side), message).with_remedy(format!(
            "Check the database name in METER_SYNC_{}_URL.",
            side.to_string().to_uppercase()
        ));
    }
    // By what was refused, as a server says it in its own language.
    let is_standby = *error.code() == SqlState::FEATURE_NOT_SUPPORTED && doing == OPEN;
    if is_standby && side == SideName::Local {
        let message = "The local server takes no writes: it is a standby.";
        return Failure::new(ErrorCode::LocalUnreachable, message)
            .with_remedy("Lead METER_SYNC_LOCAL_URL to the primary server.");
    }
    let failure = Failure::new(
        server_code(side, error.code()),
        format!("The {side} database refused to {doing}: {message} (SQLSTATE {state})."),
    );
    if ["22021", "22P05"].contains(&state) {
        return failure.with_remedy(
            "A text does not fit a database's encoding: use UTF8 on both sides, or mend the text on the remote.",
        );
    }
    failure
}

fn server_code(side: SideName, state: &SqlState) -> ErrorCode {
    if *state == SqlState::INSUFFICIENT_PRIVILEGE {
        return match side {
            SideName::Remote => ErrorCode::RemotePermission,
            SideName::Local => ErrorCode::LocalAuth,
        };
    }
    if [
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ]
    .contains(state)
    {
        return timeout(side);
    }
    match state.code().get(..2).unwrap_or_default() {
        // connection, operator intervention, resources, system; and a standby's conflict (40001)
        "08" | "57" | "53" | "58" | "40" => unreachable(side),
        "22" | "23" | "44" | "P0" => match side {
            SideName::Remote => ErrorCode::RemoteSchema,
            SideName::Local => ErrorCode::LocalConstraint,
        },
        "42" | "3F" | "0A" | "25" | "55" => match side {
            SideName::Remote => ErrorCode::RemoteSchema,
            SideName::Local => ErrorCode::LocalSchema,
        },
        _ => ErrorCode::Internal,
    }
}

fn unreachable(side: SideName) -> ErrorCode {
    match side {
        SideName::Remote => ErrorCode::RemoteUnreachable,
        SideName::Local => ErrorCode::LocalUnreachable,
    }
}

fn timeout(side: SideName) -> ErrorCode {
    match side {
        SideName::Remote => ErrorCode::RemoteTimeout,
        SideName::Local => ErrorCode::LocalTimeout,
    }
}

fn auth(side: SideName) -> ErrorCode {
    match side {
        SideName::Remote => ErrorCode::RemoteAuth,
        SideName::Local => ErrorCode::LocalAuth,
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// Why a connection was not made, without the address: the kind of the I/O error.
fn io_reason(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    let Some(io) = source.and_then(|source| source.downcast_ref::<std::io::Error>()) else {
        return "no connection".to_owned();
    };
    // The standard library has no kind for it.
    if io.to_string().starts_with("failed to lookup address") {
        return "the host name is not known here".to_owned();
    }
    io.kind().to_string()
}

/// The longest text of a server that is passed on, in characters.
const LONGEST_TEXT: usize = 400;

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST_TEXT {
        return text.to_owned();
    }
    text.chars()
        .take(LONGEST_TEXT)
        .chain("...".chars())
        .collect()
}
