//! The deactivations because of which a run was refused, and a person's approval of them. The check that refuses a run
//! which would deactivate too many meters is called the *brake*.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GoneMeters, MeterFields, RunId, saturating_i64};

/// How many characters of a meter's name or key a sentence contains at most.
const NAME_CHARS: usize = 60;

/// The deactivations because of which a run was refused, and which a person can approve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HeldBack")]
pub struct HeldDeactivations {
    /// Identifies the set of meters: the same meters of the same tenant and table have the same digest.
    pub digest: String,
    /// How many meters would become inactive: `gone` plus `switched_off`.
    pub deactivated: i64,
    /// How many of them the remote no longer has.
    #[serde(default)]
    pub gone: i64,
    /// How many of them the remote has with `active` false or NULL.
    #[serde(default)]
    pub switched_off: i64,
    /// How many local meters of the tenant are active, these included.
    pub active: i64,
    /// Where the meters went that are gone, as far as the remote was asked about them and it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone_to: Vec<GoneMeters>,
    /// The first meters that are gone, at most 5: the key columns, and `name` if the table has it.
    pub first: Vec<MeterFields>,
    /// The first meters that were switched off, at most 5, in the same form.
    #[serde(default)]
    pub first_switched_off: Vec<MeterFields>,
}

impl HeldDeactivations {
    /// Sets `gone` to `deactivated` if the run was logged by an earlier version, which counted only meters that are
    /// missing on the remote.
    #[must_use]
    pub fn completed(mut self) -> Self {
        if self.gone == 0 && self.switched_off == 0 {
            self.gone = self.deactivated;
        }
        self
    }

    /// Returns a sentence for people: how many of the active meters would become inactive, why, where the missing ones
    /// went, and the names of the first ones. `remote` is what the sentence calls the remote. Long names are cut, and line breaks are removed.
    pub fn in_words(&self, remote: &str) -> String {
        format!(
            "{} of {} active meters would be deactivated: {}.{}",
            self.deactivated,
            self.active,
            self.reasons(remote),
            self.details_in_words()
        )
    }

    /// Says where the meters went that are gone, as in `Of those gone: 57 moved to tenant 9, 1 deleted.` Returns `None`
    /// if it is not known.
    pub fn gone_to_in_words(&self) -> Option<String> {
        GoneMeters::in_words(&self.gone_to, self.gone)
    }

    /// Says where the meters went that are gone, and lists the names of the first meters that would become inactive.
    /// The text starts with a space, so that it can follow another sentence. It is empty if there is nothing to say.
    pub fn details_in_words(&self) -> String {
        let gone_to = self.gone_to_in_words();
        let gone_to = gone_to.map_or_else(String::new, |words| format!(" {words}"));
        let gone = listed("Gone", self.gone, &self.first);
        gone_to + &gone + &listed("Switched off", self.switched_off, &self.first_switched_off)
    }

    /// Says why meters would become inactive, as in `10 are gone from the remote, 30 were switched off there`. `remote`
    /// is what the text calls the remote.
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

/// Lists the names of the meters in `first`, after the word `kind`, and says how many more of `count` there are.
/// Returns an empty text if `first` is empty.
fn listed(kind: &str, count: i64, first: &[MeterFields]) -> String {
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

/// Describes a meter for people: its name with its key, or its key alone if it has no name. `meter` holds the columns
/// of the key and the column `name`.
pub(crate) fn name(meter: &MeterFields) -> String {
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

/// Returns at most the first [`NAME_CHARS`] characters of a text, on one line.
fn cut(text: &str) -> String {
    let line = text.replace(char::is_control, " ");
    match line.trim().char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}…", line.trim().get(..end).unwrap_or_default()),
        None => line.trim().to_owned(),
    }
}

/// Which deactivations of meters a person has approved, so that a run is not refused because of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeactivationApproval {
    /// No deactivation is approved.
    #[default]
    None,
    /// The deactivations that this earlier, refused run planned; the new run may carry out all or some of them. The
    /// approval ends with the next successful sync.
    OfRun(RunId),
    /// All deactivations, whatever their number.
    Any,
}
