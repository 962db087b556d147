//! The page of one meter: its local row, and what each run changed in it.

use std::collections::BTreeMap;

use axum::extract::Query;
use maud::{Markup, html};

use super::action_and_phase_words;
use super::format_values::{prose, shortened, time, value};
use super::mirror_in_url::MirrorInUrl;
use super::mirror_page_paths::MirrorBasePath;
use super::page_layout::{ErrorPage, PageLayout};
use super::viewer_rights::ViewerRights;
use super::{banner, run_changes};
use crate::badges::icons::Icon;
use crate::history::parse_meter_key::MeterKeyText;
use crate::model::Change;
use crate::reports::meter_report::MeterReport;
use crate::reports::status::StatusQuery;

/// `GET /meters?column=value`: renders the page of a meter. The query has the columns of the meter's key and their
/// values. Answers 404 if neither the local table nor the log has the meter.
pub(super) async fn show(
    MirrorInUrl { mirror, base }: MirrorInUrl,
    viewer: ViewerRights,
    Query(pairs): Query<BTreeMap<String, String>>,
) -> Result<Markup, ErrorPage> {
    let missing = || {
        ErrorPage::not_found("There is no such meter, neither in the table nor in the log.")
            .of_mirror(&base)
    };
    let key = MeterKeyText::named(pairs).ok_or_else(missing)?;
    let report = mirror.meter(&key).await?.ok_or_else(missing)?;
    let status = mirror.status(&StatusQuery::default()).await?;
    let name = report
        .meter
        .as_ref()
        .and_then(|meter| meter.get("name"))
        .and_then(serde_json::Value::as_str);
    let layout = PageLayout {
        base: base.clone(),
        title: name.map_or_else(|| "Meter".to_owned(), super::format_values::name),
        icon: Icon::List,
        tone: "calm",
        place: Some(banner::place(&status, &mirror.site())),
        viewer: Some(viewer),
        refresh_seconds: None,
    };
    let main = html! {
        p { a href=(base.page("/")) { "Back to the status" } }
        h1 { (run_changes::named(&report.key, name)) }
        (row(&report))
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
                Some(meter) => dl.facts {
                    @for (column, held) in meter { div { dt { bdi { (shortened(column)) } } dd { (value(held)) } } }
                },
                None => {},
            }
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
                        " " a href=(base.run(change.run_id)) { (time(change.at)) } }
                    (run_changes::fields(&Change {
                        action: change.action,
                        key: report.key.clone(),
                        name: None,
                        before: change.before.clone(),
                        after: change.after.clone(),
                    }))
                }
            } }
        }
    }
}
