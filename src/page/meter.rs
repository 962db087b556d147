//! The page of one meter: its local row, and what each run changed in it.

use std::collections::BTreeMap;

use axum::extract::Query;
use maud::{Markup, html};
use serde_json::Value;

use super::action_and_phase_words;
use super::format_values::{prose, shortened, time, value};
use super::mirror_in_url::MirrorInUrl;
use super::mirror_page_paths::MirrorBasePath;
use super::page_layout::{ErrorPage, PageLayout};
use super::viewer_rights::ViewerRights;
use super::{banner, run_changes};
use crate::arguments::past_time;
use crate::history::parse_meter_key::MeterKeyText;
use crate::model::{Change, MeterFields};
use crate::reports::meter_report::MeterReport;
use crate::reports::status::StatusQuery;

/// The query parameter with the time for which to show how the meter was. The other parameters are columns of the key.
/// The name is one that no column is likely to have.
const AT: &str = "~at";

/// `GET /meters?column=value`: renders the page of a meter. The query has the columns of the meter's key and their
/// values, and may have a time in the past as `~at`. Answers 404 if neither the local table nor the log has the meter,
/// or if the time cannot be used.
pub(super) async fn show(
    MirrorInUrl { mirror, base }: MirrorInUrl,
    viewer: ViewerRights,
    Query(mut pairs): Query<BTreeMap<String, String>>,
) -> Result<Markup, ErrorPage> {
    let at = pairs.remove(AT).filter(|text| !text.is_empty());
    let at = at.map(|text| past_time::parse("The time", &text, mirror.now()));
    let at = at
        .transpose()
        .map_err(|refused| ErrorPage::not_found(&refused.0).of_mirror(&base))?;
    let missing = || {
        ErrorPage::not_found("There is no such meter, neither in the table nor in the log.")
            .of_mirror(&base)
    };
    let key = MeterKeyText::named(pairs).ok_or_else(missing)?;
    let report = mirror.meter(&key, at).await?.ok_or_else(missing)?;
    let status = mirror.status(&StatusQuery::default()).await?;
    let name = report
        .meter
        .as_ref()
        .and_then(|meter| meter.get("name"))
        .and_then(Value::as_str);
    let title = name.map_or_else(|| "Meter".to_owned(), super::format_values::name);
    let place = banner::place(&status, &mirror.site());
    let layout = PageLayout::of_list(&base, &title, place, viewer);
    let main = html! {
        p { a href=(base.page("/")) { "Back to the status" } }
        h1 { (run_changes::named(&report.key, name)) }
        (row(&report))
        (past(&report, &base))
        (history(&report, &base))
    };
    Ok(layout.around(&main))
}

fn row(report: &MeterReport) -> Markup {
    html! {
        section #meter data-live {
            h2 { "In the local table" }
            p { (prose(&report.summary)) }
            @match &report.meter {
                Some(meter) => (fields(meter)),
                None => {},
            }
        }
    }
}

/// Renders the form that asks how the meter was at a time, and the answer.
fn past(report: &MeterReport, base: &MirrorBasePath) -> Markup {
    let asked = report
        .past
        .as_ref()
        .map(|past| past.at.format("%Y-%m-%dT%H:%M").to_string());
    html! {
        section #past {
            h2 { "At a time in the past" }
            form.row method="get" action=(base.page("/meters")) {
                @for (column, held) in &report.key {
                    input type="hidden" name=(column) value=(run_changes::text(held));
                }
                label { "Time (UTC) " input type="datetime-local" name=(AT) value=[asked] required; }
                button { "Show" }
            }
            @if let Some(past) = &report.past {
                p { (prose(&past.summary)) }
                @if let Some(meter) = &past.meter { (fields(&other_than_now(meter, report.meter.as_ref()))) }
            }
        }
    }
}

/// Returns the columns of a past row whose values are others now; all columns if there is no row now.
fn other_than_now(past: &MeterFields, now: Option<&MeterFields>) -> MeterFields {
    let is_same = |column: &str, held: &Value| now.is_some_and(|now| now.get(column) == Some(held));
    let others = past.iter().filter(|(column, held)| !is_same(column, held));
    others
        .map(|(column, held)| (column.clone(), held.clone()))
        .collect()
}

fn fields(row: &MeterFields) -> Markup {
    html! {
        dl.facts {
            @for (column, held) in row { div { dt { bdi { (shortened(column)) } } dd { (value(held)) } } }
        }
    }
}

fn history(report: &MeterReport, base: &MirrorBasePath) -> Markup {
    html! {
        section #history data-live {
            h2 { "What syncs changed, the latest first" }
            @if report.changes.is_empty() { p.soft { "No sync in the log has changed this meter." } }
            ul.changes { @for change in &report.changes {
                li {
                    p { span.tag .(change.action.as_str()) { (action_and_phase_words::action(change.action, false)) }
                        " " a href=(base.run(change.run_id)) { (time(change.at)) }
                        " by " (action_and_phase_words::trigger(change.trigger))
                        @if let Some(actor) = &change.actor { ", " bdi { (shortened(actor)) } } }
                    (run_changes::fields(&Change {
                        action: change.action,
                        key: report.key.clone(),
                        name: None,
                        before: change.before.clone(),
                        after: change.after.clone(),
                        gone_to: change.gone_to.clone(),
                    }))
                }
            } }
        }
    }
}
