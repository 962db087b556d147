//! Chooses the error code and the remedy (advice for the user) for an error that a server sent.

use tokio_postgres::error::{DbError as ServerError, SqlState};

use super::classify_server_error::{self, class};
use super::denied_object::DeniedObject;
use super::shorten_server_text::shortened;
use crate::db::SideName;
use crate::db::connection_ending_errors::is_fatal;
use crate::error::ErrorCode;

/// The names of the statements of this program that create or drop temporary tables, views or indexes, or the program's
/// schema. If user-defined code raises an error in one of these statements, the code is assumed to be an event trigger.
const OF_TEMPORARY_TABLES: [&str; 15] = [
    "create the staging tables",
    "create the text staging table",
    "index the text staging table",
    "look for the local rows of the extent",
    "plan the changes",
    "drop the outdated plan",
    "index the plan",
    "create the schema of the sync tables",
    "define who stands in whose way",
    "number who stands in the way",
    "number the rows of a ring",
    "number the new rows anew",
    "drop the last free values",
    "drop the free values",
    "forget who was noted",
];

/// The names of the statements that take the advisory locks with which a run begins.
const LOCKS: [&str; 5] = [
    "try an advisory lock",
    "create the schema of the sync tables",
    "try to start a run",
    "take the run lock",
    "claim the table",
];

const NO_LOCKS: &str = "The local server lacks the advisory locks of Postgres, by which one run at a time changes the meters of a tenant: use a server that has them. `meter-sync check` lists all that it lacks.";

const NO_ROW_VERSIONS: &str = "The local server lacks the system columns xmin and ctid of Postgres, by which a run notices that somebody else has changed a meter: use a server that has them. `meter-sync check` lists all that it lacks.";

/// Whether the server refused a statement because it does not have one of the system columns that tell a row's version.
/// Our statements name such a column with the alias of the table (`l.xmin`), and the server's message repeats this name
/// in any language.
fn lacks_row_versions(error: &ServerError) -> bool {
    let names = ["l.xmin", "l.ctid"];
    *error.code() == SqlState::UNDEFINED_COLUMN
        && names.iter().any(|name| error.message().contains(name))
}

/// Whether a statement failed because the server has no advisory locks, or does not support them.
fn lacks_locks(doing: &str, error: &ServerError) -> bool {
    let is_missing = *error.code() == SqlState::UNDEFINED_FUNCTION
        && error.message().contains("advisory")
        || *error.code() == SqlState::FEATURE_NOT_SUPPORTED;
    LOCKS.contains(&doing) && is_missing
}

/// Whether an event trigger refused one of the statements in [`OF_TEMPORARY_TABLES`].
pub(super) fn is_of_an_event_trigger(doing: &str, error: &ServerError) -> bool {
    OF_TEMPORARY_TABLES.contains(&doing) && classify_server_error::is_in_code_of_theirs(error)
}

/// The advice for the user if Postgres refuses updates of the local table because of the row filter or the column list
/// of a publication.
pub(crate) const PUBLICATION_REMEDY: &str = "As the owner of the publication: let its row filter read only columns of the table's replica identity, and its column list name all of these (`alter publication <publication> set table <table> ...`). Or change the identity: `alter table <table> replica identity using index <unique index>`, or `replica identity full`, which fits any row filter and no column list. `meter-sync check` names the publication.";

/// The code for an error that a server sent. It is never `INTERNAL`, because that code tells the user to report a bug
/// in this program.
pub(super) fn code(side: SideName, error: &ServerError) -> ErrorCode {
    if classify_server_error::is_raised(error) {
        return rows(side);
    }
    if *error.code() == SqlState::INSUFFICIENT_PRIVILEGE {
        return match side {
            SideName::Remote => ErrorCode::RemotePermission,
            SideName::Local => ErrorCode::LocalAuth,
        };
    }
    match error.code().code() {
        "57014" | "55P03" | "25P03" | "25P04" => return timeout(side),
        "HV00N" => return unreachable(side),
        _ if classify_server_error::is_of_a_lost_node(error) => return unreachable(side),
        _ => {}
    }
    match class(error) {
        "40" => timeout(side),
        "08" | "57" | "53" | "58" => unreachable(side),
        "21" | "22" | "23" | "27" | "2F" | "38" | "39" | "44" | "54" => rows(side),
        _ => match side {
            SideName::Remote => ErrorCode::RemoteSchema,
            SideName::Local => ErrorCode::LocalSchema,
        },
    }
}

/// The code for an error in the data of one side: the server refuses a row or value, or a user-defined function fails.
fn rows(side: SideName) -> ErrorCode {
    match side {
        SideName::Remote => ErrorCode::RemoteSchema,
        SideName::Local => ErrorCode::LocalConstraint,
    }
}

pub(super) fn unreachable(side: SideName) -> ErrorCode {
    match side {
        SideName::Remote => ErrorCode::RemoteUnreachable,
        SideName::Local => ErrorCode::LocalUnreachable,
    }
}

pub(super) fn timeout(side: SideName) -> ErrorCode {
    match side {
        SideName::Remote => ErrorCode::RemoteTimeout,
        SideName::Local => ErrorCode::LocalTimeout,
    }
}

pub(super) fn auth(side: SideName) -> ErrorCode {
    match side {
        SideName::Remote => ErrorCode::RemoteAuth,
        SideName::Local => ErrorCode::LocalAuth,
    }
}

/// The specific remedy for this error, with the server's hint where the hint helps. `None` if there is no specific
/// remedy; users then see the general one of the error code.
pub(super) fn of(side: SideName, doing: &str, error: &ServerError) -> Option<String> {
    let remedy = match classify_server_error::is_raised(error) {
        true => Some(of_code_of_theirs(side, doing)),
        false if lacks_locks(doing, error) => Some(NO_LOCKS.to_owned()),
        false if side == SideName::Local && lacks_row_versions(error) => {
            Some(NO_ROW_VERSIONS.to_owned())
        }
        false => of_state(side, error).or_else(|| of_class(side, error)),
    };
    let hint = error
        .hint()
        .filter(|_| classify_server_error::is_raised(error) || class(error) == "55");
    match (remedy, hint) {
        (Some(remedy), Some(hint)) => {
            Some(format!("{remedy} The server's hint: {}.", shortened(hint)))
        }
        (remedy, _) => remedy,
    }
}

fn of_code_of_theirs(side: SideName, doing: &str) -> String {
    match side {
        SideName::Remote => "A view, function or policy of the remote raises this: mend it there, or the remote row that it refuses."
            .to_owned(),
        SideName::Local if OF_TEMPORARY_TABLES.contains(&doing) => "An event trigger of the local database refuses that a sync makes or drops its temporary tables and views (`select evtname from pg_event_trigger` lists them): let those of the sync's role pass."
            .to_owned(),
        SideName::Local => "A trigger or function of the local database raises this: change it, or let the statements of the sync's role pass."
            .to_owned(),
    }
}

/// The remedy for errors with the SQLSTATE of this error; `None` if there is no specific one.
fn of_state(side: SideName, error: &ServerError) -> Option<String> {
    Some(match error.code().code() {
        "25P03" => role_limit(side, "idle_in_transaction_session_timeout"),
        "25P04" => role_limit(side, "transaction_timeout"),
        "57P05" => format!(
            "The {side} role's or server's idle_session_timeout closes idle connections; they are made anew by themselves."
        ),
        "57P01" | "57P02" | "57P03" => format!(
            "The {side} server is starting or stopping, or an administrator ended the connection; a scheduled run is retried by itself."
        ),
        "40001" | "40P01" if side == SideName::Remote => "If the remote is a standby, it gave up the read to go on with recovery: raise max_standby_streaming_delay or set hot_standby_feedback = on there, or lead METER_SYNC_REMOTE_URL to the primary. A scheduled run is retried by itself."
            .to_owned(),
        "40001" | "40P01" => "Other transactions on the local table got in the way (pg_stat_activity shows them); a scheduled run is retried by itself."
            .to_owned(),
        "53300" => connections(side),
        "53100" => format!("Free disk space on the {side} server; a scheduled run is retried by itself."),
        "53200" => format!("The {side} server is out of memory: look at its load and its memory settings."),
        "53400" => format!("Raise the limit that the message names for the {side} role, such as temp_file_limit."),
        "42883" => format!(
            "The {side} server lacks the function or operator that the message names, or has it for other types. If it is one of Postgres, which `meter-sync check` tells, use a server that has it. Otherwise mend the view, policy, trigger or function of the {side} database that calls it."
        ),
        "42704" if is_of_settings(error) => unset(side, error),
        "42501" if error.file() == Some("rls.c") => format!(
            "Row security hides rows from the {side} role and row_security is off for it: give it a policy for the tenant's rows, or bypassrls."
        ),
        "42501" if let Some(grant) = DeniedObject::of(error).and_then(|denied| denied.remedy(side)) => grant,
        "42501" if side == SideName::Local && [Some("aclchk.c"), Some("sequence.c")].contains(&error.file()) => "The local role lacks a right on what the message names; it creates and writes schema meter_sync, and reads and writes the meter table. `meter-sync check` tells the grant that it needs."
            .to_owned(),
        "55000" if error.routine() == Some("CheckCmdReplicaIdentity") => "The local table is published for logical replication and has no replica identity: give it a primary key, or `alter table <table> replica identity using index <unique index>` (or `replica identity full`)."
            .to_owned(),
        "55000" if error.routine() == Some("ExecOpenScanRelation") => format!(
            "As its owner on the {side} database: refresh materialized view <view>, of the view that the message names."
        ),
        "42P10" if error.routine() == Some("CheckCmdReplicaIdentity") => PUBLICATION_REMEDY.to_owned(),
        "25006" if side == SideName::Local => "The local database or role is read-only: lead METER_SYNC_LOCAL_URL to the primary server, and set default_transaction_read_only = off for the role."
            .to_owned(),
        "25006" => "A view or function of the remote writes; a sync only reads there. Let METER_SYNC_REMOTE_TABLE or METER_SYNC_REMOTE_QUERY name something that only reads."
            .to_owned(),
        "22021" | "22P05" => "A text does not fit a database's encoding: use UTF8 on both sides, or mend the text on the remote."
            .to_owned(),
        "54001" => format!(
            "A view, function or trigger of the {side} database calls itself too deeply: mend it, or raise max_stack_depth there."
        ),
        "XX001" | "XX002" => format!(
            "The {side} server finds damaged data: have its administrator look in its log and restore or reindex."
        ),
        "08000" | "08001" | "08003" | "08004" | "08006" if !is_fatal(error) => lost_node(side),
        "XX000" if classify_server_error::is_of_a_lost_node(error) => lost_node(side),
        _ => return None,
    })
}

fn lost_node(side: SideName) -> String {
    let url = side.url_variable();
    format!(
        "{url} works; the {side} server itself could not reach another server that its table rests on (a foreign server or a node): have its administrator look there."
    )
}

/// The remedy for errors of the class of this error (the first two characters of the SQLSTATE); `None` if there is no
/// specific one.
fn of_class(side: SideName, error: &ServerError) -> Option<String> {
    Some(match (class(error), side) {
        ("HV", _) => format!(
            "The {side} table rests on a foreign table, and its server or wrapper fails: have the {side} database's administrator look at the foreign server."
        ),
        ("XX", _) => format!(
            "The {side} server or one of its extensions failed within: its log tells more; try another minor version of it."
        ),
        ("58", _) => format!("The {side} server's disk or system fails: its log tells more."),
        ("21" | "22" | "23" | "27" | "2F" | "38" | "39" | "44" | "54", SideName::Remote) => "A row, view or function of the remote fails on a value: mend it there, or leave the column out by METER_SYNC_COLUMNS."
            .to_owned(),
        ("21" | "27" | "2F" | "38" | "39" | "54", SideName::Local) => "A trigger, view or function of the local database fails: mend it, or the row that it fails on."
            .to_owned(),
        _ => return None,
    })
}

fn role_limit(side: SideName, limit: &str) -> String {
    format!(
        "The {side} role's own {limit} is shorter than a run takes: raise it above METER_SYNC_RUN_TIMEOUT (alter role <role> set {limit} = '15min'), where <role> is the user of {}.",
        side.url_variable()
    )
}

fn connections(side: SideName) -> String {
    let needed = match side {
        SideName::Remote => "one connection to the remote",
        SideName::Local => {
            "two connections to the local database at once, and statuses take some more"
        }
    };
    format!(
        "A run needs {needed}: raise the role's connection limit (alter role <role> connection limit 10), the database's, or max_connections of the {side} server, or close connections of others."
    )
}

/// Whether the statement reads a configuration parameter that is not set. This is decided by the server's source file
/// that the error names, because messages are translated.
fn is_of_settings(error: &ServerError) -> bool {
    error.file().is_some_and(|file| file.starts_with("guc"))
}

fn unset(side: SideName, error: &ServerError) -> String {
    let is_setting = |word: &&str| word.contains('.') && !word.ends_with('.');
    // The quotation marks depend on the language of the message.
    let quotes = [
        '"', '\u{ab}', '\u{bb}', '\u{201e}', '\u{201c}', '\u{201d}', '\'',
    ];
    let name = error
        .message()
        .split(quotes)
        .map(str::trim)
        .find(is_setting);
    let name = name.unwrap_or("app.tenant");
    format!(
        "Row security, a view or a function of the {side} database reads the setting {name}, which is not set: add options=-c {name}=<value> to {0} (in a URL: &options=-c%20{name}%3D<value>), or set it for the role.",
        side.url_variable()
    )
}
