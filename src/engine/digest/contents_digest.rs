//! The digest of what one side holds: a short text made from the number of its rows and two sums of their hashes. It is
//! equal on both sides if they hold the same rows.
//!
//! [`verification_sql`](super::verification_sql) prints a statement that computes the same digest.

use super::row_hash::{HashFunction, HashMode};
use super::totals::{Total, TotalsOfBothSides};
use crate::hex_digest::hex_digest;

/// The number of bytes of a digest. It has twice as many hexadecimal digits.
const DIGEST_BYTES: usize = 16;

/// The number of hexadecimal digits of a digest.
pub(super) const DIGEST_DIGITS: usize = 2 * DIGEST_BYTES;

/// How many meters one side has, and the digest of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideDigest {
    /// The number of the tenant's meters. On the local side, inactive meters that the remote no longer has do not
    /// count.
    pub meters: i64,
    /// The digest, in hexadecimal.
    pub digest: String,
}

/// How the rows of both sides were hashed for a digest. The same rows hashed in the same way have the same digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestHashing {
    /// The seed of the hashes of the rows, and that of the hashes of these hashes.
    pub seeds: [u64; 2],
    /// Whether rows were hashed by SHA-256, because the two servers do not compute the same hashes otherwise.
    pub is_portable: bool,
    /// Whether remote values of another type were cast to the local type. If false, the texts of both values were
    /// hashed.
    pub casts: bool,
}

/// The digests of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentsDigests {
    /// The digest of the remote meters.
    pub remote: SideDigest,
    /// The digest of the local meters.
    pub local: SideDigest,
    /// How the rows of both sides were hashed.
    pub hashing: DigestHashing,
}

impl DigestHashing {
    pub(super) fn of(seeds: [u64; 2], mode: HashMode) -> Self {
        Self {
            seeds,
            is_portable: mode.function == HashFunction::Portable,
            casts: mode.casts,
        }
    }

    pub(super) fn mode(self) -> HashMode {
        HashMode {
            function: match self.is_portable {
                true => HashFunction::Portable,
                false => HashFunction::Server,
            },
            casts: self.casts,
        }
    }
}

impl ContentsDigests {
    pub(super) fn of(totals: &TotalsOfBothSides, seeds: [u64; 2]) -> Self {
        Self {
            remote: SideDigest::of(&totals.there),
            local: SideDigest::of(&totals.here),
            hashing: DigestHashing::of(seeds, totals.mode),
        }
    }
}

impl SideDigest {
    fn of(total: &Total) -> Self {
        let meters = total.rows();
        let sums: String = total.sums().iter().map(|sum| format!(" {sum}")).collect();
        Self {
            meters,
            digest: hex_digest(&format!("{meters}{sums}"), DIGEST_BYTES),
        }
    }
}
