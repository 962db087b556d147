//! Parses a meter's key that is given as text, in a URL or by a person.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use crate::db::catalog::Column;

/// A meter's key, with its values as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MeterKeyText {
    /// The values of the key columns, in key order.
    Ordered(Vec<String>),
    /// The value of each key column, by the name of the column.
    Named(BTreeMap<String, String>),
}

impl MeterKeyText {
    /// Parses the last segment of a URL path: percent-encoded values in key order, separated by commas. Returns `None`
    /// if the text is empty, longer than 2048 bytes, not UTF-8 when decoded, or contains a NUL.
    pub fn parse(part: &str) -> Option<Self> {
        if part.is_empty() || part.len() > LONGEST {
            return None;
        }
        let decoded = |part| percent_decode_str(part).decode_utf8();
        let values = part
            .split(',')
            .map(|part| Some(decoded(part).ok()?.into_owned()));
        let key = Self::Ordered(values.collect::<Option<_>>()?);
        key.is_text().then_some(key)
    }

    /// Makes a key of the decoded `column=value` pairs of a URL query. Returns `None` if a value contains a NUL.
    pub fn named(pairs: BTreeMap<String, String>) -> Option<Self> {
        let key = Self::Named(pairs);
        key.is_text().then_some(key)
    }

    /// Whether all values are valid Postgres text, which cannot contain a NUL.
    fn is_text(&self) -> bool {
        let holds_nul = |text: &String| text.contains('\0');
        match self {
            Self::Ordered(values) => !values.iter().any(holds_nul),
            Self::Named(pairs) => !pairs.values().any(holds_nul),
        }
    }

    /// Returns the values in the order of `columns`, the key columns. Returns `None` if the key has other columns, or
    /// another number of values.
    pub(super) fn values(&self, columns: &[Column]) -> Option<Vec<String>> {
        match self {
            Self::Ordered(values) => Some(values.clone()),
            Self::Named(pairs) if pairs.len() == columns.len() => {
                let value = |column: &Column| pairs.get(&column.name).cloned();
                columns.iter().map(value).collect()
            }
            Self::Named(_) => None,
        }
        .filter(|values| values.len() == columns.len())
    }
}

/// The longest text that [`MeterKeyText::parse`] accepts, in bytes. A meter whose percent-encoded key is longer cannot
/// be found by the path of a URL.
const LONGEST: usize = 2048;
