//! The words that the remedy of an error must contain, by its code and its cause.

use meter_sync::error::{ErrorCode, Failure};

/// A code, a part of the message that tells the cause, and what the remedy then names. The first that fits counts.
const NAMED: &[(ErrorCode, &str, &[&str])] = &[
    (
        ErrorCode::RemoteUnreachable,
        "no connection left",
        &["one connection", "max_connections of the remote"],
    ),
    (
        ErrorCode::RemoteUnreachable,
        "57P01",
        &["remote server", "administrator", "retried by itself"],
    ),
    (
        ErrorCode::RemoteUnreachable,
        "",
        &["METER_SYNC_REMOTE_URL", "network", "retried by itself"],
    ),
    (
        ErrorCode::RemoteTimeout,
        "conflict with recovery",
        &["max_standby_streaming_delay", "hot_standby_feedback"],
    ),
    (
        ErrorCode::RemoteTimeout,
        "",
        &["remote's load", "METER_SYNC_STATEMENT_TIMEOUT"],
    ),
    (
        ErrorCode::RemoteAuth,
        "",
        &["user and password", "METER_SYNC_REMOTE_URL"],
    ),
    (
        ErrorCode::RemotePermission,
        "table meter",
        &["grant select on meter to"],
    ),
    (
        ErrorCode::SourceEmptyRefused,
        "",
        &["remote rows", "a person approves"],
    ),
    (
        ErrorCode::LocalUnreachable,
        "no connection left",
        &["two connections", "max_connections of the local"],
    ),
    (
        ErrorCode::LocalUnreachable,
        "No space left",
        &["disk space on the local"],
    ),
    (
        ErrorCode::LocalUnreachable,
        "temp_file_limit",
        &["temp_file_limit", "local role"],
    ),
    (
        ErrorCode::LocalUnreachable,
        "57P01",
        &["local server", "administrator", "retried by itself"],
    ),
    (
        ErrorCode::LocalUnreachable,
        "",
        &["METER_SYNC_LOCAL_URL", "is up"],
    ),
    (
        ErrorCode::LocalTimeout,
        "concurrent update",
        &["pg_stat_activity", "retried by itself"],
    ),
    (
        ErrorCode::LocalTimeout,
        "lock timeout",
        &["pg_locks", "METER_SYNC_LOCK_TIMEOUT"],
    ),
    (
        ErrorCode::LocalTimeout,
        "",
        &["pg_stat_activity", "METER_SYNC_STATEMENT_TIMEOUT"],
    ),
    (
        ErrorCode::LocalAuth,
        "user or password",
        &["user and password", "METER_SYNC_LOCAL_URL"],
    ),
    (
        ErrorCode::LocalAuth,
        "permission denied",
        &["lacks a right", "`meter-sync check`"],
    ),
    (
        ErrorCode::LocalConstraint,
        "rejected",
        &["rejected rows", "constraint or trigger"],
    ),
    (
        ErrorCode::Interrupted,
        "cancelled",
        &["Sync again", "schedule goes on"],
    ),
    (ErrorCode::Interrupted, "", &["rolled back", "ask the user"]),
];

/// Checks that the remedy names what helps against the cause, and no setting of the other side.
pub(super) fn fits(name: &str, error: &Failure) {
    let mut rows = NAMED.iter();
    let row = rows.find(|(code, cause, _)| *code == error.code && error.message.contains(cause));
    let (_, _, words) =
        row.unwrap_or_else(|| panic!("{name}: an error of no known cause: {error:?}"));
    for word in *words {
        assert!(error.remedy.contains(word), "{name}: no {word}: {error:?}");
    }
    let other = match error.code.as_str().split_once('_') {
        Some(("LOCAL", "CONSTRAINT")) => return,
        Some(("LOCAL", _)) => "remote",
        Some(("REMOTE", _)) => "local",
        _ => return,
    };
    assert!(
        !error.remedy.to_lowercase().contains(other),
        "{name}: {error:?}"
    );
}
