//! The integration tests, one binary; files are named by subject.

mod approval;
