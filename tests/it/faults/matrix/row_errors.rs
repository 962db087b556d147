//! Local triggers that raise an error for one row: that row is rejected.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;

use super::case::{Case, Ends, NO_TRIGGER, SOUND, Strike, all_hold};
use super::trial_site::Side::Local;

const PARTIAL: Case = Case {
    ends: Ends::With(RunOutcome::Partial),
    mend: NO_TRIGGER,
    ..SOUND
};

const FAILED: Case = Case {
    ends: Ends::FailingOn(Local),
    mend: NO_TRIGGER,
    ..SOUND
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a trigger raises an error of no class for one row",
        before: &[Strike::Raise("P0001")],
        ..PARTIAL
    },
    Case {
        name: "a trigger raises an error of a class of its own for one row",
        before: &[Strike::Raise("ZZ123")],
        ..PARTIAL
    },
    Case {
        name: "a trigger checks one row",
        before: &[Strike::Raise("23514")],
        ..PARTIAL
    },
    Case {
        name: "a serialization failure at one row",
        before: &[Strike::Raise("40001")],
        ..PARTIAL
    },
    Case {
        name: "a deadlock at one row",
        before: &[Strike::Raise("40P01")],
        ..PARTIAL
    },
    Case {
        name: "a trigger has an internal error at one row",
        before: &[Strike::Raise("XX000")],
        ..PARTIAL
    },
    Case {
        name: "an outer routine fails at one row",
        before: &[Strike::Raise("38000")],
        ..PARTIAL
    },
    Case {
        name: "a routine does what it may not at one row",
        before: &[Strike::Raise("2F003")],
        ..PARTIAL
    },
    Case {
        name: "one row is too complex for the server",
        before: &[Strike::Raise("54001")],
        ..PARTIAL
    },
    Case {
        name: "a trigger says at one row that the disk is full",
        before: &[Strike::Raise("53100")],
        ..PARTIAL
    },
    Case {
        name: "a trigger says at one row that the server shuts down",
        before: &[Strike::Raise("57P01")],
        ..PARTIAL
    },
    Case {
        name: "one row takes longer than a statement may",
        settings: &[(Setting::StatementTimeout, "500ms")],
        before: &[Strike::Sql(
            Local,
            "create function fails() returns trigger language plpgsql as
             $$ begin perform pg_sleep(30); return new; end $$;
             create trigger fails before update on meter for each row when (new.id = 17) execute function fails()",
        )],
        ends: Ends::Failing(ErrorCode::LocalTimeout),
        ..FAILED
    },
];

#[test]
fn an_error_at_one_row_leaves_old_or_new_and_the_next_run_converges() {
    all_hold(CASES, 40);
}
