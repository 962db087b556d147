//! Deactivations that the brake held back, and a person's approval of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fields, RunId, saturating_i64};

/// The longest name or key of a meter in a sentence, in characters. A longer one is cut.
const NAME_CHARS: usize = 60;

/// The deactivations that the brake held back, for a person to decide about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HeldBack")]
pub struct HeldDeactivations {
    /// Identifies the set of meters, in this tenant and table: the same set has the same digest.
    pub digest: String,
    /// How many meters would become inactive: those gone and those switched off.
    pub deactivated: i64,
    /// How many of them the remote has no more.
    #[serde(default)]
    pub gone: i64,
    /// How many of them the remote has with an `active` that is not true.
    #[serde(default)]
    pub switched_off: i64,
    /// How many meters are active now.
    pub active: i64,
    /// The first of those that are gone: the key, and `name` where the local table has it.
    pub first: Vec<Fields>,
    /// The first of those that were switched off, likewise.
    #[serde(default)]
    pub first_switched_off: Vec<Fields>,
}

impl HeldDeactivations {
    /// Fills in `gone` for a run that an earlier version logged. Earlier versions counted only meters that are missing
    /// on the remote.
    #[must_use]
    pub fn completed(mut self) -> Self {
        if self.gone == 0 && self.switched_off == 0 {
            self.gone = self.deactivated;
        }
        self
    }

    /// Returns a sentence for people: how many of the active meters would become inactive, why, and the names of the
    /// first ones. `remote` is the name of the remote in the sentence. The names come from the local table; long names
    /// are cut, and line breaks are removed.
    pub fn in_words(&self, remote: &str) -> String {
        format!(
            "{} of {} active meters would be deactivated: {}.{}",
            self.deactivated,
            self.active,
            self.reasons(remote),
            self.first_in_words()
        )
    }

    /// Lists the names of the first meters that were held back. The text starts with a blank, to follow another
    /// sentence. It is empty if no meter is listed.
    pub fn first_in_words(&self) -> String {
        let gone = listed("Gone", self.gone, &self.first);
        gone + &listed("Switched off", self.switched_off, &self.first_switched_off)
    }

    /// Says why meters would become inactive, as in `10 are gone from the remote, 30 were switched off there`. `remote`
    /// is the name of the remote in the sentence.
    pub fn reasons(&self, remote: &str) -> String {
        let verb = |count: i64, one: &'static str, many: &'static str| match count {
            1 => one,
            _ => many,
        };
        let gone = format!(
            "{} {} gone from {remote}",
            self.gone,
            verb(self.gone, "is", "are")
        );
        let place = match self.gone {
            0 => format!("on {remote}"),
            _ => "there".to_owned(),
        };
        let switched_off = format!(
            "{} {} switched off {place}",
            self.switched_off,
            verb(self.switched_off, "was", "were")
        );
        let parts = [(self.gone, gone), (self.switched_off, switched_off)];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        parts.map(|(_, text)| text).collect::<Vec<_>>().join(", ")
    }
}

/// Lists the names of the first meters, after the word `kind`, and says how many more of `count` there are.
fn listed(kind: &str, count: i64, first: &[Fields]) -> String {
    if first.is_empty() {
        return String::new();
    }
    let names: Vec<String> = first.iter().map(name).collect();
    let rest = match count - saturating_i64(first.len()) {
        ..=0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    format!(" {kind}: {}{rest}.", names.join("; "))
}

/// Describes a meter for people: its name with its key, or its key alone if it has no name.
pub(crate) fn name(meter: &Fields) -> String {
    let text = |value: &serde_json::Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    let key: Vec<String> = meter
        .iter()
        .filter(|(field, _)| *field != "name")
        .map(|(field, value)| format!("{field} {}", text(value)))
        .collect();
    let key = cut(&key.join(", "));
    match meter.get("name").filter(|name| !name.is_null()) {
        Some(name) => format!("{} ({key})", cut(&text(name))),
        None => key,
    }
}

/// Returns the first [`NAME_CHARS`] characters of a text, on one line.
fn cut(text: &str) -> String {
    let line = text.replace(char::is_control, " ");
    match line.trim().char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}…", line.trim().get(..end).unwrap_or_default()),
        None => line.trim().to_owned(),
    }
}

/// Which deactivations a person has approved, so that the brake does not hold them back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeactivationApproval {
    /// None: the brake may hold back any deactivation.
    #[default]
    None,
    /// The deactivations that this earlier run planned and held back, or a part of them. The approval ends with the
    /// next successful sync.
    Shown(RunId),
    /// All deactivations, whatever their number.
    Any,
}
