//! Parts of the status page: the list of facts (last success, last and next run, number of meters), the buttons, and
//! the run in progress.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::format_values::{number, span, stamp, time_ago, time_until};
use super::mirror_page_paths::MirrorBasePath;
use super::viewer_rights::ViewerRights;
use super::{action_and_phase_words, handle_pause_form};
use crate::badges;
use crate::config::Schedule;
use crate::model::{ActivityState, Health, Phase};
use crate::reports::connections::ConnectionState;
use crate::reports::status::{RunningStatus, Status};

/// Renders the list of facts: last success, last run, next run and number of meters.
pub(super) fn show(
    status: &Status,
    schedule: Option<&Schedule>,
    base: &MirrorBasePath,
    now: DateTime<Utc>,
) -> Markup {
    let ended = status.last_run.as_ref();
    // Without an answer from the local database, "never" and "none yet" could be wrong.
    let local = &status.connections.local;
    let is_unknown = local.error.is_some() || local.state == ConnectionState::NotConfigured;
    html! {
        dl #facts data-live .facts {
            div { dt { "Last success" } dd {
                @match status.last_success_at {
                    Some(at) => (time_ago(at, now)),
                    None if is_unknown => "not known",
                    None => "never",
                }
                @if let Some(at) = status.checked_at {
                    " " span.soft { "(a sweep found nothing changed " (time_ago(at, now)) ")" }
                }
            } }
            @if let Some(proof) = &status.verified {
                div { dt { "Verified" } dd #verified {
                    (time_ago(proof.at, now)) " by " (proof.by.in_words())
                    @if let Some(digest) = &proof.digest {
                        " " span.soft { "(digest " (digest) ")" }
                    } @else if let Some(at) = status.verified_at {
                        " " span.soft { "(all rows compared " (time_ago(at, now)) ")" }
                    }
                } }
            }
            div { dt { "Last run" } dd {
                @match ended {
                    Some(run) => {
                        a href=(base.run(run.run_id)) { (badges::outcome(run.outcome).word) }
                        ", " (time_ago(run.finished_at.unwrap_or(run.started_at), now))
                    }
                    None if is_unknown => "not known",
                    None => "none yet",
                }
            } }
            div { dt { "Next run" } dd {
                @match status.next_run_at {
                    Some(at) => (time_until(at, now)),
                    None if status.health == Health::NotConfigured => "none before it is configured",
                    None => "none scheduled",
                }
                @if is_dry_run(status) { " " span.soft { "(a dry run)" } }
                " " span.soft { @match status.activity {
                    ActivityState::Waiting => "(the retry)",
                    ActivityState::Idle | ActivityState::Running if status.health == Health::NotConfigured => "",
                    ActivityState::Idle | ActivityState::Running => (in_words(schedule)),
                } }
            } }
            div { dt { "Meters" } dd #meters {
                @match status.meters {
                    Some(meters) => {
                        strong { (number(meters.active)) } " active, " (number(meters.inactive)) " inactive"
                        @if let Some(at) = meters.counted_at { span.soft { ", counted " (time_ago(at, now)) } }
                    }
                    None => "not known",
                }
            } }
        }
    }
}

/// Whether the next run is a dry run, because the syncs are still paused then.
fn is_dry_run(status: &Status) -> bool {
    let next_run = status.next_run_at.zip(status.paused.as_ref());
    next_run.is_some_and(|(at, pause)| pause.holds_at(at))
}

fn in_words(schedule: Option<&Schedule>) -> String {
    schedule.map_or_else(
        || "(the schedule is off)".to_owned(),
        |schedule| {
            let (words, zone) = (schedule.describe(), schedule.zone().name());
            match words.contains(zone) {
                true => format!("({words})"),
                false => format!("({words}, {zone})"),
            }
        },
    )
}

/// Renders the buttons that start a sync or a preview (a dry run), or a note for a viewer who may not start them.
pub(super) fn actions(status: &Status, base: &MirrorBasePath, viewer: ViewerRights) -> Markup {
    let is_running = status.running.is_some();
    let is_off = is_running || status.tenant.is_none();
    html! {
        div #actions data-live {
            @if viewer.may_trigger {
                div.row {
                    @if status.paused.is_some() { (handle_pause_form::resume_form(base)) }
                    form.row method="post" action=(base.page("/sync")) {
                        @if status.paused.is_none() { button #sync .main name="do" value="sync" disabled[is_off] {
                            @if is_running { "Syncing…" } @else { "Sync now" }
                        } }
                        button #preview name="do" value="preview" disabled[is_off] { "Preview changes" }
                        button #verify name="do" value="verify" disabled[is_off] title="Compares all meters of both sides and changes none" { "Verify" }
                    }
                }
            } @else {
                p.soft { "Read-only: you can look but not start a sync." }
            }
        }
    }
}

const PHASES: [Phase; 4] = [Phase::Prepare, Phase::Read, Phase::Plan, Phase::Apply];

/// Renders the run in progress, of this process or of another one; empty if there is none. The phase is shown only for
/// a run of this process, because no other process knows it.
pub(super) fn running(running: Option<&RunningStatus>, now: DateTime<Utc>) -> Markup {
    html! {
        div #running data-live {
            @if let Some(run) = running {
                section.box aria-label="Sync in progress" data-run=(run.run_id) {
                    p { span.dot aria-hidden="true" {} " A sync is running "
                        span.soft { "for " span data-elapsed=(stamp(now - chrono::TimeDelta::milliseconds(run.elapsed_ms))) {
                            (span(chrono::TimeDelta::milliseconds(run.elapsed_ms))) } } }
                    @match run.phase {
                        Some(phase) => ol.phases {
                            @for one in PHASES {
                                li aria-current=[(one == phase).then_some("step")] data-phase=(one.as_str()) {
                                    (action_and_phase_words::phase(one))
                                }
                            }
                        },
                        None => p.soft { "Another process runs it, so its phase is not known here." },
                    }
                    p #rows { @if let Some(rows) = run.rows { (number(rows)) " rows read so far" } }
                }
            }
        }
    }
}
