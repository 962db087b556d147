//! The integration tests, one binary; files are named by subject.

mod support;

#[cfg(test)]
mod approval;
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod http;
#[cfg(test)]
mod majors;
#[cfg(test)]
mod mcp;
#[cfg(test)]
mod schedule;
#[cfg(test)]
mod sync;
