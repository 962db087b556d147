//! Shortens the messages of database servers.

/// How many characters of a server's message are shown. The rest is cut.
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
