//! The program's own tables, in schema `meter_sync` of the local database: their migrations, the SQL on them, and the
//! types that their rows are read into. A *mirror* is one tenant's meters in one local table; a *run* syncs one mirror.
//!
//! - `log` has one row for each run. `changes` and `rejected_rows` have what each run changed and rejected;
//!   `changes_between_runs` reads the changes of several runs. `retention`
//!   deletes old runs.
//! - `pauses` has the mirrors that a person has paused.
//! - `held_deactivations` has the sets of meters that a run may deactivate only after a person's approval.
//! - `recorded_columns`, `watermarks`, `tombstones` and `remote_identities` have what a run stores for the next run.
//! - `proofs` has the last comparison of all meters of each mirror.
//! - `run_lock` has the locks that allow one run of a mirror at a time. They are advisory locks and no table.
//! - `claimed_slots` has the times of the schedule, and the process that claimed each of them.
//! - `sweeps` has one row for each sweep (a check of all mirrors). `unchanged_mirrors` has the time at which a sweep
//!   last found each mirror unchanged. `due_mirrors` has the mirrors to which a sweep gives a run.
//! - `read_mirror_states` reads the states of many mirrors in one statement.
//!
//! This module reads and writes rows; the modules that use it decide what the rows mean. Some statements join one of
//! these tables with the users' tables or with temporary ones. These are not here: module `engine` builds them at run
//! time from the columns of the users' tables (`record_changes`, `apply`, `sweep`).

use crate::db::param::{self, Param};

pub mod changes;
pub mod changes_between_runs;
pub mod claimed_slots;
pub mod due_mirrors;
pub mod held_deactivations;
pub mod log;
pub mod migrations;
pub mod needed_functions;
pub mod pauses;
pub mod proofs;
pub mod read_mirror_states;
pub mod recorded_columns;
pub mod rejected_rows;
pub mod remote_identities;
pub mod retention;
pub mod run_lock;
pub mod sweeps;
pub mod tombstones;
pub mod unchanged_mirrors;
pub mod watermarks;

/// Returns the parameters that select the rows of a mirror: the tenant's id and the local table.
fn mirror_params<'a>(tenant: &'a str, local_table: &'a str) -> [Param<'a>; 2] {
    [param::text(tenant), param::text(local_table)]
}

/// Builds the SQL expression for the key of the run lock, the advisory lock that allows one run of a mirror at a time.
/// `$mirror` is an SQL expression for the name of the mirror: the local table, a space and the tenant's ID.
macro_rules! run_lock_key {
    ($mirror:literal) => {
        concat!("hashtextextended('meter_sync run ' || ", $mirror, ", 0)")
    };
}
use run_lock_key;

/// SQL: whether a claim that was made or renewed at the time `$at` no longer holds. A claim holds for 25 seconds, so
/// that another process takes over the work of a dead one within 30 seconds, including the time until it looks. A claim
/// that is dated more than 25 seconds ahead was made before the clock was set back, and does not hold either.
macro_rules! has_expired {
    ($at:literal) => {
        concat!(
            "(",
            $at,
            " < clock_timestamp() - interval '25 seconds' or ",
            $at,
            " > clock_timestamp() + interval '25 seconds')"
        )
    };
}
use has_expired;
