//! A table of faults, each held to the same invariants on real servers.
//!
//! A [`case::Case`] says what breaks, when, and how its run has to end. [`invariants::hold`] then checks what must be true
//! after any of them. The cases of a group run side by side, each lane with databases and roles of its own.

mod case;
mod clocks;
mod crowds;
mod disks;
mod frozen;
mod invariants;
mod lines;
mod locks;
mod memory;
mod poolers;
mod programs;
mod reloads;
mod remedies;
mod rights;
mod rows;
mod serialization;
mod servers;
mod standby;
mod trial;
