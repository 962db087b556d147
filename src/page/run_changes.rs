//! Renders the counts, changes and rejected rows of a run, and the deactivations that it held back for approval.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::action_and_phase_words;
use super::format_values::{self, number, shortened, value};
use super::mirror_page_paths::MirrorBasePath;
use crate::make_printable;
use crate::model::{
    Change, ChangeAction, Counts, HeldDeactivations, MeterFields, Rejection, saturating_i64,
};
use crate::url_path;

/// The maximum number of changed columns that are shown for one meter. The meter's key and name are shown above them.
const FIELDS: usize = 24;

/// Renders how many rows a run inserted, updated, deactivated, reactivated, rejected and left unchanged. Emphasises
/// counts above zero, except that of unchanged rows. `planned` says that the run was a dry run.
pub(super) fn counts(counts: &Counts, planned: bool) -> Markup {
    let named = [
        (
            action_and_phase_words::action(ChangeAction::Insert, planned),
            counts.inserted,
        ),
        (
            action_and_phase_words::action(ChangeAction::Update, planned),
            counts.updated,
        ),
        (
            action_and_phase_words::action(ChangeAction::Deactivate, planned),
            counts.deactivated,
        ),
        (
            action_and_phase_words::action(ChangeAction::Reactivate, planned),
            counts.reactivated,
        ),
        ("Unchanged", counts.unchanged),
        ("Rejected", counts.rejected),
    ];
    html! {
        dl.counts {
            @for (name, count) in named {
                div .some[count > 0 && name != "Unchanged"] { dt { (name) } dd { (number(count)) } }
            }
        }
    }
}

/// Renders the changed meters, each with the old and new values of its columns. `planned` says that the run was a dry
/// run.
pub(super) fn list(changes: &[Change], planned: bool, base: &MirrorBasePath) -> Markup {
    html! {
        ul.changes {
            @for change in changes {
                li {
                    p { span.tag .(change.action.as_str()) { (action_and_phase_words::action(change.action, planned)) }
                        " " (meter(&change.key, change.name.as_deref(), base)) }
                    (fields(change))
                }
            }
        }
    }
}

/// Renders the old and new values of a meter's changed columns, except those of its key, and where the meter went if it
/// is gone.
pub(super) fn fields(change: &Change) -> Markup {
    let is_new = change.action == ChangeAction::Insert;
    let names: BTreeSet<&String> = change.before.keys().chain(change.after.keys()).collect();
    let shown = |name: &&&String| !change.key.contains_key(**name);
    html! {
        dl.fields {
            @for name in names.iter().filter(shown).take(FIELDS) {
                div {
                    dt { bdi { (shortened(name)) } }
                    dd {
                        @if !is_new {
                            del { @if let Some(old) = change.before.get(*name) { (value(old)) } }
                            span aria-hidden="true" { " → " } span.unseen { " becomes " }
                        }
                        ins { @if let Some(new) = change.after.get(*name) { (value(new)) } }
                    }
                }
            }
            @if let Some(gone_to) = &change.gone_to {
                div { dt { "On the central database" } dd { bdi { (shortened(&gone_to.in_words())) } } }
            }
        }
    }
}

/// Renders a link to a meter's page. Its text is the meter's name, if known, and key.
pub(super) fn meter(key: &MeterFields, name: Option<&str>, base: &MirrorBasePath) -> Markup {
    html! { a href=(base.page(&address(key))) { (named(key, name)) } }
}

/// Renders a meter's name, if it has visible characters, and its key.
pub(super) fn named(key: &MeterFields, name: Option<&str>) -> Markup {
    html! {
        @match name.filter(|name| make_printable::is_seen(name)) {
            Some(name) => { bdi { (format_values::name(name)) } " (" (key_text(key)) ")" }
            None => (key_text(key)),
        }
    }
}

fn key_text(key: &MeterFields) -> Markup {
    html! {
        @for (index, (column, value)) in key.iter().enumerate() {
            @if index > 0 { ", " }
            bdi { (format_values::name(column)) } " " bdi { (format_values::name(&text(value))) }
        }
    }
}

/// Returns the path of a meter's page with its query, to append to the base path of the tenant's pages.
fn address(key: &MeterFields) -> String {
    let values: Vec<String> = key.values().map(text).collect();
    let pairs = key.keys().zip(&values);
    let query =
        url_path::query(pairs.map(|(column, value)| (column.as_str(), Some(value.as_str()))));
    format!("/meters?{query}")
}

/// Returns the value of a key column as text, as the path of a meter has it.
pub(super) fn text(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Renders the rejected rows, each with the reason.
pub(super) fn rejected(rows: &[Rejection], base: &MirrorBasePath) -> Markup {
    html! {
        ul.changes {
            @for row in rows {
                li { p { span.tag.rejected { "Rejected" } " " (meter(&row.key, None, base)) }
                    p.soft { bdi { (shortened(&row.reason)) } } }
            }
        }
    }
}

/// Renders what a person needs to know to approve deactivations that a run held back: how many meters, why, where the
/// missing ones went, and which meters.
pub(super) fn question(held: &HeldDeactivations, base: &MirrorBasePath) -> Markup {
    html! {
        p { strong { (number(held.deactivated)) " of " (number(held.active)) " active meters would be deactivated" }
            ": " (held.reasons("the central database")) "." }
        @if let Some(gone_to) = held.gone_to_in_words() { p { bdi { (gone_to) } } }
        (listed("Gone:", held.gone, &held.first, base))
        (listed("Switched off:", held.switched_off, &held.first_switched_off, base))
        p { "They keep their rows and readings, and become active again when the central database has them active." }
    }
}

/// Renders the list `first` of meters under the heading `kind` (gone or switched off), and how many more there are of
/// `all`. Empty if `first` is empty.
fn listed(kind: &str, all: i64, first: &[MeterFields], base: &MirrorBasePath) -> Markup {
    let count = saturating_i64(first.len());
    html! {
        @if !first.is_empty() {
            p { (kind) }
            ul.held {
                @for meter in first {
                    @let name = meter.get("name").and_then(serde_json::Value::as_str);
                    @let key: MeterFields = meter.iter().filter(|(column, _)| *column != "name")
                        .map(|(column, value)| (column.clone(), value.clone())).collect();
                    li { (self::meter(&key, name, base)) }
                }
                @if all > count { li.soft { "and " (number(all - count)) " more" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_of_any_characters_leads_to_its_meter() {
        let key = json!({"id": 7, "element": "a&b=c/é\"<"});
        let address = address(key.as_object().expect("an object"));
        assert_eq!(address, "/meters?element=a%26b%3Dc%2F%C3%A9%22%3C&id=7");
    }
}
