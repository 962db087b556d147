//! The page about the connections to both databases, and the section about them on the status page: their address,
//! encryption and last state, and the findings of their last check.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::Redirect;
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::PageState;
use super::banner;
use super::format_values::{prose, time_ago};
use super::mirror_in_url::MirrorInUrl;
use super::mirror_page_paths::MirrorBasePath;
use super::page_layout::PageLayout;
use super::viewer_rights::ViewerRights;
use crate::badges::Badge;
use crate::badges::icons::Icon;
use crate::check::{self as checks, Finding, Verdict};
use crate::config::{CertificateCheck, Config, DatabaseEndpoint, DatabaseTls, TenantSelection};
use crate::machine_clock;
use crate::mirrors::Mirror;
use crate::model::TenantId;
use crate::reports::connections::{ConnectionReport, ConnectionState};
use crate::reports::status::{Status, StatusQuery};

/// The results of the last connection check of each mirror (the meters of one tenant). All viewers share them.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionCheckCache(Arc<ConnectionCheckCacheInner>);

/// What the clones of a [`ConnectionCheckCache`] share.
#[derive(Debug, Default)]
struct ConnectionCheckCacheInner {
    /// The result of the last check by tenant. The key is `None` for a mirror whose settings name no tenant.
    last: Mutex<HashMap<Option<TenantId>, ConnectionCheckResult>>,
    /// Held by the request that runs a check, so that only one check runs at a time. Other requests wait; those for the
    /// same mirror then use its result.
    check_lock: tokio::sync::Mutex<()>,
}

/// The findings of a check, and when it ended.
#[derive(Clone, Debug)]
pub(super) struct ConnectionCheckResult {
    at: DateTime<Utc>,
    findings: Vec<Finding>,
}

impl ConnectionCheckCache {
    /// Returns the result of the last check of this mirror's connections; `None` if they were never checked.
    pub(super) fn last(&self, mirror: &Mirror) -> Option<ConnectionCheckResult> {
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&mirror.mapping().tenant).cloned()
    }

    fn set_last(&self, mirror: &Mirror, checked: ConnectionCheckResult) {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(mirror.mapping().tenant.clone(), checked);
    }

    /// Checks the mirror's connections to both databases, unless their last check is more recent than [`AGAIN`].
    async fn check_if_due(&self, mirror: &Mirror) {
        let _lock = self.0.check_lock.lock().await;
        let last = self.last(mirror);
        if last.is_some_and(|checked| machine_clock::now() - checked.at < AGAIN) {
            return;
        }
        // Check this mirror alone, even if the process keeps others.
        let config = Config {
            tenants: TenantSelection::One(mirror.mapping().tenant.clone()),
            mapping: mirror.mapping().clone(),
            ..mirror.config().clone()
        };
        let findings = Box::pin(checks::run_quick(&config)).await;
        let checked = ConnectionCheckResult {
            at: machine_clock::now(),
            findings,
        };
        self.set_last(mirror, checked);
    }
}

/// The path of the page about the connections.
pub(super) const PATH: &str = "/connections";
/// The shortest time between two checks of the same connections, however often a check is requested.
const AGAIN: chrono::TimeDelta = chrono::TimeDelta::seconds(10);

/// `POST /connections`: runs the checks of `meter-sync check`, but tests only the first 100 remote rows and does not
/// look for duplicate keys. Then redirects to the page that shows the result.
pub(super) async fn check(
    State(shared): State<PageState>,
    MirrorInUrl { mirror, base }: MirrorInUrl,
) -> Redirect {
    shared.checks.check_if_due(&mirror).await;
    Redirect::to(&base.page(PATH))
}

/// `GET /connections`: shows the result of the last check. It never starts a check, because a page of another website
/// can make a browser send a GET request.
pub(super) async fn show(
    State(shared): State<PageState>,
    MirrorInUrl { mirror, base }: MirrorInUrl,
    viewer: ViewerRights,
) -> Markup {
    let query = StatusQuery::default();
    let status = mirror.status(&query).await;
    let checked = shared.checks.last(&mirror);
    let layout = PageLayout {
        base: base.clone(),
        title: "Connections".to_owned(),
        icon: Icon::List,
        tone: "calm",
        place: status
            .ok()
            .map(|status| banner::place(&status, &mirror.site())),
        viewer: Some(viewer),
        refresh_seconds: None,
    };
    layout.around(&html! {
        p { a href=(base.page("/")) { "Back to the status" } }
        h1 { "What a sync needs" }
        @match &checked {
            Some(checked) => {
                p.soft { "Looked at " (time_ago(checked.at, machine_clock::now())) "; nothing was written." }
                ul.findings { @for finding in &checked.findings { (line(finding)) } }
            }
            None => p.soft { "Nothing has been looked at since this server started." },
        }
        form method="post" action=(base.page(PATH)) { button { "Check both now" } }
    })
}

fn line(finding: &Finding) -> Markup {
    let badge = match &finding.verdict {
        Verdict::Ok(_) => Badge {
            word: "Fine",
            icon: Icon::Check,
            tone: "good",
        },
        Verdict::Warning(_) => Badge {
            word: "Look at this",
            icon: Icon::Alert,
            tone: "warn",
        },
        Verdict::Failed(_) => Badge {
            word: "Wrong",
            icon: Icon::Cross,
            tone: "bad",
        },
    };
    html! {
        li {
            h2 { span.badge .(badge.tone) { (badge.icon.markup()) " " (badge.word) } " " (finding.subject) }
            @match &finding.verdict {
                Verdict::Ok(text) | Verdict::Warning(text) => p { (prose(text)) },
                Verdict::Failed(failure) => { p { (prose(&failure.message)) } p { strong { "What to do: " } (prose(&failure.remedy)) } }
            }
        }
    }
}

/// The content of the section about both connections on the status page.
pub(super) struct ConnectionsOverview<'a> {
    pub(super) config: &'a Config,
    pub(super) base: &'a MirrorBasePath,
    pub(super) status: &'a Status,
    /// The result of the last check; `None` if there was none yet.
    pub(super) checked: Option<ConnectionCheckResult>,
    /// The host and process that claimed the last slot (a time at which the schedule is due); `None` if it is unknown.
    pub(super) holder: Option<&'a str>,
}

impl ConnectionsOverview<'_> {
    /// Renders the section about both connections on the status page.
    pub(super) fn show(&self, now: DateTime<Utc>) -> Markup {
        let (config, status) = (self.config, self.status);
        let next_step = &status.next_step;
        html! {
            section #connections data-live aria-labelledby="connections-head" {
                h2 #connections-head { "Connections" }
                div.sides {
                    (side("Central database", config.remote.as_ref(), &status.connections.remote, next_step, now))
                    (side("This site's database", config.local.as_ref(), &status.connections.local, next_step, now))
                }
                @match &self.checked {
                    Some(checked) => (measured(checked, now)),
                    None => p.soft { "Latency, TLS and clocks have not been looked at since this server started." },
                }
                p { a href=(self.base.page(PATH)) { "Check both" } span.soft { ": latency, TLS, clocks, privileges, tables" } }
                @if let Some(holder) = self.holder { p.soft { "The schedule's last slot was taken by " bdi { (holder) } "." } }
            }
        }
    }
}

fn side(
    name: &str,
    endpoint: Option<&DatabaseEndpoint>,
    connection: &ConnectionReport,
    next_step: &str,
    now: DateTime<Utc>,
) -> Markup {
    let badge = match connection.state {
        ConnectionState::Ok => Badge {
            word: "Answered",
            icon: Icon::Check,
            tone: "good",
        },
        ConnectionState::Failed => Badge {
            word: "Failed",
            icon: Icon::Cross,
            tone: "bad",
        },
        ConnectionState::Unknown => Badge {
            word: "Not used yet",
            icon: Icon::Dots,
            tone: "calm",
        },
        ConnectionState::NotConfigured => Badge {
            word: "Not configured",
            icon: Icon::Gap,
            tone: "warn",
        },
    };
    html! {
        div.box {
            h3 { (name) }
            p { span.badge .(badge.tone) { (badge.icon.markup()) " " (badge.word) }
                @if let Some(at) = connection.checked_at { " " (time_ago(at, now)) } }
            @if let Some(endpoint) = endpoint {
                p { bdi { (endpoint.address()) } }
                p.soft { (protection(endpoint)) }
            }
            @if let Some(error) = &connection.error {
                p { (prose(&error.message)) }
                @if !next_step.contains(&error.remedy) { p { (prose(&error.remedy)) } }
            }
        }
    }
}

fn protection(endpoint: &DatabaseEndpoint) -> &'static str {
    let checked = match endpoint.tls() {
        DatabaseTls::Rustls(_, check) => Some(*check),
        DatabaseTls::Disable => None,
    };
    match checked {
        Some(CertificateCheck::IssuerAndName) => "TLS; certificate and host name are verified",
        Some(CertificateCheck::Issuer) => "TLS; the certificate is verified, the host name is not",
        Some(CertificateCheck::Nothing) if endpoint.is_on_this_machine() => {
            "on this machine; TLS where the server has it, not verified"
        }
        Some(CertificateCheck::Nothing) => {
            "TLS where the server has it; its certificate is not verified"
        }
        None if endpoint.is_on_this_machine() => "in clear text, on this machine",
        None => "in clear text",
    }
}

/// Renders the findings of the last check about connecting, TLS and clocks.
fn measured(checked: &ConnectionCheckResult, now: DateTime<Utc>) -> Markup {
    let is_measured = |finding: &&Finding| {
        let subject = finding.subject.as_str();
        subject.ends_with("connection") || subject.ends_with("TLS") || subject == "clocks"
    };
    html! {
        p.soft { "Checked " (time_ago(checked.at, now)) ":" }
        ul.findings { @for finding in checked.findings.iter().filter(is_measured) { (line(finding)) } }
    }
}
