//! Parses the kinds of changes that a request asks for.

use super::arguments_by_name::{Arguments, BadArgument};
use super::clean_caller_text::shorten;
use crate::model::ChangeAction;

/// The longest text of kinds, in characters: all of them fit.
const KIND_CHARS: usize = 100;

/// Reads the argument `kind`: kinds of changes, separated by commas. Returns an empty list, which means all kinds, if
/// it is absent.
pub(crate) fn read(given: &mut Arguments) -> Result<Vec<ChangeAction>, BadArgument> {
    let text = given.text("kind", KIND_CHARS)?;
    text.map_or_else(|| Ok(Vec::new()), |text| parse(&text))
}

/// Parses kinds of changes that are separated by commas.
pub(crate) fn parse(text: &str) -> Result<Vec<ChangeAction>, BadArgument> {
    let words = text.split(',').map(str::trim);
    words
        .map(|word| {
            ChangeAction::parse(word).ok_or_else(|| {
                let known = ChangeAction::ALL.iter().map(|kind| kind.as_str());
                let known = known.collect::<Vec<_>>().join(", ");
                BadArgument(format!("`kind` must be of {known}, not {}.", shorten(word)))
            })
        })
        .collect()
}
