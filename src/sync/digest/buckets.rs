//! How rows fall into buckets by their key.

use crate::db::catalog::Column;

use super::Extent;
use super::compare::What;
use super::image::{HashMode, Hasher, Row};
use crate::sync::Shape;

/// How many rows a bucket is to hold, roughly: few, since a row that differs makes its neighbours
/// travel too, but not too few, since the servers keep about 100 bytes for each bucket.
const BUCKET_ROWS: i64 = 12;
const LEAST_BUCKETS: u32 = 1024;
const MOST_BUCKETS: u32 = 65_536;

/// The buckets in which the sides differ.
#[derive(Debug)]
pub(super) struct Differing {
    pub(super) what: What,
    pub(super) buckets: Buckets,
    /// In order.
    pub(super) numbers: Vec<u32>,
    /// How many meters the remote holds in all.
    pub(super) remote_rows: i64,
}

impl Differing {
    /// The rows in them. `None` if these are so many that all rows are read sooner.
    pub(super) fn extent(&self, shape: &Shape) -> Option<Extent> {
        let Buckets { count, .. } = self.buckets;
        if self.numbers.len() > count as usize / 2 {
            return None;
        }
        let mut bits = vec![0_u8; count as usize / 8];
        for number in &self.numbers {
            if let Some(byte) = bits.get_mut(*number as usize / 8) {
                *byte |= 1 << (number % 8);
            }
        }
        let bits: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(self.pick(|row| {
            let number = self.buckets.number(shape, row);
            format!("pg_catalog.get_bit('\\x{bits}'::bytea, {number}) = 1")
        }))
    }

    /// The rows for which a condition holds.
    pub(super) fn pick(&self, condition: impl Fn(Row) -> String) -> Extent {
        Extent {
            remote_rows: Some(self.remote_rows),
            remote: condition(Row::Remote),
            local: condition(Row::Local),
        }
    }

    /// How many meters are in them, roughly.
    pub(super) fn rows(&self) -> i64 {
        let numbers = i64::try_from(self.numbers.len()).unwrap_or(i64::MAX);
        self.remote_rows.saturating_mul(numbers) / i64::from(self.buckets.count)
    }
}

/// The buckets that the rows fall into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    count: u32,
    hasher: Hasher,
}

impl Buckets {
    /// As many as suit so many rows.
    pub(super) fn of(rows: i64, hasher: Hasher) -> Self {
        let wanted = rows / BUCKET_ROWS;
        let mut count = LEAST_BUCKETS;
        while count < MOST_BUCKETS && i64::from(count) * 2 <= wanted {
            count *= 2;
        }
        let hasher = Hasher { bits: 64, ..hasher };
        Self { count, hasher }
    }

    /// An `integer` expression: the number of a row's bucket.
    pub(super) fn number(self, shape: &Shape, row: Row) -> String {
        format!(
            "({} & '{}'::bigint)::integer",
            self.key_hash(shape, row),
            self.count - 1
        )
    }

    /// An `integer` expression: the part of the hash of a row's key that says nothing of its bucket.
    pub(super) fn tag(self, shape: &Shape, row: Row) -> String {
        format!("({} >> 32)::integer", self.key_hash(shape, row))
    }

    /// The mode by which its hashes are made.
    pub(super) fn mode(self) -> HashMode {
        self.hasher.mode
    }

    fn key_hash(self, shape: &Shape, row: Row) -> String {
        let is_key = |column: &Column| shape.key.contains(&column.name);
        self.hasher.hash(shape, row, is_key)
    }
}
