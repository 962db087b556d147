//! Lines that break.

use std::time::Duration;

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;

use super::case::{Case, Ends, HoldPoint, SOUND, Strike, all_hold};
use super::trial_site::Side::{Local, Remote};
use crate::support::proxy::Fault;

/// How long a line may be silent.
const SHORT: &[(Setting, &str)] = &[
    (Setting::ConnectTimeout, "500ms"),
    (Setting::StatementTimeout, "500ms"),
];

/// Waits for the run lock that is held, and holds it for a while.
const TAKE_THE_RUN_LOCK: &str = "
    select pg_advisory_xact_lock(classid::bigint << 32 | objid::bigint) from pg_locks
    where locktype = 'advisory' and objsubid = 1 and granted
        and database = (select oid from pg_database where datname = current_database());
    select pg_sleep(1)";

/// The commit of the meters, with the end of the run in the log.
const COMMIT: &[&str] = &["-- log the end of a run", "COMMIT"];

pub(super) const LINES: &[Case] = &[
    Case {
        name: "the remote refuses connections",
        before: &[Strike::Line(Remote, Fault::Refuse)],
        ends: Ends::Failing(ErrorCode::RemoteUnreachable),
        ..SOUND
    },
    Case {
        name: "the local side refuses connections",
        before: &[Strike::Line(Local, Fault::Refuse)],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        ..SOUND
    },
    Case {
        name: "the remote resets new connections",
        before: &[Strike::Line(Remote, Fault::Reset)],
        ends: Ends::Failing(ErrorCode::RemoteUnreachable),
        ..SOUND
    },
    Case {
        name: "the remote's line is reset while it is read",
        hold: HoldPoint::At(Remote, &["-- read the meters"]),
        during: &[Strike::Line(Remote, Fault::Reset)],
        ends: Ends::Failing(ErrorCode::RemoteUnreachable),
        ..SOUND
    },
    Case {
        name: "the local line is reset for a moment while meters are written",
        hold: HoldPoint::At(Local, &["-- update meters"]),
        during: &[
            Strike::Line(Local, Fault::Reset),
            Strike::Gone(Local),
            Strike::Line(Local, Fault::None),
        ],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        ..SOUND
    },
    Case {
        name: "packets to the remote vanish",
        settings: SHORT,
        before: &[Strike::Line(Remote, Fault::Stall)],
        ends: Ends::Failing(ErrorCode::RemoteUnreachable),
        ..SOUND
    },
    Case {
        name: "packets to the remote vanish while it is read",
        settings: SHORT,
        before: &[Strike::Line(
            Remote,
            Fault::StallAt(&["-- read the meters"]),
        )],
        ends: Ends::Failing(ErrorCode::RemoteTimeout),
        ..SOUND
    },
    Case {
        name: "both lines are slow to answer",
        before: &[
            Strike::Line(Remote, Fault::Delay(Duration::from_millis(10))),
            Strike::Line(Local, Fault::Delay(Duration::from_millis(2))),
        ],
        ..SOUND
    },
    Case {
        name: "the reply to the commit is lost",
        before: &[Strike::Once(Local, Fault::LoseReply(COMMIT))],
        ..SOUND
    },
    Case {
        name: "the reply to the commit is lost, and somebody else gets the run lock",
        hold: HoldPoint::At(Local, &["-- update meters"]),
        during: &[
            Strike::Queue(Local, TAKE_THE_RUN_LOCK),
            Strike::Once(Local, Fault::LoseReply(COMMIT)),
        ],
        ..SOUND
    },
    Case {
        name: "the remote's line is forgotten while it is read",
        settings: SHORT,
        hold: HoldPoint::At(Remote, &["-- read the meters"]),
        during: &[Strike::Strand(Remote)],
        ends: Ends::Failing(ErrorCode::RemoteTimeout),
        ..SOUND
    },
    Case {
        name: "the local line is forgotten while meters are written",
        settings: SHORT,
        hold: HoldPoint::At(Local, &["-- update meters"]),
        during: &[Strike::Strand(Local)],
        ends: Ends::Failing(ErrorCode::LocalTimeout),
        ..SOUND
    },
    Case {
        name: "the local line is forgotten between runs",
        settings: SHORT,
        before: &[Strike::Strand(Local)],
        ..SOUND
    },
    Case {
        name: "the commit never arrives",
        before: &[Strike::Once(Local, Fault::CutBefore(COMMIT))],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        ..SOUND
    },
];

#[test]
fn a_broken_line_leaves_old_or_new_and_the_next_run_converges() {
    all_hold(LINES, 40);
}

/// Has the run sign in anew.
const TERMINATE: &str =
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = '$role'";

/// Many meters: their rows pass in several pieces.
pub(super) const CUTS: &[Case] = &[
    Case {
        name: "the remote is cut off after some bytes",
        before: &[Strike::Once(Remote, Fault::CutReply(20_000))],
        ends: Ends::Failing(ErrorCode::RemoteUnreachable),
        ..SOUND
    },
    Case {
        name: "the local side is cut off after some bytes of rows",
        before: &[
            Strike::Sql(Local, TERMINATE),
            Strike::Gone(Local),
            Strike::Once(Local, Fault::CutRequest(60_000)),
        ],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        ..SOUND
    },
    Case {
        name: "the remote is cut off after some bytes of the sign-in",
        before: &[Strike::Once(Remote, Fault::CutRequest(20))],
        ends: Ends::Failing(ErrorCode::RemoteUnreachable),
        ..SOUND
    },
    Case {
        name: "the remote is cut off after some bytes of a question",
        before: &[Strike::Once(Remote, Fault::CutRequest(3_000))],
        ends: Ends::Failing(ErrorCode::RemoteUnreachable),
        ..SOUND
    },
    Case {
        name: "the remote is cut off after some bytes of its answer to the sign-in",
        before: &[Strike::Once(Remote, Fault::CutReply(20))],
        ends: Ends::Failing(ErrorCode::RemoteUnreachable),
        ..SOUND
    },
    Case {
        name: "the local side is cut off after some bytes of the sign-in",
        before: &[
            Strike::Sql(Local, TERMINATE),
            Strike::Gone(Local),
            Strike::Once(Local, Fault::CutRequest(20)),
        ],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        ..SOUND
    },
    Case {
        name: "the local side is cut off after some bytes of its answer to the sign-in",
        before: &[
            Strike::Sql(Local, TERMINATE),
            Strike::Gone(Local),
            Strike::Once(Local, Fault::CutReply(20)),
        ],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        ..SOUND
    },
    Case {
        name: "the local side is cut off after some bytes of its answers as a run starts",
        before: &[
            Strike::Sql(Local, TERMINATE),
            Strike::Gone(Local),
            Strike::Once(Local, Fault::CutReply(6_000)),
        ],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        ..SOUND
    },
    Case {
        name: "the local side is cut off after some bytes of its answers with the changes",
        before: &[
            Strike::Sql(Local, TERMINATE),
            Strike::Gone(Local),
            Strike::Once(Local, Fault::CutReply(20_000)),
        ],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        ..SOUND
    },
    Case {
        name: "the local side is cut off after the next bytes while meters are written",
        hold: HoldPoint::At(Local, &["-- update meters"]),
        during: &[Strike::Once(Local, Fault::CutReply(6_000))],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        ..SOUND
    },
    Case {
        name: "the line to the remote has little bandwidth",
        before: &[Strike::Line(Remote, Fault::Limit(500_000))],
        ..SOUND
    },
    Case {
        name: "the line to the local side has little bandwidth",
        before: &[Strike::Line(Local, Fault::Limit(1_000_000))],
        ..SOUND
    },
];

#[test]
fn a_line_that_breaks_between_rows_leaves_old_or_new_and_the_next_run_converges() {
    all_hold(CUTS, 2000);
}
