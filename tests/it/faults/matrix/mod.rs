//! A table of faults, each held to the same invariants on real servers.
//!
//! A [`case::Case`] says what breaks, when, and how its run has to end. [`invariants::hold`] then checks what must be true
//! after any of them. The cases of a group run side by side, each lane with databases and roles of its own.

mod case;
mod clocks;
mod disks;
mod frozen_program;
mod invariants;
mod leaks;
mod lines;
mod locks;
mod no_connections_left;
mod poolers;
mod programs;
mod remedy_words;
mod rights;
mod row_errors;
mod serialization;
mod servers;
mod standby;
mod table_reloads;
mod trial_site;
