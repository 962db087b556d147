//! What comes from outside, drawn at random: settings, connection strings, cron lines, arguments of tools, requests and
//! streams of events. A target holds a property, and most of what it draws is valid but for a few edits.
//!
//! `cargo test` tries some hundreds of inputs each, and `TEST_SIZE=<n>` n times as many. A failure shows the smallest
//! input that brings it, and a seed: `BOLERO_RANDOM_SEED=<seed> cargo test --test it -- <name>` tries the same input
//! again. The input belongs beside the code as a test of its own. The rows of COPY
//! (`src/engine/read/split_copy_data.rs`), the reading of JSON (`src/arguments/parse_json.rs`) and the events of REST
//! (`src/rest/events.rs`) are private and have their targets there.

use crate::support::test_size::size;

mod draw;

mod arguments;
mod conversations;
mod cron;
mod requests;
mod settings;
mod urls;

/// So many inputs, for each unit of `TEST_SIZE`.
fn inputs(for_each_unit: u64) -> usize {
    usize::try_from(for_each_unit * size()).unwrap_or(usize::MAX)
}
