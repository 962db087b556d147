//! The status page of one tenant's sync: everything that an operator needs to know, on one screen.

use std::time::Duration;

use axum::extract::{Query, State};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::PageState;
use super::connections::ConnectionsOverview;
use super::format_values::{counted, duration, prose, time_ago};
use super::mirror_in_url::MirrorInUrl;
use super::mirror_page_paths::MirrorBasePath;
use super::page_layout::{ErrorPage, PageLayout};
use super::runs::{self, RunsPageQuery};
use super::viewer_rights::ViewerRights;
use super::{
    action_and_phase_words, banner, handle_pause_form, run_changes, status_facts, timeline,
};
use crate::badges;
use crate::machine_clock;
use crate::mirrors::{ClaimedSlotList, Mirror};
use crate::model::{
    ActivityState, Change, Counts, RunFilter, RunOutcome, RunRecord, RunsQuery, saturating_i64,
};
use crate::reports::connections::ConnectionState;
use crate::reports::run_and_change_pages::RunsPage;
use crate::reports::run_detail::RunDetail;
use crate::reports::status::{Status, StatusQuery};

/// How many runs the timeline shows, one bar for each.
const STRIP: u32 = 48;
/// How many runs the table shows. A link leads to older runs.
const TABLE: u32 = 12;
/// How many changes of the last run are shown. A link leads to all of them.
const CHANGES: u32 = 12;
/// After how many seconds a browser without scripts reloads the page while no run is in progress.
const REFRESH: u32 = 30;
/// After how many seconds a browser without scripts reloads the page while a run is in progress.
const REFRESH_RUNNING: u32 = 5;

/// How long the page waits for the local database before it shows the database as down.
const PATIENCE: Duration = Duration::from_secs(5);

/// The data that the status page shows.
struct StatusPageData {
    status: Status,
    table: RunsPage,
    /// The last run that was refused, with the deactivations that it held back, if any. `None` if a later run has
    /// synced the meters.
    refused: Option<RunDetail>,
    /// The slots (times at which the schedule was due) that processes have claimed, and the process that claimed the
    /// last one.
    claimed: ClaimedSlotList,
    /// The first changes of the last run.
    changes: Vec<Change>,
}

impl StatusPageData {
    /// The run whose held-back deactivations a person is asked to approve; `None` if there are none that can be
    /// approved.
    fn asked_about(&self) -> Option<&RunDetail> {
        self.refused.as_ref().filter(|run| run.awaits_decision)
    }

    /// Whether the last run is the one whose deactivations a person can approve. The page then asks for that decision
    /// instead of showing the run's error.
    fn asks(&self) -> bool {
        let last = self.status.last_run.as_ref().map(|run| run.run_id);
        self.asked_about()
            .is_some_and(|run| Some(run.run.run_id) == last)
    }
}

/// Returns the last run that was refused. `None` if a later run succeeded, even partially.
fn refused(status: &Status) -> Option<&RunRecord> {
    let is_over = |run: &&RunRecord| {
        run.outcome.is_some_and(RunOutcome::is_success) || run.outcome == Some(RunOutcome::Partial)
    };
    let mut since = status.history.iter().take_while(|run| !is_over(run));
    since.find(|run| run.outcome == Some(RunOutcome::Refused))
}

/// Renders the status page.
pub(super) async fn show(
    State(shared): State<PageState>,
    MirrorInUrl { mirror, base }: MirrorInUrl,
    viewer: ViewerRights,
    Query(asked): Query<RunsPageQuery>,
) -> Result<Markup, ErrorPage> {
    let found = look(&mirror, &asked).await?;
    let StatusPageData { status, .. } = &found;
    let now = machine_clock::now();
    let badge = banner::badge(status);
    let refresh = match status.running {
        Some(_) => REFRESH_RUNNING,
        None => REFRESH,
    };
    let organisation = status
        .tenant
        .as_ref()
        .and_then(|tenant| tenant.name.as_deref());
    let word = match status.running {
        Some(_) => format!("{}, syncing", badge.word),
        None => badge.word.to_owned(),
    };
    let layout = PageLayout {
        base: base.clone(),
        title: match organisation {
            Some(name) => format!("{word} – {}", super::format_values::name(name)),
            None => word,
        },
        icon: badge.icon,
        tone: badge.tone,
        place: Some(banner::place(status, &mirror.site())),
        viewer: Some(viewer),
        // Do not reload the page while a person decides whether to approve a plan.
        refresh_seconds: found.asked_about().is_none().then_some(refresh),
    };
    let connections = ConnectionsOverview {
        config: mirror.config(),
        base: &base,
        checked: shared.checks.last(&mirror),
        status,
        holder: found.claimed.holder.as_deref(),
    };
    let main = html! {
        (banner::show(status, found.asks(), viewer))
        (banner::help(status, viewer))
        (status_facts::running(status.running.as_ref(), now))
        (status_facts::actions(status, &base, viewer))
        (handle_pause_form::form(status, &base, viewer))
        (status_facts::show(status, mirror.config().schedule.as_ref(), &base, now))
        (warnings(status))
        (last_run(&found, &base, viewer, now))
        @if let Some(why) = no_runs_known(status) {
            div #run_quick data-live { p.soft { (why) } }
            div #runs data-live {}
        } @else {
            (timeline::show(&status.history, &found.claimed.slots, mirror.config(), &base, now))
            (runs::table(&found.table, &asked, &base, "/", now))
        }
        (connections.show(now))
    };
    Ok(layout.around(&main))
}

/// Returns a sentence that says why past runs are unknown; `None` if they are known.
fn no_runs_known(status: &Status) -> Option<&'static str> {
    let local = &status.connections.local;
    if local.error.is_some() {
        return Some("Past runs are not known while this site's database does not answer.");
    }
    (local.state == ConnectionState::NotConfigured)
        .then_some("Past runs are not known before this site's database is configured.")
}

/// Reads the data of the page. If the local database does not answer or has no runs, returns only the status, and does
/// not read the log.
async fn look(mirror: &Mirror, asked: &RunsPageQuery) -> Result<StatusPageData, ErrorPage> {
    let query = StatusQuery {
        history: STRIP,
        include_changes: true,
        changes_limit: CHANGES,
        ..StatusQuery::default()
    };
    let mut status = mirror.status_within(&query, PATIENCE).await?;
    let changes = status.changes.take().unwrap_or_default();
    let oldest = status.history.iter().map(|run| run.started_at).min();
    let (None, Some(oldest)) = (&status.connections.local.error, oldest) else {
        return Ok(StatusPageData {
            status,
            table: RunsPage::default(),
            refused: None,
            claimed: ClaimedSlotList::default(),
            changes: Vec::new(),
        });
    };
    let refused = match refused(&status) {
        Some(run) => mirror.run(run.run_id).await?,
        None => None,
    };
    Ok(StatusPageData {
        table: table(mirror, &status, asked.show.unwrap_or_default()).await?,
        refused,
        // The page works without the claimed slots, so an error is ignored.
        claimed: mirror.claimed_slots(oldest).await.unwrap_or_default(),
        changes: mirror.with_names(changes).await,
        status,
    })
}

/// Reads the runs for the table. Without a filter, takes them from `status`, which already has the last runs, without
/// another query.
async fn table(mirror: &Mirror, status: &Status, show: RunFilter) -> Result<RunsPage, ErrorPage> {
    let limit = TABLE as usize;
    if show == RunFilter::All {
        let mut runs = status.history.clone();
        let has_more = runs.len() > limit;
        runs.truncate(limit);
        let last = runs.last().map(|run| run.run_id);
        return Ok(RunsPage {
            next_before: last.filter(|_| has_more),
            runs,
        });
    }
    let query = RunsQuery {
        limit: TABLE,
        before: None,
        show,
    };
    Ok(mirror.list(&query).await?.unwrap_or_default())
}

/// Renders the warnings. If no run is in progress or waits for a retry, the banner already shows one of them, which is
/// left out here.
fn warnings(status: &Status) -> Markup {
    let is_other =
        |warning: &&String| status.activity != ActivityState::Idle || **warning != status.next_step;
    let others: Vec<&String> = status.warnings.iter().filter(is_other).collect();
    html! {
        div #warnings data-live {
            @if !others.is_empty() {
                section.box.warn aria-label="Warnings" {
                    h2 { "Warnings" }
                    ul { @for warning in others { li { (prose(warning)) } } }
                }
            }
        }
    }
}

fn last_run(
    found: &StatusPageData,
    base: &MirrorBasePath,
    viewer: ViewerRights,
    now: DateTime<Utc>,
) -> Markup {
    html! {
        div #last data-live {
            @if let Some(run) = &found.status.last_run {
                section aria-labelledby="last-head" {
                    h2 #last-head { "Last run" }
                    (ended(run, now))
                    @if let Some(error) = run.error.as_ref().filter(|_| !found.asks()) {
                        div.box .(badges::outcome(run.outcome).tone) {
                            p { strong { (prose(&error.message)) } }
                            @if !found.status.next_step.contains(&error.remedy) { p { (prose(&error.remedy)) } }
                            p.soft { code { (error.code.as_str()) } }
                        }
                    }
                    @if let Some(detail) = found.asked_about() { (super::run::decision(detail, base, viewer)) }
                    @if run.counts != Counts::default() { (run_changes::counts(&run.counts, false)) }
                    (first_changes(found, run, base))
                    p { a href=(base.run(run.run_id)) { "All about this run" } }
                }
            }
        }
    }
}

fn ended(run: &RunRecord, now: DateTime<Utc>) -> Markup {
    let badge = badges::outcome(run.outcome);
    html! {
        p { span.badge .(badge.tone) { (badge.icon.markup()) " " (badge.word) }
            " " (time_ago(run.finished_at.unwrap_or(run.started_at), now))
            @if let Some(finished) = run.finished_at {
                ", took " (duration((finished - run.started_at).num_milliseconds()))
            }
            ", asked for by " (action_and_phase_words::trigger(run.trigger)) }
    }
}

fn first_changes(found: &StatusPageData, run: &RunRecord, base: &MirrorBasePath) -> Markup {
    let listed = &found.changes;
    let rejected = found.status.rejected.as_deref().unwrap_or_default();
    let rest = run.counts.changes() - saturating_i64(listed.len());
    html! {
        @if !listed.is_empty() {
            h3 { "What changed" }
            (run_changes::list(listed, false, base))
            @if rest > 0 { p.soft { "and " (counted(rest, "more", "more")) } }
        }
        @if !rejected.is_empty() { h3 { "Rejected rows" } (run_changes::rejected(rejected, base)) }
    }
}
