//! Many processes share the sweeps of many mirrors in virtual time, with crashes, pauses and clock steps: a million
//! mirrors and a hundred processes live through hours in seconds. The tables by which the processes agree are a model,
//! which [`against_postgres`] compares with the real ones.

use world::{Figures, Fleet, SLOT, World};

use crate::support::test_size::{seed, size};

mod against_postgres;
mod claim_steps;
mod claim_tables;
mod replica;
mod world;

const SMALL: Fleet = Fleet {
    replicas: 5,
    workers: 2,
    mirrors: 200,
    changes: 100,
    slots: 12,
    crashes: 0,
    pauses: 0,
    clock_steps: 0,
};

#[test]
fn without_faults_each_slot_is_swept_once_and_each_change_run_once() {
    let figures = World::live(SMALL, seed());
    assert_eq!(
        figures,
        Figures {
            made_equal: figures.changes,
            sweeps: 13,
            changes: figures.changes,
            ..Figures::default()
        }
    );
}

#[test]
fn crashes_pauses_and_clock_steps_neither_starve_a_mirror_nor_repeat_a_slot() {
    let seed = seed();
    let faulty = Fleet {
        crashes: 4,
        pauses: 4,
        clock_steps: 1,
        ..SMALL
    };
    let mut takeovers = 0;
    for number in 0..50 * size() {
        let figures = World::live(faulty, seed.wrapping_add(number));
        takeovers += figures.takeovers;
    }
    assert!(takeovers > 0, "the faults met some work");
}

#[test]
fn a_million_mirrors_and_a_hundred_processes() {
    let large = Fleet {
        replicas: 100,
        workers: 4,
        mirrors: 1_000_000,
        changes: 10_000,
        slots: 6,
        crashes: 20,
        pauses: 20,
        clock_steps: 1,
    };
    let figures = World::live(large, seed());
    println!("{figures:?}");
    assert_eq!(figures.made_equal, figures.changes, "{figures:?}");
    assert!(figures.longest_takeover < SLOT, "{figures:?}");
}
