//! The page with how the meters differ between the ends of two runs, and the form that leads to it.

use axum::extract::{Path, Query};
use maud::{Markup, html};
use serde::Deserialize;

use super::format_values::{number, prose, time};
use super::mirror_in_url::MirrorInUrl;
use super::mirror_page_paths::{MirrorBasePath, RunPath};
use super::page_layout::{ErrorPage, PageLayout};
use super::viewer_rights::ViewerRights;
use super::{banner, run_changes};
use crate::error::ErrorCode;
use crate::mirrors::Mirror;
use crate::model::{RunFilter, RunId, RunRecord, RunsQuery, saturating_i64};
use crate::reports::run_difference::RunDifference;
use crate::reports::status::StatusQuery;

/// How many meters the page shows at most.
const METERS: u32 = 200;
/// How many other runs the form offers.
const OFFERED: u32 = 50;

/// The query parameters of the page.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RunDifferenceQuery {
    /// The id of the other run.
    compare_with: String,
}

/// `GET /runs/{id}/difference?compare_with=RUN_ID`: renders the page. Answers 404 if the log does not have one of the
/// runs, or if it has not ended.
pub(super) async fn show(
    MirrorInUrl { mirror, base }: MirrorInUrl,
    viewer: ViewerRights,
    Path(RunPath { id }): Path<RunPath>,
    Query(asked): Query<RunDifferenceQuery>,
) -> Result<Markup, ErrorPage> {
    let missing = |why: &str| ErrorPage::not_found(why).of_mirror(&base);
    let run = |text: &str| -> Result<RunId, ErrorPage> {
        text.parse()
            .map_err(|_not_an_id| missing("There is no such run in the log."))
    };
    let (one, other) = (run(&id)?, run(&asked.compare_with)?);
    let difference = match mirror.compare_runs(one, other, METERS).await {
        Err(failure) if failure.code == ErrorCode::ConfigInvalid => {
            return Err(missing(&failure.message));
        }
        compared => compared?,
    };
    let status = mirror.status(&StatusQuery::default()).await?;
    let place = banner::place(&status, &mirror.site());
    let layout = PageLayout::of_list(&base, "Between two runs", place, viewer);
    Ok(layout.around(&main(&difference, &base)))
}

fn main(difference: &RunDifference, base: &MirrorBasePath) -> Markup {
    let shown = saturating_i64(difference.changes.len());
    let more = difference.meters.map(|meters| meters - shown);
    html! {
        p { a href=(base.page("/")) { "Back to the status" } }
        h1 { "Between two runs" }
        dl.facts {
            div { dt { "From the end of" } dd { a href=(base.run(difference.from_run)) { (time(difference.from)) } } }
            div { dt { "To the end of" } dd { a href=(base.run(difference.to_run)) { (time(difference.to)) } } }
        }
        section #difference {
            p { (prose(&difference.summary)) }
            (run_changes::list(&difference.changes, false, base))
            @if let Some(more @ 1..) = more { p.soft { "and " (number(more)) " more meters" } }
        }
    }
}

/// Renders the form that leads from a run to its difference from another run. Empty for a run that has not ended, or if
/// no other run has changed meters.
pub(super) async fn form(mirror: &Mirror, run: &RunRecord, base: &MirrorBasePath) -> Markup {
    let query = RunsQuery {
        limit: OFFERED,
        before: None,
        show: RunFilter::Changes,
    };
    // Without the list, the page of the run only lacks the form.
    let page = mirror.list(&query).await.ok().flatten().unwrap_or_default();
    let others = page.runs.iter().filter(|other| other.run_id != run.run_id);
    let others: Vec<&RunRecord> = others.collect();
    html! {
        @if run.finished_at.is_some() && !others.is_empty() {
            form.row method="get" action=(format!("{}/difference", base.run(run.run_id))) {
                label { "How the meters differ from the end of the run of "
                    select.runs name="compare_with" {
                        @for other in others {
                            option value=(other.run_id) { (other.started_at.format("%Y-%m-%d %H:%M:%S UTC")) }
                        }
                    } }
                button { "Compare" }
            }
        }
    }
}
