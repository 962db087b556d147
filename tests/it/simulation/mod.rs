//! Long random histories of a site: both sides are edited in every way, transactions of the remote stay open
//! and end late, unique numbers that readings refer to change places, runs of two processes come in turns and at once and meet
//! somebody who is still writing, lines break at named points; after every step the site must be as a model says. [`tables`] does the like with tables of any shape.
//!
//! A failure prints its seed and the shortest history that shows it. `TEST_SEED=<seed>` runs
//! the same histories again; the short one belongs into `past_failures.rs`. `TEST_SIZE=<n>` lives n times as many.

use quickcheck::{Arbitrary, Gen, QuickCheck};

use op::Op;
use rare_sequences::{first_load, rare_sequence};
use site_kinds::KINDS;
use world::World;

use crate::support::test_size::{seed, size};

mod concurrent_steps;
mod model;
mod op;
mod past_failures;
mod rare_sequences;
mod site_kinds;
mod tables;
mod unique_numbers;
mod world;
mod write_model;

/// How many histories, and how long each is.
const HISTORIES: u64 = 30;
const LENGTH: usize = 15;
/// One step of so many begins a rare sequence.
const RARE_SEQUENCE: u8 = 4;

/// A history that starts on an empty site.
#[derive(Clone, Debug)]
struct History {
    /// Which of [`KINDS`] the site is.
    kind: usize,
    ops: Vec<Op>,
}

impl Arbitrary for History {
    fn arbitrary(g: &mut Gen) -> Self {
        let is_loaded = bool::arbitrary(g);
        let mut ops = if is_loaded { first_load(g) } else { Vec::new() };
        while ops.len() < LENGTH {
            if u8::arbitrary(g) % RARE_SEQUENCE == 0 {
                ops.append(&mut rare_sequence(g));
            } else {
                ops.push(Op::arbitrary(g));
            }
        }
        Self {
            kind: usize::arbitrary(g) % KINDS.len(),
            ops,
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let kind = self.kind;
        let smaller = self.ops.shrink();
        Box::new(smaller.map(move |ops| Self { kind, ops }))
    }
}

#[test]
fn whatever_happens_the_site_is_as_the_model_says() {
    let live: fn(History) = |history| World::live(history.kind, &history.ops);
    let histories = HISTORIES * size();
    QuickCheck::new()
        .rng(Gen::from_size_and_seed(LENGTH, seed()))
        .tests(histories)
        .max_tests(histories)
        .quickcheck(live);
}
