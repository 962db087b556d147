//! Joins the warnings of a run into one text, and removes a warning from such a text.

/// Joins the warnings into one text; `None` if there are none.
pub(crate) fn joined<const N: usize>(warnings: [Option<String>; N]) -> Option<String> {
    let warnings: Vec<_> = warnings.into_iter().flatten().collect();
    (!warnings.is_empty()).then(|| warnings.join(" "))
}

/// Returns the text without its first part that begins with `begins` and ends with `ends`. Returns it unchanged if it
/// has no such part.
pub(crate) fn without(text: &str, begins: &str, ends: &str) -> String {
    let found = text.split_once(begins).filter(|_| !begins.is_empty());
    let found = found.and_then(|(before, rest)| Some((before, rest.split_once(ends)?.1)));
    match found {
        Some((before, after)) => {
            let left = [before.trim_end(), after.trim_start()].join(" ");
            left.trim().to_owned()
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_taken_out_wherever_it_stands() {
        let is = |text: &str| without(text, "B begins", "ends.");
        for (text, expected) in [
            ("A. B begins and ends. C.", "A. C."),
            ("B begins and ends.", ""),
            ("A. B begins and ends.", "A."),
            ("B begins and ends. C.", "C."),
            ("A. C.", "A. C."),
            ("A. B begins", "A. B begins"),
        ] {
            assert_eq!(is(text), expected, "{text}");
        }
        assert_eq!(without("A. C.", "", ""), "A. C.");
        assert_eq!(without("A. C.", "A.", ""), "C.");
    }
}
