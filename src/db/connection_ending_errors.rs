//! Tells errors with which a server ended the connection from those with which it only refused a statement.

use tokio_postgres::Error;
use tokio_postgres::error::{DbError as ServerError, Severity};

/// Whether the server closed the connection with this error.
pub(super) fn is_fatal(error: &ServerError) -> bool {
    match error.parsed_severity() {
        Some(Severity::Fatal | Severity::Panic) => true,
        Some(_) | None => false,
    }
}

/// Whether the server refused one statement and kept the connection. This is told from the error, because the
/// connection may still be open for some time after an error that ends it has arrived.
pub(super) fn refuses_only_the_statement(error: &Error) -> bool {
    error.as_db_error().is_some_and(|said| !is_fatal(said))
}
