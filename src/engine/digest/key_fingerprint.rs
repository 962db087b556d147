//! Fingerprints of keys: numbers of 64 bits, of which the exclusive or is computed for each bucket.
//!
//! If the key is one integer, its fingerprint can be turned back into the key, so that an index finds the row. The lower
//! half is that of the key. The upper half is that of the key, combined with a hash of the lower half by exclusive or (a
//! round of a Feistel network: Luby, Rackoff: How to construct pseudorandom permutations from pseudorandom functions,
//! 1988). Without the hash, the exclusive or of many keys would often be the same by chance.
//!
//! The fingerprint of any other key is its hash.

use crate::db::quote;
use crate::engine::{Relations, RunContext};

use super::find_differing_buckets;
use super::row_hash::{HashMode, HashedColumns, Hasher, RowSide};

/// How the fingerprints of a run are made.
#[derive(Clone, Copy)]
pub(in crate::engine) struct KeyFingerprint<'a> {
    relations: &'a Relations,
    hasher: Hasher,
}

impl<'a> KeyFingerprint<'a> {
    pub(in crate::engine) fn new(run: &RunContext<'a>) -> Self {
        Self {
            relations: run.relations,
            hasher: Hasher {
                bits: 64,
                ..find_differing_buckets::hasher(run.job, HashMode::USUAL)
            },
        }
    }

    /// Returns a `bigint` expression in SQL for the fingerprint of the key of a remote row `r`.
    pub(in crate::engine) fn of_remote(self) -> String {
        self.of(RowSide::Remote)
    }

    /// Returns a `bigint` expression in SQL for the fingerprint of the key of a local row `l`.
    pub(in crate::engine) fn of_local(self) -> String {
        self.of(RowSide::Local)
    }

    fn of(self, row: RowSide) -> String {
        let alias = match row {
            RowSide::Remote => "r",
            RowSide::Local => "l",
        };
        match self.integer_key() {
            Some(name) => self.mixed(&format!("{alias}.{}::bigint", quote::identifier(name))),
            None => HashedColumns::Keys.hash(self.hasher, self.relations, row),
        }
    }

    /// Returns a `bigint` expression in SQL for the key that has a fingerprint, which is given as SQL. `None` if the key
    /// is not one integer.
    pub(in crate::engine) fn key_of(self, fingerprint: &str) -> Option<String> {
        self.integer_key().map(|_| self.mixed(fingerprint))
    }

    /// Turns an integer key into its fingerprint, and a fingerprint into the key: the lower half stays as it is.
    fn mixed(self, number: &str) -> String {
        let hash = self.hasher.again(&format!("({number} & 4294967295)"));
        format!("({number} # ({hash} << 32))")
    }

    /// The name of the key column, if it is one column of an integer type.
    fn integer_key(self) -> Option<&'a str> {
        let [name] = self.relations.key.as_slice() else {
            return None;
        };
        let columns = &self.relations.columns;
        let column = columns.iter().find(|column| column.name == *name)?;
        let is_integer = ["smallint", "integer", "bigint"].contains(&column.base_type.as_str());
        is_integer.then_some(name)
    }
}
