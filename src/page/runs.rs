//! The page with the table of runs. It has filters, and links to older runs.

use axum::extract::Query;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use super::format_values::{duration, number, time};
use super::mirror_in_url::MirrorInUrl;
use super::mirror_page_paths::MirrorBasePath;
use super::page_layout::{ErrorPage, PageLayout};
use super::viewer_rights::ViewerRights;
use super::{action_and_phase_words, banner, changes};
use crate::badges;
use crate::machine_clock;
use crate::model::{RunFilter, RunId, RunRecord, RunsQuery};
use crate::reports::run_and_change_pages::RunsPage;
use crate::reports::status::StatusQuery;

/// How many runs one page of the table holds.
const PAGE: u32 = 50;

/// The query parameters that select runs, in the URL of a page with the table of runs.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct RunsPageQuery {
    /// Which runs are shown; `None` shows all.
    pub(super) show: Option<RunFilter>,
    /// Show only runs older than this one; `None` starts with the newest run.
    pub(super) before: Option<RunId>,
}

/// `GET /runs`: renders the page with the table of runs. Answers 404 if the query names an unknown run.
pub(super) async fn show(
    MirrorInUrl { mirror, base }: MirrorInUrl,
    viewer: ViewerRights,
    Query(asked): Query<RunsPageQuery>,
) -> Result<Markup, ErrorPage> {
    let query = RunsQuery {
        limit: PAGE,
        before: asked.before,
        show: asked.show.unwrap_or_default(),
    };
    let missing = || ErrorPage::not_found("There is no such run in the log.").of_mirror(&base);
    let page = mirror.list(&query).await?.ok_or_else(missing)?;
    let status = mirror.status(&StatusQuery::default()).await?;
    let place = banner::place(&status, &mirror.site());
    let layout = PageLayout::of_list(&base, "Runs", place, viewer);
    Ok(layout.around(&html! {
        h1 { "Runs" }
        (table(&page, &asked, &base, "/runs", machine_clock::now()))
        p { a href=(base.page("/")) { "Back to the status" } }
    }))
}

fn filter_word(show: RunFilter) -> &'static str {
    match show {
        RunFilter::All => "All",
        RunFilter::Problems => "Problems",
        RunFilter::Changes => "With changes",
    }
}

/// Renders the table of runs with links to filter it. `asked` is the current filter; the links lead to the page at
/// `path`.
pub(super) fn table(
    page: &RunsPage,
    asked: &RunsPageQuery,
    base: &MirrorBasePath,
    path: &str,
    now: DateTime<Utc>,
) -> Markup {
    let current = asked.show.unwrap_or_default();
    html! {
        section #runs data-live aria-labelledby="runs-head" {
            h2 #runs-head { @if path == "/" { "Runs" } @else { (filter_word(current)) ", newest first" } }
            nav.row aria-label="Which runs" {
                @for show in RunFilter::ALL {
                    a.filter href=(base.page(&format!("{path}?show={}#runs", show.as_str())))
                        aria-current=[(show == current).then_some("true")] { (filter_word(show)) }
                }
            }
            @if page.runs.is_empty() {
                p.soft { @match current { RunFilter::All => "There are no runs yet.", RunFilter::Problems | RunFilter::Changes => "There are no such runs." } }
            } @else {
                (rows(page, base, now))
            }
            p { a href=(base.page(changes::PATH)) { "What all runs have changed" } }
            @if let Some(before) = page.next_before {
                p { a href=(base.page(&format!("/runs?show={}&before={before}", current.as_str()))) { "Older runs" } }
            }
        }
    }
}

fn rows(page: &RunsPage, base: &MirrorBasePath, now: DateTime<Utc>) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Table of runs" {
            table {
                thead { tr {
                    th scope="col" { "Started" } th scope="col" { "Outcome" } th scope="col" { "Took" } th scope="col" { "By" }
                    th.n scope="col" { abbr title="Inserted" { "Ins." } } th.n scope="col" { abbr title="Updated" { "Upd." } }
                    th.n scope="col" { abbr title="Deactivated" { "Deact." } }
                    th.n scope="col" { abbr title="Reactivated" { "React." } }
                    th.n scope="col" { abbr title="Rejected" { "Rej." } }
                } }
                tbody { @for run in &page.runs { (row(run, base, now)) } }
            }
        }
    }
}

fn row(run: &RunRecord, base: &MirrorBasePath, now: DateTime<Utc>) -> Markup {
    let badge = badges::outcome(run.outcome);
    let counts = &run.counts;
    let took = run.finished_at.unwrap_or(now) - run.started_at;
    html! {
        tr {
            th scope="row" { a href=(base.run(run.run_id)) { (time(run.started_at)) } }
            td { span.badge .(badge.tone) { (badge.icon.markup()) " " (badge.word) } }
            td { (duration(took.num_milliseconds())) }
            td { (action_and_phase_words::trigger(run.trigger)) }
            @for count in [counts.inserted, counts.updated, counts.deactivated, counts.reactivated, counts.rejected] {
                td.n .soft[count == 0] { (number(count)) }
            }
        }
    }
}
