//! Makes text from a database or a caller safe to show on a terminal or a web page.
//!
//! Control characters can steer a terminal, direction marks reverse the text around them, and characters without width
//! make two different texts look alike. Each of these is replaced by its code point, such as `[202E]`, except that a
//! line break becomes `↵` and a tab `⇥`. The joiners U+200C and U+200D, which emoji and some scripts need, are kept.

use std::fmt::Write;

/// Returns the text on one line, with invisible characters replaced, and cut after `longest` characters. Spaces at its
/// ends are shown as `␣`.
pub(crate) fn line(text: &str, longest: usize) -> String {
    let (start, end) = (text.trim_start(), text.trim_end());
    let (before, after) = (text.len() - start.len(), end.len());
    let mut short = String::new();
    for (n, (at, c)) in text.char_indices().enumerate() {
        if n == longest {
            short.push('…');
            break;
        }
        match stand_in(c) {
            Some(shown) => short.push_str(&shown),
            None if c == ' ' && (at < before || at >= after) => short.push('␣'),
            None => short.push(c),
        }
    }
    short
}

/// Like [`line()`], but keeps line breaks, does not cut the text, and leaves spaces as they are.
pub(crate) fn lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match stand_in(c).filter(|_| c != '\n') {
            Some(stand_in) => shown.push_str(&stand_in),
            None => shown.push(c),
        }
    }
    shown
}

/// Replaces the invisible characters in a JSON text by `\u` escapes, which do not change its meaning.
pub(crate) fn json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        // A line break can only stand between values of the JSON; inside strings it is already escaped.
        if c == '\n' || stand_in(c).is_none() {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            write!(escaped, "\\u{unit:04x}").unwrap_or_default();
        }
    }
    escaped
}

/// Whether the text has at least one visible character. The joiners U+200C and U+200D count as visible.
pub(crate) fn is_seen(text: &str) -> bool {
    let is_seen = |c: char| !c.is_whitespace() && stand_in(c).is_none();
    text.chars().any(is_seen)
}

/// Returns the text to show in place of an invisible character; `None` for a character that is kept.
fn stand_in(c: char) -> Option<String> {
    match c {
        '\n' => Some("↵".to_owned()),
        '\t' => Some("⇥".to_owned()),
        // The joiners come first, because a range below contains them.
        '\u{200c}' | '\u{200d}' => None,
        _ if c.is_control() => Some(format!("[{:04X}]", u32::from(c))),
        // Soft hyphen; direction marks, embeddings, overrides and isolates; characters without width; line separators;
        // tags.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => Some(format!("[{:04X}]", u32::from(c))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_shown() {
        for (text, shown) in [
            ("Hall", "Hall"),
            ("Hall \u{202e}gnorw", "Hall [202E]gnorw"),
            ("Hall\u{200b}", "Hall[200B]"),
            (" two  blanks ", "␣two  blanks␣"),
            ("  ", "␣␣"),
            ("a\nb\tc\u{1}", "a↵b⇥c[0001]"),
            ("\u{9b}31m", "[009B]31m"),
            ("a\u{e0061}", "a[E0061]"),
            ("👩\u{200d}🔧 नमस्\u{200d}ते", "👩\u{200d}🔧 नमस्\u{200d}ते"),
        ] {
            assert_eq!(line(text, 80), shown, "{text:?}");
        }
        assert_eq!(line("abc", 2), "ab…");
        assert_eq!(lines(" a\n\u{1b}[31m\r\n"), " a\n[001B][31m[000D]\n");
        assert!(is_seen("a") && is_seen("🧮"));
        assert!(!is_seen("") && !is_seen(" \n\u{200b}"));
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = serde_json::json!({"a\u{202e}": ["\u{9b}\u{1b}\n\u{e0061}é", 1]});
        let text = format!("{value:#}");
        let escaped = json(&text);
        assert!(!escaped.contains(['\u{202e}', '\u{9b}', '\u{e0061}']));
        let read: serde_json::Value = serde_json::from_str(&escaped).expect("JSON");
        assert_eq!(read, value);
        assert!(escaped.contains('é'));
    }
}
