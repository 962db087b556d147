//! The page of one run: its outcome, changes, rejected rows with reasons, phases, error and remedy.

use axum::extract::{Path, Query};
use maud::{Markup, html};
use serde::Deserialize;

use super::format_values::{bytes, counted, duration, number, prose, shortened, time};
use super::mirror_in_url::MirrorInUrl;
use super::mirror_page_paths::{MirrorBasePath, RunPath};
use super::page_layout::{ErrorPage, PageLayout};
use super::viewer_rights::ViewerRights;
use super::{action_and_phase_words, banner, run_changes, run_difference, status_facts};
use crate::badges;
use crate::http::run_page_redirect_reason::RunPageRedirectReason;
use crate::machine_clock;
use crate::model::{Change, HeldDeactivations, RunId, RunOutcome};
use crate::reports::run_and_change_pages::ChangesPage;
use crate::reports::run_detail::RunDetail;
use crate::reports::status::StatusQuery;

/// How many changes one page shows at most.
const CHANGES: u32 = 200;
/// After how many seconds a browser without scripts reloads the page of a run in progress.
const REFRESH_RUNNING: u32 = 5;

/// The query parameters of the run page's URL.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct RunPageQuery {
    /// The number of the change after which the list of changes begins; `None` begins with the first change.
    after: Option<i64>,
    /// The reason to show on the page if the viewer was redirected to it; `None` without a redirect.
    notice: Option<RunPageRedirectReason>,
}

/// `GET /runs/{id}`: renders the page of a run. Answers 404 if the log has no such run.
pub(super) async fn show(
    MirrorInUrl { mirror, base }: MirrorInUrl,
    viewer: ViewerRights,
    Path(RunPath { id }): Path<RunPath>,
    Query(asked): Query<RunPageQuery>,
) -> Result<Markup, ErrorPage> {
    let missing = || ErrorPage::not_found("There is no such run in the log.").of_mirror(&base);
    let id: RunId = id.parse().map_err(|_not_an_id| missing())?;
    let detail = mirror.run(id).await?.ok_or_else(missing)?;
    let ChangesPage {
        changes,
        next_after,
    } = mirror
        .changes(id, CHANGES, asked.after.unwrap_or(0))
        .await?;
    let status = mirror.status(&StatusQuery::default()).await?;
    let running = status.running.as_ref();
    let running = running.filter(|running| running.run_id == id);
    let badge = badges::outcome(detail.run.outcome);
    let layout = PageLayout {
        base: base.clone(),
        title: format!(
            "{} – run of {}",
            badge.word,
            detail.run.started_at.format("%Y-%m-%d %H:%M UTC")
        ),
        icon: badge.icon,
        tone: badge.tone,
        place: Some(banner::place(&status, &mirror.site())),
        viewer: Some(viewer),
        refresh_seconds: running.map(|_| REFRESH_RUNNING),
    };
    let main = html! {
        p { a href=(base.page("/")) { "Back to the status" } }
        @match asked.notice {
            None => {},
            Some(RunPageRedirectReason::AlreadyRunning) => p.box.warn { "Nothing was started: this run was in progress already." },
            Some(RunPageRedirectReason::NothingHeld) => p.box.warn { "Nothing was started: this run held no meters back." },
        }
        (head(&detail))
        (status_facts::running(running, machine_clock::now()))
        div #decision data-live { (decision(&detail, &base, viewer)) (carry_out(&detail, &base, viewer)) }
        (facts_of(&detail, &base))
        (body(&detail, &changes, ChangesPagePlace { is_later: asked.after.is_some(), next_after }, &base))
        (run_difference::form(&mirror, &detail.run, &base).await)
    };
    Ok(layout.around(&main))
}

fn head(detail: &RunDetail) -> Markup {
    let run = &detail.run;
    let badge = badges::outcome(run.outcome);
    html! {
        section #run-head data-live {
            h1 .badge .(badge.tone) { (badge.icon.markup()) " " (badge.word) }
            p { (prose(&detail.summary)) }
            @if let Some(error) = run.error.as_ref().filter(|_| detail.held_back.is_none()) {
                div.box .(badge.tone) {
                    p { strong { "What to do: " } (prose(&error.remedy)) }
                    p.soft { code { (error.code.as_str()) } }
                }
            }
            @if let Some(warning) = &run.warning { p.box.warn { (prose(warning)) } }
        }
    }
}

fn facts_of(detail: &RunDetail, base: &MirrorBasePath) -> Markup {
    let run = &detail.run;
    let as_json = base.api(&format!("/runs/{}", run.run_id));
    let took = run
        .finished_at
        .map(|finished| (finished - run.started_at).num_milliseconds());
    html! {
        section #run-facts data-live aria-label="Facts" {
            dl.facts {
            div { dt { "Started" } dd { (time(run.started_at)) } }
            div { dt { "Ended" } dd { @match run.finished_at { Some(at) => (time(at)), None => "not yet" } } }
            @if let Some(took) = took { div { dt { "Took" } dd { (duration(took)) } } }
            div { dt { "Asked for by" } dd { (action_and_phase_words::trigger(run.trigger))
                @if let Some(actor) = &run.actor { ", " bdi { (shortened(actor)) } } } }
            @if let Some(reason) = &run.reason { div { dt { "Reason" } dd { bdi { (shortened(reason)) } } } }
            // The log has this number only once a run has ended. For a run in progress or interrupted, 0 means unknown.
            @if run.remote_bytes > 0 { div { dt { "Read from the central database" } dd { (bytes(run.remote_bytes)) } } }
            div { dt { "Run" } dd { code { (run.run_id) } } }
            }
            (phases(detail))
            p.row {
                a href=(as_json) { "As JSON" }
                button.plain type="button" hidden data-copy=(as_json) { "Copy as JSON" }
            }
        }
    }
}

fn phases(detail: &RunDetail) -> Markup {
    html! {
        @if !detail.phases.is_empty() {
            h2 { "Phases" }
            dl.facts {
                @for one in &detail.phases {
                    div { dt { (action_and_phase_words::phase(one.phase)) } dd { (duration(one.duration_ms)) } }
                }
            }
        }
    }
}

/// Renders the button that starts a sync after a preview (a dry run). Empty if the run is not a preview, if it has an
/// error or no changes, or if the viewer may not start a sync.
fn carry_out(detail: &RunDetail, base: &MirrorBasePath, viewer: ViewerRights) -> Markup {
    let run = &detail.run;
    let is_plan = run.outcome == Some(RunOutcome::DryRun) && run.error.is_none();
    html! {
        @if is_plan && viewer.may_trigger && run.counts.changes() > 0 {
            form.row method="post" action=(base.page("/sync")) {
                button.main name="do" value="sync" { "Sync now" }
                span.soft { "makes these changes, and whatever else has changed by then." }
            }
        }
    }
}

/// Renders the section about deactivations that the run did not make because they were too many, with the form to
/// approve them if that is still possible. Empty if the run held no deactivations back.
pub(super) fn decision(detail: &RunDetail, base: &MirrorBasePath, viewer: ViewerRights) -> Markup {
    let Some(held) = &detail.held_back else {
        return html! {};
    };
    html! {
        @if detail.awaits_decision {
            section.box.warn aria-labelledby="held-head" {
                h2 #held-head { "This needs a person" }
                (run_changes::question(held, base))
                @if viewer.may_trigger { (approval_form(detail.run.run_id, held, base)) }
                @else { p.soft { "Somebody who may start a sync has to decide." } }
            }
        } @else {
            section.box aria-labelledby="held-head" {
                h2 #held-head { "This was held back" }
                (run_changes::question(held, base))
                p.soft { "A sync has succeeded since, or later runs held other meters back and the list of these is no longer kept. There is nothing left to decide here: look at the latest run." }
            }
        }
    }
}

/// Renders the form with which a person approves the deactivations that this run held back.
fn approval_form(run: RunId, held: &HeldDeactivations, base: &MirrorBasePath) -> Markup {
    html! {
        form method="post" action=(base.page("/sync")) {
            input type="hidden" name="allow" value=(run);
            p.box data-changed hidden { "This has changed since it was shown. " a href="" { "Look again" } }
            p { label { input type="checkbox" name="sure" value="yes" required; " I know these meters, and they are to be deactivated." } }
            p.row {
                // The Enter key presses the first button, so the first button must be the harmless one.
                button name="do" value="preview" formnovalidate { "Show all " (number(held.deactivated)) " (a preview)" }
                button.danger name="do" value="sync" { "Deactivate " (counted(held.deactivated, "meter", "meters")) }
            }
            p.soft { "No other meter is deactivated: if one more is due by now, nothing is written and you are asked again. "
                "All other changes are synced as they then are." }
        }
    }
}

/// The position of a page in the list of a run's changes: whether earlier changes exist, and the number of the change
/// after which the next page begins (`None` on the last page).
#[derive(Clone, Copy, Debug)]
struct ChangesPagePlace {
    is_later: bool,
    next_after: Option<i64>,
}

fn body(
    detail: &RunDetail,
    changes: &[Change],
    place: ChangesPagePlace,
    base: &MirrorBasePath,
) -> Markup {
    let run = &detail.run;
    let is_plan = run.dry_run;
    html! {
        section #run-body data-live {
            h2 { @if is_plan { "What a sync would do" } @else { "What changed" } }
            @match run.outcome {
                None => p.soft { "This is known when the run has ended." },
                Some(RunOutcome::Failed | RunOutcome::Refused | RunOutcome::Interrupted) => p { "Nothing was written." },
                Some(RunOutcome::Succeeded | RunOutcome::NoChange | RunOutcome::Partial | RunOutcome::DryRun | RunOutcome::Unknown) =>
                    (run_changes::counts(&run.counts, is_plan)),
            }
            @if run.changes_truncated { p.soft { "The log does not keep all changes of this run (METER_SYNC_CHANGE_LIMIT, METER_SYNC_KEEP_RUNS)." } }
            @if place.is_later { p { a href=(base.run(run.run_id)) { "From the first change on" } } }
            (run_changes::list(changes, is_plan, base))
            @if let Some(after) = place.next_after {
                p { a href=(format!("{}?after={after}", base.run(run.run_id))) { "More changes" } }
            }
            @if !detail.rejected.is_empty() {
                h2 { "Rejected rows" }
                p { "The changes of these rows could not be written; all others were. Mend the rows on the remote, or what refuses them here, and the next sync writes them." }
                (run_changes::rejected(&detail.rejected, base))
            }
        }
    }
}
