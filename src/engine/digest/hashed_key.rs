//! The numbers that are summed for each key: its hash, and the key itself if it is one integer.

use crate::db::quote;
use crate::engine::{Relations, RunContext};

use super::find_differing_buckets;
use super::row_hash::{HashMode, HashedColumns, Hasher, RowSide};

/// How the keys of a run are hashed.
#[derive(Clone, Copy)]
pub(in crate::engine) struct HashedKey<'a> {
    relations: &'a Relations,
    hasher: Hasher,
}

impl<'a> HashedKey<'a> {
    pub(in crate::engine) fn new(run: &RunContext<'a>) -> Self {
        Self {
            relations: run.relations,
            hasher: Hasher {
                bits: 64,
                ..find_differing_buckets::hasher(run.job, HashMode::USUAL)
            },
        }
    }

    /// Returns a `bigint` expression in SQL for the hash of the key of a row. It is 0 for a key that is NULL.
    pub(in crate::engine) fn hash(self, row: RowSide) -> String {
        HashedColumns::Keys.hash(self.hasher, self.relations, row)
    }

    /// Returns a `bigint` expression in SQL for the key of a row, or 0 for NULL, if the key is one integer.
    pub(in crate::engine) fn integer(self, row: RowSide) -> Option<String> {
        let alias = match row {
            RowSide::Remote => "r",
            RowSide::Local => "l",
        };
        let key = self.relations.only_key()?;
        let is_integer = ["smallint", "integer", "bigint"].contains(&key.base_type.as_str());
        is_integer.then(|| {
            format!(
                "coalesce({alias}.{}::bigint, 0)",
                quote::identifier(&key.name)
            )
        })
    }
}
