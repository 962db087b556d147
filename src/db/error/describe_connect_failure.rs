//! Describes for people why no connection was made: which servers were tried, and what each of them answered.

use tokio_postgres::error::SqlState;

use super::choose_remedy::{auth, unreachable};
use super::{classify_server_error, describe_error, shorten_server_text};
use crate::config::TargetSessionAttrs;
use crate::db::SideName;
use crate::db::connector::{ConnectFailure, FailedConnectAttempt, NoServerReached, TIMED_OUT};
use crate::error::{ErrorCode, Failure};

/// The driver's error text if TLS is required and the server does not offer it.
const NO_TLS: &str = "server does not support TLS";

pub(super) fn of_dial(side: SideName, error: &NoServerReached) -> Failure {
    let Some((last, earlier)) = error.attempts.split_last() else {
        return Failure::new(
            unreachable(side),
            format!("The {side} database has no server."),
        );
    };
    match &last.why {
        ConnectFailure::Driver(source)
            if let Some(decided) = of_driver(side, error, last, source) =>
        {
            decided
        }
        ConnectFailure::Driver(_)
        | ConnectFailure::Silent(_)
        | ConnectFailure::NoAddress
        | ConnectFailure::Unwanted(_) => {
            let tried: Vec<String> = earlier
                .iter()
                .chain([last])
                .map(server_and_reason)
                .collect();
            let message = format!("Cannot reach the {side} database at {}.", tried.join("; "));
            Failure::new(unreachable(side), message)
        }
    }
}

fn server_and_reason(attempt: &FailedConnectAttempt) -> String {
    format!("{}: {}", attempt.server, reason(&attempt.why))
}

fn reason(why: &ConnectFailure) -> String {
    match why {
        ConnectFailure::Driver(source) if source.to_string() == TIMED_OUT => {
            "it did not answer in time".to_owned()
        }
        ConnectFailure::Driver(source) => match source.as_db_error() {
            Some(said) => shorten_server_text::shortened(said.message()),
            None => describe_error::io_reason(source),
        },
        ConnectFailure::Silent(waited) => format!("it did not answer within {waited:?}"),
        ConnectFailure::NoAddress => "the host name is not known here".to_owned(),
        ConnectFailure::Unwanted(TargetSessionAttrs::ReadWrite) => {
            "it takes no writes (target_session_attrs=read-write)".to_owned()
        }
        ConnectFailure::Unwanted(wanted) => {
            format!("it is not {0} (target_session_attrs={0})", wanted.as_str())
        }
    }
}

/// Describes an error that the server or TLS caused; `None` if the server was not reached.
fn of_driver(
    side: SideName,
    error: &NoServerReached,
    FailedConnectAttempt { server, .. }: &FailedConnectAttempt,
    source: &tokio_postgres::Error,
) -> Option<Failure> {
    if let Some(said) = source.as_db_error() {
        let is_raised = classify_server_error::is_raised(said);
        // The server's message about a failed sign-in contains the user's name, so it is replaced.
        if said.code().code().starts_with("28") && !is_raised {
            let message = format!("The {side} database at {server} refused the user or password.");
            return Some(Failure::new(auth(side), message));
        }
        if *said.code() == SqlState::UNDEFINED_DATABASE && !is_raised {
            let message = format!(
                "There is no database {} on {server}, the {side} server.",
                error.database
            );
            let remedy = format!("Check the database name in {}.", side.url_variable());
            return Some(Failure::new(unreachable(side), message).with_remedy(remedy));
        }
        let failure = describe_error::of_server(side, "connect", said);
        return Some(at(failure, server));
    }
    match source.to_string().as_str() {
        "error performing TLS handshake" => Some(of_tls(side, error, server, source)),
        "authentication error" | "invalid configuration" => Some(Failure::new(
            auth(side),
            format!(
                "The {side} database at {server} asks for a sign-in that the settings do not give."
            ),
        )),
        "error connecting to server" | TIMED_OUT => None,
        _ if source.is_closed() || describe_error::is_io(source) => None,
        _ => Some(at(
            describe_error::of_driver(side, "connect", source),
            server,
        )),
    }
}

/// Adds the server's address to the message of a failure.
fn at(failure: Failure, server: &str) -> Failure {
    let message = format!("{} ({server})", failure.message);
    Failure { message, ..failure }
}

fn of_tls(
    side: SideName,
    error: &NoServerReached,
    server: &str,
    source: &tokio_postgres::Error,
) -> Failure {
    let url = side.url_variable();
    let code = match side {
        SideName::Remote => ErrorCode::RemoteTls,
        SideName::Local => ErrorCode::LocalUnreachable,
    };
    let sslmode = &error.sslmode;
    let why = std::error::Error::source(source).map_or_else(String::new, ToString::to_string);
    if why == NO_TLS {
        let message = format!(
            "The {side} server at {server} offers no TLS, but sslmode={sslmode} asks for it."
        );
        return Failure::new(code, message).with_remedy(format!(
            "Set up TLS on that server. Where nobody on the way can read or change what is sent, write sslmode=disable in {url} (verify-full is the default for a host that is not this machine)."
        ));
    }
    let message = format!(
        "TLS with the {side} server at {server} failed under sslmode={sslmode}: {}.",
        shorten_server_text::shortened(&why)
    );
    Failure::new(code, message).with_remedy(format!(
        "Compare the server's certificate (its issuer, host names and dates) with sslmode and sslrootcert in {url}; verify-full and the operating system's roots are the defaults for a host that is not this machine."
    ))
}
