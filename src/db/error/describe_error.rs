//! Describes an error of the driver or of a server for people, as a [`Failure`]: an error code, a message and a remedy.

use tokio_postgres::error::{DbError as ServerError, SqlState};

use super::choose_remedy::{self, unreachable};
use super::classify_server_error;
use super::shorten_server_text::shortened;
use crate::db::connection_ending_errors::is_fatal;
use crate::db::{OPEN, SideName};
use crate::error::{ErrorCode, Failure};

/// The beginnings of the driver's error texts for an answer that does not follow the Postgres protocol.
const GARBLED: [&str; 3] = [
    "unexpected message from server",
    "error parsing response from server",
    "invalid message length",
];

pub(super) fn of_driver(side: SideName, doing: &str, source: &tokio_postgres::Error) -> Failure {
    if let Some(error) = source.as_db_error() {
        return of_server(side, doing, error);
    }
    // The driver does not expose its kinds of errors, but its texts are fixed.
    match source.to_string().as_str() {
        _ if source.is_closed() || is_io(source) => Failure::new(
            unreachable(side),
            format!("The connection to the {side} database broke while it was at: {doing}."),
        ),
        other if GARBLED.iter().any(|garbled| other.starts_with(garbled)) => Failure::new(
            unreachable(side),
            format!("The {side} server's answer is not of Postgres' protocol, at: {doing}."),
        ),
        other => Failure::new(
            ErrorCode::Internal,
            format!("The {side} database driver failed at {doing}: {other}."),
        ),
    }
}

pub(super) fn of_server(side: SideName, doing: &str, error: &ServerError) -> Failure {
    let state = error.code().code();
    if classify_server_error::is_of_connection_settings(error) {
        let message = format!(
            "The {side} server takes no connection with these settings: {} (SQLSTATE {state}).",
            shortened(error.message())
        );
        return Failure::new(ErrorCode::ConfigInvalid, message)
            .with_remedy(format!("Check the options in {}.", side.url_variable()));
    }
    // Detected by SQLSTATE, because messages are localized.
    let is_standby = *error.code() == SqlState::FEATURE_NOT_SUPPORTED && doing == OPEN;
    if is_standby && side == SideName::Local {
        let message = "The local server takes no writes: it is a standby.";
        return Failure::new(ErrorCode::LocalUnreachable, message)
            .with_remedy("Lead METER_SYNC_LOCAL_URL to the primary server. If it names several servers, add target_session_attrs=read-write to it.");
    }
    let failure = Failure::new(
        choose_remedy::code(side, error),
        message(side, doing, error),
    );
    match choose_remedy::of(side, doing, error) {
        Some(remedy) => failure.with_remedy(remedy),
        None => failure,
    }
}

/// Returns the message for people: what the server refused to do, the server's own message, and the function that
/// raised the error, if the error names one.
fn message(side: SideName, doing: &str, error: &ServerError) -> String {
    let state = error.code().code();
    if *error.code() == SqlState::TOO_MANY_CONNECTIONS && !classify_server_error::is_raised(error) {
        return format!("The {side} server has no connection left for us (SQLSTATE {state}).");
    }
    if classify_server_error::is_of_a_lost_node(error) {
        // The server's own message names the other server and the role there.
        return format!(
            "The {side} server could not {doing}: it has no connection to another server of its cluster (SQLSTATE {state})."
        );
    }
    let mut message = shortened(error.message());
    // If a published table cannot be updated, only the detail says why.
    if error.routine() == Some("CheckCmdReplicaIdentity")
        && let Some(detail) = error.detail()
    {
        message = format!("{message}: {}", shortened(detail).trim_end_matches('.'));
    }
    let from = classify_server_error::function(error)
        .map_or_else(String::new, |line| format!(", in {}", shortened(line)));
    match is_fatal(error) {
        true => format!(
            "The {side} server ended the connection at: {doing}. It says: {message} (SQLSTATE {state}){from}."
        ),
        false => {
            format!("The {side} database refused to {doing}: {message} (SQLSTATE {state}){from}.")
        }
    }
}

pub(super) fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// Returns the reason why a connection was not made, such as `connection refused`, from the kind of the I/O error. The
/// reason does not contain the server's address.
pub(super) fn io_reason(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    let Some(io) = source.and_then(|source| source.downcast_ref::<std::io::Error>()) else {
        return "no connection".to_owned();
    };
    // The standard library has no kind for a host name that is not found.
    if io.to_string().starts_with("failed to lookup address") {
        return "the host name is not known here".to_owned();
    }
    io.kind().to_string()
}
