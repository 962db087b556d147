//! Our tables in schema `meter_sync`: their migrations, the SQL on them, and the types that their rows are read into.
//!
//! - `log` has one row for each run. `changes` and `rejected` have what each run changed and rejected. `retention`
//!   deletes old runs.
//! - `held_sets` has the sets of meters that wait for a person's approval.
//! - `columns`, `watermarks` and `tombstones` have what a run stores for the next run.
//! - `slots` has which process claimed which slot of the schedule.
//! - `sweeps` has one row for each sweep. `unchanged_mirrors` has the time at which a sweep last found each mirror
//!   unchanged.
//! - `read_mirror_states` reads the states of many mirrors in one statement.
//!
//! This module reads and writes rows; the modules that use it decide what the rows mean. Statements that join one of
//! our tables with the users' tables, or with temporary ones, are built at run time from the users' columns. They are
//! in `engine` (`record_changes`, `apply`, `sweep`).

use crate::db::param::{self, Param};

pub mod changes;
pub mod columns;
pub mod held_sets;
pub mod log;
pub mod migrations;
pub mod read_mirror_states;
pub mod rejected;
pub mod retention;
pub mod slots;
pub mod sweeps;
pub mod tombstones;
pub mod unchanged_mirrors;
pub mod watermarks;

/// Returns the parameters that select the rows of a mirror: the tenant's id and the local table.
fn mirror_params<'a>(tenant: &'a str, local_table: &'a str) -> [Param<'a>; 2] {
    [param::text(tenant), param::text(local_table)]
}

/// Builds the SQL expression for the advisory lock key of the run lock. `$mirror` is an SQL expression for the name of
/// a mirror: the local table, a space and the tenant's id.
macro_rules! run_lock_key {
    ($mirror:literal) => {
        concat!("hashtextextended('meter_sync run ' || ", $mirror, ", 0)")
    };
}
pub(crate) use run_lock_key;
