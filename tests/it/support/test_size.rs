//! The size of the long tests, and the seed of their random numbers.

use std::hash::{BuildHasher, RandomState};

/// `TEST_SIZE`: 1 for `cargo test`, more for a longer search.
pub(crate) fn size() -> u64 {
    number("TEST_SIZE").unwrap_or(1)
}

/// `TEST_SEED`, or another seed each time. It is printed, so that a failure can be run again.
pub(crate) fn seed() -> u64 {
    let seed = number("TEST_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("TEST_SEED={seed}");
    seed
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var_os(name)?;
    let number = value.to_str().and_then(|value| value.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} is no number: {value:?}")))
}
