//! Makes the text of a caller fit for logs, the database and error messages, and finds the name that a misspelt one
//! stands for.

/// The lowest similarity (Jaro-Winkler, from 0 to 1) of a misspelt name and a known name at which the error suggests
/// the known name.
const NEAREST_MIN_SIMILARITY: f64 = 0.6;
/// How many characters of a caller's text an error message repeats.
const QUOTED_CHARS: usize = 60;
/// How many characters of a client's name and version the run log keeps.
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

/// Replaces the control characters of a caller's text with spaces, and trims the text. The result is safe in a log line
/// and in Postgres, which cannot store NUL.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ").trim().to_owned()
}

/// Shortens the name that a client gives itself to one short line. The run log keeps the result as the actor of a run.
pub(crate) fn actor(text: &str) -> String {
    one_line(text).chars().take(ACTOR_CHARS).collect()
}

/// Returns the beginning of a caller's text on one line, for an error message that repeats it.
pub(crate) fn shorten(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
