//! Long random histories of a site: both sides are edited in every way, runs come one by one and at
//! once, lines break at named points; after every step the site must be as a model says.
//!
//! A failure prints its seed and the shortest history that shows it. `METER_SYNC_TEST_SEED=<seed>` runs
//! the same histories again; the short one belongs into `reproduction.rs`.

use std::hash::{BuildHasher, RandomState};

use quickcheck::{Arbitrary, Gen, QuickCheck};

use op::Op;
use world::World;

mod model;
mod op;
mod reproduction;
mod world;

/// How many histories, and how long each is.
const HISTORIES: u64 = 110;
const LENGTH: usize = 15;

/// A history that starts on an empty site.
#[derive(Clone, Debug)]
struct History(Vec<Op>);

impl Arbitrary for History {
    fn arbitrary(g: &mut Gen) -> Self {
        Self((0..LENGTH).map(|_| Op::arbitrary(g)).collect())
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.0.shrink().map(Self))
    }
}

#[test]
fn whatever_happens_the_site_is_as_the_model_says() {
    let seed = std::env::var_os("METER_SYNC_TEST_SEED").map_or_else(
        || RandomState::new().hash_one(0),
        |seed| seed.to_string_lossy().parse().expect("a number"),
    );
    println!("METER_SYNC_TEST_SEED={seed}");
    let live: fn(History) = |history| World::live(&history.0);
    QuickCheck::new()
        .rng(Gen::from_size_and_seed(LENGTH, seed))
        .tests(HISTORIES)
        .quickcheck(live);
}
