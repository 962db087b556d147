//! How rows fall into buckets by their key.

use crate::db::catalog::Column;

use super::Extent;
use super::image::{Hasher, Row};
use crate::sync::Shape;

/// How many rows a bucket is to hold, roughly: few, since a row that differs makes its neighbours
/// travel too, but not too few, since the servers keep about 100 bytes for each bucket.
const BUCKET_ROWS: f64 = 12.0;
const LEAST_BUCKETS: u32 = 1024;
const MOST_BUCKETS: u32 = 65_536;

/// The buckets that the rows fall into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    count: u32,
    hasher: Hasher,
}

impl Buckets {
    /// As many as suit the local table.
    pub(super) fn of(shape: &Shape, hasher: Hasher) -> Self {
        let wanted = shape.estimated_rows / BUCKET_ROWS;
        let mut count = LEAST_BUCKETS;
        while count < MOST_BUCKETS && f64::from(count) * 2.0 <= wanted {
            count *= 2;
        }
        let hasher = Hasher { bits: 64, ..hasher };
        Self { count, hasher }
    }

    /// How many there are.
    pub(super) fn count(self) -> u32 {
        self.count
    }

    /// An `integer` expression: the number of a row's bucket.
    pub(super) fn number(self, shape: &Shape, row: Row) -> String {
        let is_key = |column: &Column| shape.key.contains(&column.name);
        let hash = self.hasher.hash(shape, row, is_key);
        format!("({hash} & {})::integer", self.count - 1)
    }

    /// The rows in some of them. `None` if these are so many that all rows are read sooner.
    pub(super) fn extent(self, shape: &Shape, numbers: &[u32], remote_rows: i64) -> Option<Extent> {
        if numbers.len() > self.count as usize / 2 {
            return None;
        }
        let mut bits = vec![0_u8; self.count as usize / 8];
        for number in numbers {
            if let Some(byte) = bits.get_mut(*number as usize / 8) {
                *byte |= 1 << (number % 8);
            }
        }
        let bits: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
        let pick = |row| {
            format!(
                "get_bit('\\x{bits}'::bytea, {}) = 1",
                self.number(shape, row)
            )
        };
        Some(Extent {
            remote_rows: Some(remote_rows),
            remote: pick(Row::Remote),
            local: pick(Row::Local),
        })
    }
}
