//! Cleans and shortens text of callers for logs, the database and error messages, and finds the known name that is most
//! similar to a misspelt one.

/// The similarity (Jaro-Winkler, from 0 to 1) that a known name and a misspelt name must have at least, so that an
/// error message suggests the known name.
const NEAREST_MIN_SIMILARITY: f64 = 0.6;
/// How many characters of a caller's text an error message quotes at most.
const QUOTED_CHARS: usize = 60;
/// How many characters of a client's name and version are logged with a run at most.
const ACTOR_CHARS: usize = 100;

/// Returns the known name that is most similar to `name`; `None` if none is similar enough.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= NEAREST_MIN_SIMILARITY)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// Replaces the control characters of a caller's text (such as line breaks and NUL) with spaces, and trims the text.
/// The result fits on one line of a log, and Postgres can store it.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ").trim().to_owned()
}

/// Returns the name and version of a client as one line of at most `ACTOR_CHARS` characters. The line is logged with
/// each run that the client requests.
pub(crate) fn actor(text: &str) -> String {
    one_line(text).chars().take(ACTOR_CHARS).collect()
}

/// Returns at most the first `QUOTED_CHARS` characters of a caller's text, on one line, for an error message that
/// quotes the text. A text that was cut ends with `…`.
pub(crate) fn shorten(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
