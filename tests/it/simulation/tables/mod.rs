//! Random tables: a meter here is the remote's row, cast by an assignment, and one that is gone from the remote is
//! inactive. Rows are edited on both sides; a transaction of the remote stays open and ends late; columns have names
//! that our own SQL uses; encodings differ; values are exchanged that are unique here and that readings refer to.
//!
//! A failure prints the tables, what was done to them, and the seed that brings this very table first.

use table::{Draw, Table};
use trial::Trial;

use crate::support::test_size::{seed, size};

mod edits;
mod keys;
mod kinds;
mod late_transaction;
mod oracle;
mod table;
mod trial;

/// Tables a unit of `TEST_SIZE`, and syncs of each.
const TABLES: u64 = 6;
const STEPS: usize = 6;

#[tokio::test]
async fn whatever_the_tables_are_the_meters_are_the_remote_rows_cast() {
    let seed = seed();
    for n in 0..TABLES * size() {
        let seed = seed.wrapping_add(n);
        let mut draw = Draw::new(seed);
        let table = Table::draw(&mut draw);
        let mut trial = Box::pin(Trial::new(&table, seed, &mut draw)).await;
        for _ in 0..STEPS {
            Box::pin(trial.step(&mut draw)).await;
        }
    }
}
