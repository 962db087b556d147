//! Shortens the texts of servers.

/// The longest text of a server that is shown, in characters.
const LONGEST_TEXT: usize = 400;

pub(super) fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST_TEXT {
        return text.to_owned();
    }
    text.chars()
        .take(LONGEST_TEXT)
        .chain("...".chars())
        .collect()
}
