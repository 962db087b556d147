//! Rights, limits and columns that are taken away between runs and during a run.

use meter_sync::error::ErrorCode;

use super::case::{Case, Ends, HoldPoint, SOUND, Strike, all_hold};
use super::trial_site::Side::{Local, Remote};
use crate::support::proxy::Fault;

/// Has the sync sign in anew, as limits and rights of a role count from then on.
const TERMINATE: &str =
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = '$role'";

const NO_SPARE: &str = "alter table meter drop column if exists spare";

const NO_LIMIT: &str = "alter role $role connection limit -1";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the remote role may not sign in any more",
        before: &[Strike::Sql(Remote, "alter role $role nologin")],
        ends: Ends::Failing(ErrorCode::RemoteAuth),
        mend: &[Strike::Sql(Remote, "alter role $role login")],
        ..SOUND
    },
    Case {
        name: "the local role may not sign in any more",
        before: &[
            Strike::Sql(Local, "alter role $role nologin"),
            Strike::Sql(Local, TERMINATE),
        ],
        ends: Ends::Failing(ErrorCode::LocalAuth),
        mend: &[Strike::Sql(Local, "alter role $role login")],
        ..SOUND
    },
    Case {
        name: "the local role may not sign in any more while its connection is tested",
        hold: HoldPoint::At(Local, &["pg_is_in_recovery"]),
        during: &[
            Strike::Sql(Local, "alter role $role nologin"),
            Strike::Sql(Local, TERMINATE),
            Strike::Line(Local, Fault::LateEnd),
        ],
        ends: Ends::Failing(ErrorCode::LocalAuth),
        mend: &[Strike::Sql(Local, "alter role $role login")],
        ..SOUND
    },
    Case {
        name: "the remote has no connection left for us",
        before: &[Strike::Sql(Remote, "alter role $role connection limit 0")],
        ends: Ends::FailingOn(Remote),
        mend: &[Strike::Sql(Remote, NO_LIMIT)],
        ..SOUND
    },
    Case {
        name: "the local side has one connection where a run needs two",
        before: &[
            Strike::Sql(Local, "alter role $role connection limit 1"),
            Strike::Sql(Local, TERMINATE),
        ],
        ends: Ends::FailingOn(Local),
        mend: &[Strike::Sql(Local, NO_LIMIT)],
        ..SOUND
    },
    Case {
        name: "the remote role may not read any more",
        before: &[Strike::Sql(Remote, "revoke select on meter from $role")],
        ends: Ends::Failing(ErrorCode::RemotePermission),
        mend: &[Strike::Sql(Remote, "grant select on meter to $role")],
        ..SOUND
    },
    Case {
        name: "the local role may not write any more",
        before: &[Strike::Sql(Local, "revoke update on meter from $role")],
        ends: Ends::Failing(ErrorCode::LocalAuth),
        mend: &[Strike::Sql(Local, "grant update on meter to $role")],
        ..SOUND
    },
    Case {
        name: "the local role may not write any more while meters are written",
        hold: HoldPoint::At(Local, &["-- update meters"]),
        during: &[Strike::Sql(Local, "revoke update on meter from $role")],
        ends: Ends::Failing(ErrorCode::LocalAuth),
        mend: &[Strike::Sql(Local, "grant update on meter to $role")],
        ..SOUND
    },
    Case {
        name: "the local side has no room for temporary files while meters are written",
        before: &[
            Strike::Sql(
                Local,
                "alter role $role set temp_file_limit = '64kB';
                 create function fails() returns trigger language plpgsql as
                 $$ begin perform count(*) from generate_series(1, 1000000); return new; end $$;
                 create trigger fails before update on meter for each row when (new.id = 17) execute function fails()",
            ),
            Strike::Sql(Local, TERMINATE),
        ],
        ends: Ends::Failing(ErrorCode::LocalUnreachable),
        mend: &[
            Strike::Sql(Local, "alter role $role reset all; drop function fails cascade"),
            Strike::Sql(Local, TERMINATE),
        ],
        ..SOUND
    },
    Case {
        name: "the remote table loses a column between runs",
        before: &[Strike::Sql(Remote, NO_SPARE)],
        ..SOUND
    },
    Case {
        name: "the local table loses a column between runs",
        before: &[Strike::Sql(Local, NO_SPARE)],
        ..SOUND
    },
    Case {
        name: "the local table loses a column while a run starts",
        hold: HoldPoint::At(Local, &["-- try to start a run"]),
        during: &[Strike::Sql(Local, NO_SPARE)],
        ..SOUND
    },
];

#[test]
fn what_is_taken_away_leaves_old_or_new_and_the_next_run_converges() {
    all_hold(CASES, 40);
}
