//! A meter's key as text: as an address gives it, or a person.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use crate::db::catalog::Column;

/// A meter's key as an address gives it, its values as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyText {
    /// The values of the key's columns, in the order of the key.
    Ordered(Vec<String>),
    /// The values by the columns' names, as the key of a meter or a change has them.
    Named(BTreeMap<String, String>),
}

impl KeyText {
    /// The last part of an address: values in the order of the key, percent-encoded, with commas between;
    /// `None` for what is no key of any meter.
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

    /// The query of an address: `column=value` pairs, form-encoded and decoded already.
    pub fn named(pairs: BTreeMap<String, String>) -> Option<Self> {
        let key = Self::Named(pairs);
        key.is_text().then_some(key)
    }

    /// Postgres has no texts with a NUL.
    fn is_text(&self) -> bool {
        let holds_nul = |text: &String| text.contains('\0');
        match self {
            Self::Ordered(values) => !values.iter().any(holds_nul),
            Self::Named(pairs) => !pairs.values().any(holds_nul),
        }
    }

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

/// More than any key of a meter takes, percent-encoded.
const LONGEST: usize = 2048;
