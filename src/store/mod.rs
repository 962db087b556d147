//! Our tables in schema `meter_sync`: their migrations, all SQL on them, and what their rows become.
//!
//! - `log` holds runs, `changes` and `rejected` what they did; `retention` deletes old ones.
//! - `held` holds the sets of meters that wait for a person's approval.
//! - `columns`, `watermarks` and `tombstones` hold what a run remembers for the next.
//! - `slots` holds who serves which slot of the schedule, `sweeps` the sweeps, `checks` when they found a mirror unchanged.
//! - `mirror_states` reads the log and the checks of many mirrors in one statement.
//!
//! What the rows mean is decided above. A statement that is built at run time from the users' columns, and joins one of our
//! tables with theirs or with a temporary table, stands in `engine`: recording changes (`record`, `apply`), and sweeps.

use crate::db::param::{self, Param};

pub mod changes;
pub mod checked_mirrors;
pub mod columns;
pub mod held_sets;
pub mod log;
pub mod migrations;
pub mod mirror_states;
pub mod rejected;
pub mod retention;
pub mod slots;
pub mod sweeps;
pub mod tombstones;
pub mod watermarks;

/// The parameters that pick the rows of a mirror: the tenant's id and the local table.
fn mirror_params<'a>(tenant: &'a str, local_table: &'a str) -> [Param<'a>; 2] {
    [param::text(tenant), param::text(local_table)]
}

/// The key of the run lock, as SQL. `$mirror` is SQL for a mirror: the table, a blank and the tenant.
macro_rules! run_lock_key {
    ($mirror:literal) => {
        concat!("hashtextextended('meter_sync run ' || ", $mirror, ", 0)")
    };
}
pub(crate) use run_lock_key;
