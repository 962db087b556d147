//! The contract's properties P1 to P10, each over many cases on real Postgres: thirty in a plain test run, more than a
//! hundred in the gate, fewer where a case takes a second and more.
//!
//! A case is a few rounds of [`edits`] to both tables with a sync after each, on one of the
//! [`shapes`] a site may have, with [`values`] out of [`value_pools`] and keys that collide. The oracle is [`model`]: two
//! maps and a loop. A failure prints its seed; `TEST_SEED=<seed> cargo test <name>` brings
//! it again, and the smallest failing case that was found stands beside it.

mod column_names;
mod digests;
mod edits;
mod harness;
mod hash_collisions;
mod model;
mod random_tables;
mod table_shapes;
mod value_kinds;
mod value_pools;
mod world;

mod faults;
mod log;
mod one_run_at_a_time;
mod remote_changes_are_applied;
mod status;
mod time_travel;
