//! The integration tests, one binary; files are named by subject.
//!
//! `cfg(test)` always holds here; it tells clippy that helpers are test code too.

#[cfg(test)]
mod approval;
