//! The list of tenants, at `/` of a process that syncs several tenants: the state of each tenant, the worst first.
//!
//! For a viewer whose token is valid only for some tenants, the page lists and counts only those.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Redirect;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use super::PageState;
use super::banner::{self, Banner};
use super::format_values::{counted, name, number, prose, shortened, time_ago};
use super::mirror_page_paths::MirrorBasePath;
use super::page_layout::PageLayout;
use super::viewer_rights::ViewerRights;
use crate::arguments::bounds::TENANT_CHARS;
use crate::badges;
use crate::badges::icons::Icon;
use crate::config::Token;
use crate::machine_clock;
use crate::make_printable;
use crate::mirrors::visible_tenants;
use crate::model::{ActivityState, Health, HealthCounts, LastRunSummary, WORST_FIRST};
use crate::reports::status::Status;
use crate::reports::tenant_list::{TenantList, TenantSummary, TenantsQuery};
use crate::url_path;

/// How many tenants a page holds.
const PAGE: u32 = 50;
/// After how many seconds a browser without scripts reloads the page.
const REFRESH: u32 = 30;

/// The query parameters of the URL of the list.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct TenantsPageQuery {
    /// Lists only tenants whose id or name contains this text; `None` or an empty text lists all.
    search: Option<String>,
    health: Option<Health>,
    /// The id of the tenant with which the page begins; `None` begins with the worst tenant.
    before: Option<String>,
}

impl TenantsPageQuery {
    fn search(&self) -> Option<&str> {
        let search = self.search.as_deref().map(str::trim);
        search.filter(|text| !text.is_empty())
    }

    /// Returns the URL of the list with the same search text. `health` filters by health, and the list begins with the
    /// tenant `before`; `None` omits the parameter.
    fn address(&self, health: Option<Health>, before: Option<&str>) -> String {
        let query = url_path::query([
            ("search", self.search()),
            ("health", health.map(Health::as_str)),
            ("before", before),
        ]);
        match query.is_empty() {
            true => "/".to_owned(),
            false => format!("/?{query}"),
        }
    }
}

/// The parameter of the path `/tenants/{tenant_id}`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TenantPath {
    tenant_id: String,
}

/// Redirects from `/tenants/{tenant_id}` to `/tenants/{tenant_id}/`, the status page of the tenant.
pub(super) async fn add_slash(Path(TenantPath { tenant_id }): Path<TenantPath>) -> Redirect {
    let base = MirrorBasePath::of_tenant(url_path::tenant_id(&tenant_id));
    Redirect::to(&base.page("/"))
}

/// `GET /`: renders the list of tenants.
pub(super) async fn show(
    State(shared): State<PageState>,
    viewer: ViewerRights,
    token: Option<Extension<Token>>,
    Query(asked): Query<TenantsPageQuery>,
) -> Markup {
    let query = TenantsQuery {
        limit: PAGE,
        before: asked.before.clone(),
        search: asked.search().map(str::to_owned),
        health: asked.health,
        visible: token.and_then(|Extension(token)| visible_tenants(Some(&token))),
    };
    let status = shared.mirrors.overview(&query).await;
    let badge = badges::health(status.health);
    let tenants = known(&status);
    let total = tenants.map_or_else(
        || "Tenants".to_owned(),
        |tenants| counted(tenants.total, "tenant", "tenants"),
    );
    let layout = PageLayout {
        base: MirrorBasePath::root(),
        title: format!("{} – {total}", badge.word),
        icon: badge.icon,
        tone: badge.tone,
        place: Some(html! {
            strong { (total) } span.soft { " at " bdi { (shared.mirrors.site()) } }
        }),
        viewer: Some(viewer),
        refresh_seconds: Some(REFRESH),
    };
    let main = html! {
        (banner(&status))
        @if status.health == Health::NotConfigured { (banner::help(&status, viewer)) }
        (health_counts(tenants, &asked))
        (search(&asked))
        (list(tenants, status.next_before.as_deref(), &asked, machine_clock::now()))
    };
    layout.around(&main)
}

/// Returns the list of tenants; `None` if it could never be read because the local database does not answer.
fn known(status: &Status) -> Option<&TenantList> {
    let tenants = status.tenants.as_ref();
    tenants.filter(|tenants| tenants.total > 0 || status.connections.local.error.is_none())
}

fn banner(status: &Status) -> Markup {
    let banner = Banner {
        badge: badges::health(status.health),
        summary: &status.summary,
        busy: (status.activity == ActivityState::Running).then_some("Syncs are running."),
        advice: advice(status),
    };
    banner.show()
}

/// Returns what an operator should do, with a link to the tenants concerned; `None` if nothing needs to be done.
fn advice(status: &Status) -> Option<Markup> {
    let by_health = status.tenants.as_ref().map(|tenants| tenants.by_health);
    let local_failed = status.connections.local.error.is_some();
    let worst = by_health.and_then(|by_health| worst(&by_health));
    match (status.health, worst) {
        (Health::NotConfigured, _) | (_, None) => Some(prose(&status.next_step)),
        (_, Some(_)) if local_failed => Some(prose(&status.next_step)),
        (health, Some((Health::Ok | Health::Paused, _))) => {
            (health == Health::Failing).then(|| prose(&status.next_step))
        }
        (_, Some((health, count))) => {
            let address = TenantsPageQuery::default().address(Some(health), None);
            let word = badges::health(health).word;
            Some(html! { "Look at " a href=(address) {
                @if count == 1 { "the tenant" } @else { "the " (number(count)) " tenants" }
                " marked " (word)
            } "." })
        }
    }
}

/// Returns the worst health of any tenant, and how many tenants have it; `None` if there are no tenants.
fn worst(by_health: &HealthCounts) -> Option<(Health, i64)> {
    let counts = WORST_FIRST.map(|health| (health, by_health.of(health)));
    counts.into_iter().find(|(_, count)| *count > 0)
}

/// Renders how many tenants are in sync, failing and so on (their health). Each number links to the list of those
/// tenants.
fn health_counts(tenants: Option<&TenantList>, asked: &TenantsPageQuery) -> Markup {
    html! {
        div #by_health data-live {
            @if let Some(tenants) = tenants { (filters(tenants, asked)) }
        }
    }
}

fn filters(tenants: &TenantList, asked: &TenantsPageQuery) -> Markup {
    let is_shown =
        |health: &Health| tenants.by_health.of(*health) > 0 || asked.health == Some(*health);
    html! {
        nav.row aria-label="Tenants by health" {
            a.filter href=(asked.address(None, None)) aria-current=[asked.health.is_none().then_some("true")] {
                "All " strong { (number(tenants.total)) }
            }
            @for health in WORST_FIRST.into_iter().filter(is_shown) {
                @let badge = badges::health(health);
                a.filter .(badge.tone) href=(asked.address(Some(health), None))
                    aria-current=[(asked.health == Some(health)).then_some("true")] {
                    span.badge { (badge.icon.markup()) " " (badge.word) } " "
                    strong { (number(tenants.by_health.of(health))) }
                }
            }
        }
    }
}

/// Renders the search form. It lacks the attribute `data-live`, so that the script does not replace it when it updates
/// the page: somebody may be typing in it.
fn search(asked: &TenantsPageQuery) -> Markup {
    html! {
        form.row role="search" method="get" action="/" {
            label for="search" { "Name or id" }
            input #search type="search" name="search" maxlength=(TENANT_CHARS) value=(asked.search().unwrap_or_default());
            @if let Some(health) = asked.health { input type="hidden" name="health" value=(health.as_str()); }
            button { "Search" }
            @if asked.search().is_some() {
                a href=(TenantsPageQuery { search: None, ..asked.clone() }.address(asked.health, None)) { "Clear the search" }
            }
        }
    }
}

fn list(
    tenants: Option<&TenantList>,
    next: Option<&str>,
    asked: &TenantsPageQuery,
    now: DateTime<Utc>,
) -> Markup {
    html! {
        section #tenants data-live aria-labelledby="tenants-head" {
            h2 #tenants-head { "Tenants" }
            @match tenants {
                Some(tenants) => {
                    p.soft { (summary(tenants, asked)) }
                    @if asked.before.is_some() {
                        p { a href=(asked.address(asked.health, None)) { "From the worst on" } }
                    }
                    @if !tenants.list.is_empty() { (table(&tenants.list, now)) }
                }
                None => p.soft { "Which tenants there are is not known while this site's database does not answer." },
            }
            @if let Some(next) = next {
                p { a href=(asked.address(asked.health, Some(next))) { "More tenants" } }
            }
        }
    }
}

/// Renders a sentence that says which tenants the list has: how many, and by which filter.
fn summary(tenants: &TenantList, asked: &TenantsPageQuery) -> Markup {
    let is_part = asked.search().is_some() || asked.health.is_some();
    html! {
        @if is_part { (number(tenants.matching)) " of " }
        (counted(tenants.total, "tenant", "tenants"))
        @if let Some(health) = asked.health { " marked " (badges::health(health).word) }
        @if let Some(text) = asked.search() {
            @if asked.health.is_some() { " and" }
            " with “" bdi { (shortened(text)) } "” in the name or id"
        }
        ", the worst first."
    }
}

fn table(list: &[TenantSummary], now: DateTime<Utc>) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Table of tenants" {
            table.tenants {
                thead { tr {
                    th scope="col" { "Tenant" } th scope="col" { "Health" } th scope="col" { "Last in sync" }
                    th scope="col" { "Last run" } th scope="col" { "Activity" }
                } }
                tbody { @for tenant in list { (row(tenant, now)) } }
            }
        }
    }
}

fn row(tenant: &TenantSummary, now: DateTime<Utc>) -> Markup {
    let base = MirrorBasePath::of_tenant(&tenant.tenant_id);
    let badge = badges::health(tenant.health);
    let named = tenant.name.as_deref();
    html! {
        tr {
            th scope="row" {
                @match named.filter(|name| make_printable::is_seen(name)) {
                    Some(named) => {
                        a href=(base.page("/")) { bdi { (name(named)) } }
                        " " span.soft { "(" bdi { (name(&tenant.tenant_id)) } ")" }
                    }
                    None => a href=(base.page("/")) { "Tenant " bdi { (name(&tenant.tenant_id)) } },
                }
            }
            td { span.badge.whole .(badge.tone) { (badge.icon.markup()) " " (badge.word) } }
            td { @match tenant.last_success_at { Some(at) => (time_ago(at, now)), None => span.soft { "never" } } }
            td { @match &tenant.last_run { Some(run) => (last_run(run, &base)), None => span.soft { "none yet" } } }
            td { (activity(tenant.activity)) }
        }
    }
}

fn last_run(run: &LastRunSummary, base: &MirrorBasePath) -> Markup {
    let badge = badges::outcome(run.outcome);
    html! {
        span.badge.whole .(badge.tone) { (badge.icon.markup()) " " a href=(base.run(run.run_id)) { (badge.word) } }
        @if let Some(code) = run.error_code { " " code.soft.whole { (code.as_str()) } }
    }
}

fn activity(activity: ActivityState) -> Markup {
    html! {
        @match activity {
            ActivityState::Idle => span.soft { "Idle" },
            ActivityState::Running => span.whole { span.dot aria-hidden="true" {} " Syncing" },
            ActivityState::Waiting => { (Icon::Clock.markup()) " Waits for its retry" }
        }
    }
}
