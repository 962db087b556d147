//! Classifies a server's error: it concerns one row, comes from a user-defined function, or concerns the server itself.
//!
//! Servers translate their messages, so this module reads the SQLSTATE and the source file that the error names
//! (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).

use tokio_postgres::error::{DbError as ServerError, SqlState};

use crate::db::connection_ending_errors::is_fatal;

/// The classes of SQLSTATE that Postgres itself uses. An error of any other class comes from a user-defined function,
/// which chose the SQLSTATE.
const KNOWN_CLASSES: &[&str] = &[
    "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22",
    "23", "24", "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40",
    "42", "44", "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX",
];

/// The source files of the procedural languages. An error that names one of them was raised by a user-defined function.
const LANGUAGES: &[&str] = &["pl_exec.c", "plperl.c", "pltcl.c"];

/// The first two characters of the SQLSTATE.
pub(super) fn class(error: &ServerError) -> &str {
    error.code().code().get(..2).unwrap_or_default()
}

/// Whether Postgres itself uses the class of the SQLSTATE.
pub(super) fn has_known_class(error: &ServerError) -> bool {
    KNOWN_CLASSES.contains(&class(error))
}

/// Whether the server refused the connection because the connection string has an option with an unknown name or an
/// invalid value.
pub(super) fn is_of_connection_settings(error: &ServerError) -> bool {
    is_fatal(error) && ["22", "42"].contains(&class(error))
}

/// Whether the error concerns the server or its connections: it is out of resources, is shutting down, its disks fail,
/// or it lost another server of a Citus cluster.
fn is_of_the_server(error: &ServerError) -> bool {
    let is_state =
        ["08", "53", "58"].contains(&class(error)) || error.code().code().starts_with("57P");
    is_fatal(error) || is_state && !is_of_a_language(error) || is_of_a_lost_node(error)
}

/// Whether the server has lost its connection to another server of its Citus cluster, or gets none. Within a
/// transaction, Citus then often gives no SQLSTATE. An error that the other server itself sent has one.
pub(super) fn is_of_a_lost_node(error: &ServerError) -> bool {
    const OF_CONNECTIONS: &[&str] = &["remote_commands.c", "remote_transaction.c"];
    let file = error.file().unwrap_or_default();
    let name = file.rsplit('/').next().unwrap_or_default();
    (error.code().code() == "XX000" || class(error) == "08") && OF_CONNECTIONS.contains(&name)
}

/// Whether a user-defined function raised the error, as `raise` does in PL/pgSQL. Such a function may choose any
/// SQLSTATE.
pub(super) fn is_raised(error: &ServerError) -> bool {
    !is_of_the_server(error)
        && (!has_known_class(error) || class(error) == "P0" || is_of_a_language(error))
}

/// Whether a function in a procedural language, such as PL/pgSQL, raised the error itself. The error then names a
/// source file of the language. If the server fails inside such a function, the error names another source file.
fn is_of_a_language(error: &ServerError) -> bool {
    let file = error.file().unwrap_or_default();
    let name = file.rsplit('/').next().unwrap_or_default();
    !is_fatal(error)
        && (LANGUAGES.contains(&name) || name.starts_with("plpy_") || name.starts_with("plv8"))
}

/// Whether a user-defined function raised the error, or the server failed inside one.
pub(super) fn is_in_code_of_theirs(error: &ServerError) -> bool {
    !is_of_the_server(error) && (is_raised(error) || is_nested(error))
}

/// Whether the error has a context: it occurred inside a function, a trigger or one row of a COPY, and does not concern
/// the statement as a whole.
fn is_nested(error: &ServerError) -> bool {
    let context = error.where_().unwrap_or_default();
    // A server may add the parameters of the statement to the context.
    context.lines().any(|line| !line.contains("$1 = "))
}

/// Whether the error concerns one row, and not the statement or the server. A timeout, deadlock, conflict or
/// cancellation counts only if a user-defined function raised an error with such an SQLSTATE.
pub(super) fn is_about_a_row(error: &ServerError) -> bool {
    if is_out_of_memory(error) {
        return true;
    }
    if is_of_the_server(error) {
        return false;
    }
    if is_raised(error) || ["22", "23", "44", "54"].contains(&class(error)) {
        return true;
    }
    match error.code().code() {
        // Triggers written in C raise this SQLSTATE if they choose none.
        "XX000" => true,
        "42501" if is_row_security(error) => true,
        "55P03" => false,
        _ if is_of_a_value(error) => true,
        _ => is_nested(error) && !["25", "40", "57", "XX"].contains(&class(error)),
    }
}

/// Whether a data type refused a value with an SQLSTATE whose class stands for wrong SQL, as `tsquery`, `ltree` and
/// `regtype` do. The error then has no position in the statement; it has one if the SQL itself is wrong.
fn is_of_a_value(error: &ServerError) -> bool {
    const OF_STATEMENTS: &[&str] = &["42501", "42809", "428C9", "42P10", "42P17"];
    error.position().is_none()
        && ["3F", "42"].contains(&class(error))
        && !OF_STATEMENTS.contains(&error.code().code())
}

/// Whether the server could not allocate memory. The cause is assumed to be one large value, so the error counts as an
/// error of one row. If the server has no memory at all, every row fails, and so does the run.
fn is_out_of_memory(error: &ServerError) -> bool {
    let file = error.file().unwrap_or_default();
    !is_fatal(error)
        && *error.code() == SqlState::OUT_OF_MEMORY
        && ["mcxt.c", "aset.c", "generation.c", "bump.c"].contains(&file)
}

/// Whether a row security policy refused a row that was written.
fn is_row_security(error: &ServerError) -> bool {
    error.routine() == Some("ExecWithCheckOptions")
}

/// Returns the line of the error's context that names the function that failed; `None` if there is no such line. Skips
/// lines that may contain values or SQL.
pub(super) fn function(error: &ServerError) -> Option<&str> {
    let is_plain =
        |line: &&str| line.contains('(') && !line.contains(['"', '\'', '$', '\u{ab}', '\u{201e}']);
    error.where_()?.lines().map(str::trim).find(is_plain)
}
