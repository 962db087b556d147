//! How both sides were shown to hold the same meters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text_enum;

text_enum! {
    /// How both sides were shown to hold the same meters.
    ProofMethod {
        /// By row versions: all rows are as they were when both sides were last equal, or were read and written since.
        Versions = "versions",
        /// By digests of the contents of all rows.
        Contents = "contents",
        /// By every value of every row.
        EveryValue = "every_value",
    }
}

impl ProofMethod {
    /// Returns the method in words, to follow "verified by".
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Versions => "versions",
            Self::Contents => "contents",
            Self::EveryValue => "every value",
        }
    }
}
