//! Locks, transactions and statements of others that meet a run.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;

use super::case::{Case, Ends, HoldPoint, SOUND, Strike, all_hold};
use super::trial_site::Side::{Local, Remote};

const EXCLUSIVE: &str = "lock table meter in access exclusive mode";

/// Ends what the sync does, as an administrator would.
const TERMINATE: &str =
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = '$role'";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "our remote backends are terminated while rows are read",
        hold: HoldPoint::At(Remote, &["-- read the meters"]),
        during: &[Strike::Sql(Remote, TERMINATE)],
        ends: Ends::Failing(ErrorCode::RemoteUnreachable),
        ..SOUND
    },
    Case {
        name: "our local backends are terminated while meters are written",
        hold: HoldPoint::At(Local, &["-- update meters"]),
        during: &[Strike::Sql(Local, TERMINATE)],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        ..SOUND
    },
    Case {
        name: "our idle local backends are terminated between runs",
        before: &[Strike::Sql(Local, TERMINATE)],
        ..SOUND
    },
    Case {
        name: "somebody holds the lock of a local meter for too long",
        settings: &[(Setting::LockTimeout, "200ms")],
        hold: HoldPoint::BehindToTheEnd(Local, "select from meter where id = 5 for update"),
        ends: Ends::Failing(ErrorCode::LocalTimeout),
        ..SOUND
    },
    Case {
        name: "somebody holds the lock of the remote table for too long",
        settings: &[(Setting::StatementTimeout, "300ms")],
        hold: HoldPoint::BehindToTheEnd(Remote, EXCLUSIVE),
        ends: Ends::Failing(ErrorCode::RemoteTimeout),
        ..SOUND
    },
    Case {
        name: "somebody holds the lock of the remote table for a while",
        hold: HoldPoint::Behind(Remote, EXCLUSIVE),
        ..SOUND
    },
    Case {
        name: "the remote table is emptied and filled again while a run waits",
        hold: HoldPoint::Behind(
            Remote,
            "create temp table kept on commit drop as select * from meter; truncate meter;
             insert into meter select * from kept",
        ),
        ..SOUND
    },
    Case {
        name: "the remote table gets a column while a run waits",
        hold: HoldPoint::Behind(Remote, "alter table meter add column floor integer"),
        mend: &[Strike::Sql(Remote, "alter table meter drop column floor")],
        ..SOUND
    },
    Case {
        name: "the remote table loses a column while a run waits",
        hold: HoldPoint::Behind(Remote, "alter table meter drop column if exists spare"),
        ..SOUND
    },
    Case {
        name: "a change of the local table waits for the run",
        hold: HoldPoint::At(Local, &["-- update meters"]),
        during: &[Strike::Queue(Local, EXCLUSIVE)],
        ..SOUND
    },
    Case {
        name: "a local writer and the run would wait for each other",
        hold: HoldPoint::Behind(
            Local,
            "set local deadlock_timeout = '10ms'; update meter set site_note = 'first' where id = 37",
        ),
        during: &[Strike::Holder(
            "update meter set site_note = 'then' where id = 1",
        )],
        ..SOUND
    },
];

#[test]
fn what_others_do_during_a_run_leaves_old_or_new_and_the_next_run_converges() {
    all_hold(CASES, 40);
}
