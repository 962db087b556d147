//! The integration tests, one binary; files are named by subject.

mod support;

mod approval;
mod embedded;
