//! Divides rows into buckets by a hash of their key, so that both sides can be compared bucket by bucket. A key is in
//! the same bucket on both sides, unless equal keys may be spelt differently (see `Relations::has_exact_key`).

use super::RowSelection;
use super::row_hash::{HashMode, HashedColumns, Hasher, RowSide};
use crate::engine::Relations;
use crate::model::saturating_i64;

/// The approximate number of rows in a bucket, as long as [`MOST_BUCKETS`] are enough. It is small, because all rows of
/// a bucket are listed or read if one of them differs. It is not smaller, because each server needs about 100 bytes of
/// memory for each bucket.
const BUCKET_ROWS: i64 = 12;
const LEAST_BUCKETS: u32 = 1024;
const MOST_BUCKETS: u32 = 65_536;

/// The buckets in which the sides differ.
#[derive(Debug)]
pub(super) struct DifferingBuckets {
    pub(super) what: HashedColumns,
    pub(super) buckets: Bucketing,
    /// The numbers of the differing buckets, in ascending order.
    pub(super) numbers: Vec<u32>,
    /// How many meters of the tenant the remote has in all.
    pub(super) remote_rows: i64,
}

impl DifferingBuckets {
    /// Selects the rows in the differing buckets. Returns `None` if more than half of all buckets differ, because
    /// reading all rows is cheaper then.
    pub(super) fn selection(&self, relations: &Relations) -> Option<RowSelection> {
        if self.numbers.len() > self.buckets.count as usize / 2 {
            return None;
        }
        let is_in = self.buckets.is_in(&self.numbers);
        Some(self.pick(|row| is_in(&self.buckets.number(relations, row))))
    }

    /// Selects the rows that meet a condition. `condition` returns the condition in SQL, for the rows of the given
    /// side.
    pub(super) fn pick(&self, condition: impl Fn(RowSide) -> String) -> RowSelection {
        RowSelection {
            remote_rows: Some(self.remote_rows),
            remote: condition(RowSide::Remote),
            local: condition(RowSide::Local),
            has_same_keys: false,
        }
    }

    /// The approximate number of rows in the differing buckets.
    pub(super) fn rows(&self) -> i64 {
        let numbers = saturating_i64(self.numbers.len());
        self.remote_rows.saturating_mul(numbers) / i64::from(self.buckets.count)
    }
}

/// A division of all rows into buckets, by a hash of their key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucketing {
    count: u32,
    hasher: Hasher,
}

impl Bucketing {
    /// Chooses the number of buckets, a power of two, for a table of about `rows` rows.
    pub(super) fn of(rows: i64, hasher: Hasher) -> Self {
        Self::for_differences(rows, rows, hasher)
    }

    /// Chooses the number of buckets for a table of about `rows` rows of which at most about `most` differ. If few
    /// differ, few buckets are enough, and cost less.
    pub(super) fn for_differences(most: i64, rows: i64, hasher: Hasher) -> Self {
        let wanted = most.min(rows / BUCKET_ROWS);
        let mut count = LEAST_BUCKETS;
        while count < MOST_BUCKETS && i64::from(count) * 2 <= wanted {
            count *= 2;
        }
        let hasher = Hasher { bits: 64, ..hasher };
        Self { count, hasher }
    }

    /// Returns a function that makes the SQL condition that a bucket number, which is given as SQL, is one of
    /// `numbers`.
    pub(super) fn is_in(self, numbers: &[u32]) -> impl Fn(&str) -> String {
        let mut bits = vec![0_u8; self.count as usize / 8];
        for number in numbers {
            if let Some(byte) = bits.get_mut(*number as usize / 8) {
                *byte |= 1 << (number % 8);
            }
        }
        let bits: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
        move |number| format!("pg_catalog.get_bit('\\x{bits}'::bytea, {number}) = 1")
    }

    /// Returns an `integer` expression in SQL for the number of a row's bucket.
    pub(super) fn number(self, relations: &Relations, row: RowSide) -> String {
        format!(
            "({} & '{}'::bigint)::integer",
            self.key_hash(relations, row),
            self.count - 1
        )
    }

    /// Returns an `integer` expression in SQL for the number of the bucket of a key, whose hash is given as SQL.
    pub(super) fn number_of_hash(self, hash: &str) -> String {
        format!("({hash} & '{}'::bigint)::integer", self.count - 1)
    }

    /// Returns an `integer` expression in SQL for a row's tag, which tells the rows of a bucket apart: the upper half
    /// of the hash of the row's key. The bucket number comes from the lower half.
    pub(super) fn tag(self, relations: &Relations, row: RowSide) -> String {
        format!("({} >> 32)::integer", self.key_hash(relations, row))
    }

    /// Returns how the keys are hashed.
    pub(super) fn mode(self) -> HashMode {
        self.hasher.mode
    }

    fn key_hash(self, relations: &Relations, row: RowSide) -> String {
        self.hasher.key(relations, row)
    }
}
