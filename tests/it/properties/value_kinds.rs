//! Values that have gone wrong somewhere before: each as it is written on the remote, and as the
//! local column must show it, known by heart and not asked from a server.

use serde_json::Value as Json;

/// What a meter's field holds. `None` in its place is NULL.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// As it is written on the remote.
    pub(crate) written: String,
    /// As the local column shows it: two values are the same when these are.
    pub(crate) text: String,
    /// As a change row shows it.
    pub(crate) json: Json,
    /// Whether the local column takes it.
    pub(crate) fits: bool,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Value {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            written: text.clone(),
            json: Json::String(text.clone()),
            text,
            fits: true,
        }
    }
}

/// A kind of field, which is a pair of types and the values to try.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Text on both sides.
    Text,
    /// Text that must fit a local `varchar(80)`.
    Text80,
    /// `(written, local text, JSON)` of values that fit, and those that do not; an empty JSON is the
    /// text as a string.
    Listed(
        &'static [(&'static str, &'static str, &'static str)],
        &'static [&'static str],
    ),
}

impl Kind {
    /// The value of a number: NULL for some, one that does not fit for a few.
    pub(crate) fn value(self, pick: u16) -> Option<Value> {
        let pick = usize::from(pick);
        if pick % 11 == 0 {
            return None;
        }
        Some(match self {
            Self::Text => Value::plain(text(pick)),
            Self::Text80 => short(text(pick)),
            Self::Listed(_, unfit) if pick % 16 == 15 && !unfit.is_empty() => Value {
                fits: false,
                ..Value::plain(unfit[pick / 16 % unfit.len()])
            },
            Self::Listed(fit, _) => {
                let (written, text, json) = fit[pick % fit.len()];
                let json = match json {
                    "" => Json::String(text.to_owned()),
                    json => json.parse().unwrap(),
                };
                Value {
                    written: written.to_owned(),
                    text: text.to_owned(),
                    json,
                    fits: true,
                }
            }
        })
    }
}

/// What makes COPY, JSON, quoting or sorting stumble.
const PIECES: &[&str] = &[
    "",
    " ",
    "a",
    "A",
    "Ünï",
    "'",
    "\"",
    "\\",
    "\\N",
    "\\.",
    "\n",
    "\r",
    "\t",
    "\r\n",
    "\u{1}\u{7f}",
    "😀👨‍👩‍👧",
    "שלום",
    "\u{202e}rtl",
    "e\u{301}",
    "é",
    "NULL",
    ",;|",
    "$1",
    "{}",
    "%s",
    "--",
    "/*",
    "\u{feff}",
    "\\x00",
    "\\.\n",
    "0",
    "null",
];

fn text(pick: usize) -> String {
    match pick % 23 {
        1 => String::new(),
        2 => format!("{}{}", "long ".repeat(1000), pick % 3),
        3 => format!("{}   ", "x".repeat(79)),
        _ => [pick, pick / PIECES.len(), pick / 7]
            .map(|n| PIECES[n % PIECES.len()])
            .concat(),
    }
}

/// What `varchar(80)` makes of a text: spaces too many are cut off in silence
/// (<https://www.postgresql.org/docs/current/datatype-character.html>), anything else is refused.
fn short(written: String) -> Value {
    let kept: String = written.chars().take(80).collect();
    let fits = written.chars().skip(80).all(|c| c == ' ');
    Value {
        written,
        fits,
        ..Value::plain(kept)
    }
}
