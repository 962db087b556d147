//! Runs a property over many cases and says how to run the same cases again.

use std::cell::RefCell;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult, Testable};
use tokio::runtime::Runtime;

use super::world::Worlds;
use crate::support::test_size::{seed, size};

/// What a case came to; one that fails panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Held,
    /// The case said nothing about the property, and another takes its place.
    Vacuous,
}

/// How many cases a property must hold for, for each unit of `TEST_SIZE`: more than a hundred in the gate.
const CASES: u64 = 30;
/// The same for a property whose cases are real faults.
const FAULTS: u64 = 60;
/// How many cases are drawn before a property counts as never being put to the test.
const DRAWN: u64 = 2000;
/// How many smaller cases are tried after a failure.
const SMALLER: usize = 60;

/// How many cases of a second and more a property must hold for, for each unit of `TEST_SIZE`.
const SLOW_CASES: u64 = 15;

/// Holds a property against [`CASES`] cases.
pub(crate) fn check<C, F>(property: F)
where
    C: Arbitrary + Debug,
    F: AsyncFn(&mut Worlds, &C) -> Verdict + 'static,
{
    check_cases(CASES * size(), property);
}

/// Holds a property whose cases are real faults against [`FAULTS`] cases.
pub(crate) fn check_faults<C, F>(property: F)
where
    C: Arbitrary + Debug,
    F: AsyncFn(&mut Worlds, &C) -> Verdict + 'static,
{
    check_cases(FAULTS * size(), property);
}

/// Holds a property whose cases take long against [`SLOW_CASES`] cases, and more where more is asked for.
pub(crate) fn check_slow<C, F>(property: F)
where
    C: Arbitrary + Debug,
    F: AsyncFn(&mut Worlds, &C) -> Verdict + 'static,
{
    check_cases(SLOW_CASES * size(), property);
}

fn check_cases<C, F>(cases: u64, property: F)
where
    C: Arbitrary + Debug,
    F: AsyncFn(&mut Worlds, &C) -> Verdict + 'static,
{
    let seed = seed();
    let property = Property {
        property,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap(),
        worlds: RefCell::default(),
        seed,
        case: PhantomData,
    };
    QuickCheck::new()
        .rng(Gen::from_size_and_seed(20, seed))
        .tests(cases)
        .min_tests_passed(cases)
        .max_tests(DRAWN)
        .quickcheck(property);
}

struct Property<C, F> {
    property: F,
    runtime: Runtime,
    worlds: RefCell<Worlds>,
    seed: u64,
    case: PhantomData<fn(C)>,
}

impl<C, F> Testable for Property<C, F>
where
    C: Arbitrary + Debug,
    F: AsyncFn(&mut Worlds, &C) -> Verdict + 'static,
{
    fn result(&self, g: &mut Gen) -> TestResult {
        let case = C::arbitrary(g);
        match self.run(&case) {
            Ok(Verdict::Held) => TestResult::passed(),
            Ok(Verdict::Vacuous) => TestResult::discard(),
            Err(why) => {
                let (case, why) = self.smallest(case, why);
                let seed = self.seed;
                TestResult::error(format!(
                    "TEST_SEED={seed} brings it again\n{case:#?}\n{why}"
                ))
            }
        }
    }
}

impl<C, F> Property<C, F>
where
    C: Arbitrary + Debug,
    F: AsyncFn(&mut Worlds, &C) -> Verdict,
{
    fn run(&self, case: &C) -> Result<Verdict, String> {
        let mut worlds = self.worlds.borrow_mut();
        let run = Box::pin(AssertUnwindSafe((self.property)(&mut worlds, case)).catch_unwind());
        self.runtime.block_on(run).map_err(|panic| {
            // It may have left anything behind.
            *worlds = Worlds::default();
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_default()
        })
    }

    fn smallest(&self, mut case: C, mut why: String) -> (C, String) {
        let mut left = SMALLER;
        loop {
            let mut tries = case.shrink().take(left).inspect(|_| left -= 1);
            let failing = tries.find_map(|smaller| self.run(&smaller).err().map(|w| (smaller, w)));
            drop(tries);
            match failing {
                Some(found) => (case, why) = found,
                None => return (case, why),
            }
        }
    }
}
