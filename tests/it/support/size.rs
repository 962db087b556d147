//! How much the long tests do.

/// `TEST_SIZE`: 1 for `cargo test`, more for a longer search.
pub(crate) fn size() -> u64 {
    number("TEST_SIZE").unwrap_or(1)
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var_os(name)?;
    let number = value.to_str().and_then(|value| value.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} is no number: {value:?}")))
}
