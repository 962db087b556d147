//! The banner at the top of a status page: the state of the sync in a word and a sentence, and what to do.

use maud::{Markup, html};

use super::format_values::{name, prose};
use super::viewer_rights::ViewerRights;
use crate::badges::{self, Badge};
use crate::model::{ActivityState, Health};
use crate::reports::status::Status;

/// Returns the badge (a word with an icon and a colour) for the health of the sync. A run in progress does not change
/// it, so the result of the last run stays visible.
pub(super) fn badge(status: &Status) -> Badge {
    badges::health(status.health)
}

/// Renders the names of the tenant's organisation and of the site, for the header of a page.
pub(super) fn place(status: &Status, site: &str) -> Markup {
    html! {
        @match &status.tenant {
            Some(tenant) => {
                strong { bdi { (tenant.name.as_deref().map_or_else(|| "Organisation".to_owned(), name)) } }
                " " span.soft { "(" bdi { (name(&tenant.id)) } ")" }
            }
            None => span.soft { "No organisation yet" },
        }
        span.soft { " at " bdi { (site) } }
    }
}

/// Returns what to do, in the words of the page's buttons; `None` if nothing needs to be done. `asks` is true if the
/// page has a form for the decision whether to deactivate many meters, so that the text can link to it.
fn advice(status: &Status, asks: bool, viewer: ViewerRights) -> Option<Markup> {
    // A warning can be shown as it is. Most other next steps are worded for assistants and programs, so the page has
    // its own words for them.
    if status.warnings.contains(&status.next_step) {
        return Some(prose(&status.next_step));
    }
    let has_error = status
        .last_run
        .as_ref()
        .is_some_and(|run| run.error.is_some());
    match status.health {
        Health::Ok | Health::NeverRun => None,
        Health::NotConfigured => Some(prose(&status.next_step)),
        Health::Failing if asks => Some(
            html! { "Decide " a href="#held-head" { "whether these meters are to be deactivated" } "." },
        ),
        Health::Failing if has_error => Some(prose(&status.next_step)),
        Health::Failing | Health::Late | Health::Stale if !viewer.may_trigger => {
            Some(html! { "Ask somebody who may start a sync." })
        }
        Health::Failing | Health::Late | Health::Stale => Some(html! { "Sync now." }),
        Health::Paused if !viewer.may_trigger => None,
        Health::Paused if status.paused.is_some() => Some(
            html! { "Resume syncs when the reason for the pause is gone. " strong { "Preview changes" } " shows what a sync would do now." },
        ),
        Health::Paused => Some(
            html! { "Sync now when the central database has changed, or set " code { "METER_SYNC_SCHEDULE" } "." },
        ),
    }
}

/// The content of a banner.
pub(super) struct Banner<'a> {
    pub(super) badge: Badge,
    pub(super) summary: &'a str,
    /// A sentence about the run that is in progress or will be retried; `None` if there is none.
    pub(super) busy: Option<&'a str>,
    /// What to do; `None` if nothing needs to be done.
    pub(super) advice: Option<Markup>,
}

impl Banner<'_> {
    /// Renders the banner: icon, word, summary, activity and advice.
    pub(super) fn show(&self) -> Markup {
        html! {
            section #banner data-live .box.banner .(self.badge.tone) {
                (self.badge.icon.markup())
                h1 #word { (self.badge.word) }
                p #summary { (prose(self.summary)) }
                @if let Some(busy) = self.busy { p #busy { (busy) } }
                @if let Some(advice) = &self.advice { p #remedy { strong { "What to do: " } (advice) } }
            }
        }
    }
}

/// Renders the banner for the status of one tenant's sync. `asks` is true if the page has a form for the decision
/// whether to deactivate many meters.
pub(super) fn show(status: &Status, asks: bool, viewer: ViewerRights) -> Markup {
    let (busy, advice) = match status.activity {
        ActivityState::Running => (Some("A sync is running."), None),
        ActivityState::Waiting => (
            Some("A failed scheduled sync waits for its retry."),
            advice(status, asks, viewer),
        ),
        ActivityState::Idle => (None, advice(status, asks, viewer)),
    };
    let banner = Banner {
        badge: badge(status),
        summary: &status.summary,
        busy,
        advice,
    };
    banner.show()
}

/// Renders help for a new site: how to configure the program or, for a viewer who may start a sync, how to run the
/// first one. Empty for a site that has run one, and while the first sync runs.
pub(super) fn help(status: &Status, viewer: ViewerRights) -> Markup {
    html! {
        div #help data-live {
            @match status.health {
                Health::NotConfigured => section.box { (not_configured()) },
                Health::NeverRun if status.running.is_none() && viewer.may_trigger => section.box {
                    h2 { "How to begin" }
                    p { strong { "Preview changes" } " shows what a sync would do and writes nothing. "
                        strong { "Sync now" } " does it: new meters are inserted, changed ones updated, and those gone from the central "
                        "database set inactive; no row is ever deleted." }
                },
                Health::Ok | Health::NeverRun | Health::Late | Health::Failing | Health::Stale | Health::Paused => {}
            }
        }
    }
}

fn not_configured() -> Markup {
    html! {
        h2 { "How to set it up" }
        ol {
            li { "Set " code { "METER_SYNC_REMOTE_URL" } " to the central database, with a role that may only read." }
            li { "Set " code { "METER_SYNC_LOCAL_URL" } " to this site's database." }
            li { "Where the local table " code { "tenant" } " does not hold exactly one row, set "
                code { "METER_SYNC_TENANT_ID" } " or " code { "METER_SYNC_TENANTS" } " to the customer organisation." }
            li { "Run " code { "meter-sync check" } ": it tests every requirement of a sync. Then start again." }
        }
    }
}
