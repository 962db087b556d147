//! The page with what all runs have changed since a time. It has filters, and a link to the same list as CSV.

use axum::extract::Query;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use super::format_values::{prose, time};
use super::mirror_in_url::MirrorInUrl;
use super::mirror_page_paths::MirrorBasePath;
use super::page_layout::{ErrorPage, PageLayout};
use super::viewer_rights::ViewerRights;
use super::{action_and_phase_words, banner, run_changes};
use crate::arguments::past_time;
use crate::error::ErrorCode;
use crate::history::changes_since::DEFAULT_SINCE;
use crate::model::{Change, ChangeAction, ChangesSinceQuery, RunId};
use crate::reports::run_and_change_pages::ChangesSincePage;
use crate::reports::status::StatusQuery;
use crate::url_path;

/// The path of the page, below the base path.
pub(super) const PATH: &str = "/changes";

/// How many changes one page holds.
const CHANGES: u32 = 100;

/// The lengths of time that the page offers, with their names.
const TIMES: [(&str, &str); 4] = [
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("30d", "30 days"),
    ("90d", "90 days"),
];

/// The query parameters that select changes.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ChangesPageQuery {
    /// The time since which changes are listed; `None` means [`DEFAULT_SINCE`].
    since: Option<String>,
    /// The kind of the changes that are listed; `None` lists all.
    kind: Option<ChangeAction>,
    /// The last change of the page before; `None` for the first page.
    before: Option<String>,
}

impl ChangesPageQuery {
    fn since(&self) -> &str {
        self.since.as_deref().unwrap_or(DEFAULT_SINCE)
    }

    /// Returns the path of the page, or of the list in the REST API, for these arguments.
    fn path(
        path: &str,
        since: &str,
        kind: Option<ChangeAction>,
        more: (&str, Option<&str>),
    ) -> String {
        let kind = kind.map(ChangeAction::as_str);
        let query = url_path::query([("since", Some(since)), ("kind", kind), more]);
        format!("{path}?{query}")
    }
}

/// `GET /changes`: renders the page. Answers 404 if the query cannot be used.
pub(super) async fn show(
    MirrorInUrl { mirror, base }: MirrorInUrl,
    viewer: ViewerRights,
    Query(asked): Query<ChangesPageQuery>,
) -> Result<Markup, ErrorPage> {
    let missing = |why: &str| ErrorPage::not_found(why).of_mirror(&base);
    let since = past_time::parse("The time", asked.since(), mirror.now());
    let since = since.map_err(|refused| missing(&refused.0))?;
    let before = asked.before.as_deref().map(str::parse).transpose();
    let before = before.map_err(|()| missing("There is no such page of changes."))?;
    let kinds: Vec<ChangeAction> = asked.kind.into_iter().collect();
    let query = ChangesSinceQuery {
        since,
        kinds: &kinds,
        before,
        limit: CHANGES,
    };
    let page = match mirror.changes_since(&query).await {
        Err(failure) if failure.code == ErrorCode::ConfigInvalid => {
            return Err(missing("There is no such page of changes."));
        }
        page => page?,
    };
    let status = mirror.status(&StatusQuery::default()).await?;
    let place = banner::place(&status, &mirror.site());
    let layout = PageLayout::of_list(&base, "Changes", place, viewer);
    Ok(layout.around(&html! {
        p { a href=(base.page("/")) { "Back to the status" } }
        h1 { "Changes by syncs" }
        (filters(&asked, &base))
        (list(&page, &asked, &base))
    }))
}

fn filters(asked: &ChangesPageQuery, base: &MirrorBasePath) -> Markup {
    let page = base.page(PATH);
    let link = |since: &str, kind| ChangesPageQuery::path(&page, since, kind, ("before", None));
    let kinds = ChangeAction::ALL.iter().copied();
    html! {
        nav.row aria-label="Since when" {
            @for (since, name) in TIMES {
                a.filter href=(link(since, asked.kind)) aria-current=[(since == asked.since()).then_some("true")] { (name) }
            }
        }
        nav.row aria-label="Which changes" {
            a.filter href=(link(asked.since(), None)) aria-current=[asked.kind.is_none().then_some("true")] { "All" }
            @for kind in kinds {
                a.filter href=(link(asked.since(), Some(kind))) aria-current=[(asked.kind == Some(kind)).then_some("true")] {
                    (action_and_phase_words::action(kind, false))
                }
            }
        }
    }
}

fn list(page: &ChangesSincePage, asked: &ChangesPageQuery, base: &MirrorBasePath) -> Markup {
    let found = &page.changes_since;
    let link = |path: &str, more| ChangesPageQuery::path(path, asked.since(), asked.kind, more);
    let csv = link(&base.api(PATH), ("format", Some("csv")));
    let older = page.next_before.as_deref();
    html! {
        section #changes {
            p { (prose(&page.summary)) }
            ul.changes { @for dated in &found.changes { (row(&dated.change, dated.run_id, dated.at, base)) } }
            @if let Some(before) = older {
                p { a href=(link(&base.page(PATH), ("before", Some(before)))) { "Older changes" } }
            }
            @if !found.changes.is_empty() { p.row { a href=(csv) { "All of these as CSV" } } }
        }
    }
}

fn row(change: &Change, run: RunId, at: DateTime<Utc>, base: &MirrorBasePath) -> Markup {
    html! {
        li {
            p { span.tag .(change.action.as_str()) { (action_and_phase_words::action(change.action, false)) }
                " " (run_changes::meter(&change.key, change.name.as_deref(), base)) }
            p.soft { a href=(base.run(run)) { (time(at)) } }
            (run_changes::fields(change))
        }
    }
}
