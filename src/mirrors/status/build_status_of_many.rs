//! Builds the status of many mirrors from their published states, which were last read from the local database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, timeout_at};

use crate::db::{DbError, Local, Tx};
use crate::error::Failure;
use crate::model::{ActivityState, Health, HealthCounts, Pause, WORST_FIRST, saturating_i64};
use crate::store::read_mirror_states::MirrorState;
use crate::store::{migrations, recorded_columns};

use crate::mirrors::mirror::TenantAndMirror;
use crate::mirrors::mirror_keys::keys;
use crate::mirrors::published_states::PublishedStates;
use crate::mirrors::registry::{self, Mirrors};
use crate::reports::connections::{ConnectionReport, ConnectionsReport};
use crate::reports::derive_health::{self, RecentSlots};
use crate::reports::status::{ScheduleStatus, Status};
use crate::reports::status_text;
use crate::reports::tenant_list::{TenantList, TenantSummary, TenantsQuery};

/// A mirror with its state and its health.
struct RankedMirror<'a> {
    known: &'a TenantAndMirror,
    state: &'a MirrorState,
    health: Health,
    paused: Option<&'a Pause>,
}

impl Mirrors {
    /// Returns the status of all mirrors: the number of mirrors in each health, and one page of the mirrors, the worst
    /// first. If the local database is down, the status shows the last known states.
    pub async fn overview(&self, query: &TenantsQuery) -> Status {
        self.overview_of(&self.states().await, query)
    }

    /// Returns the status of all mirrors with the number of drifted columns (synced columns that the remote changed). A
    /// local database that gives no answer within `patience` counts as down.
    pub async fn overview_within(&self, query: &TenantsQuery, patience: Duration) -> Status {
        let due = Instant::now() + patience;
        let states = timeout_at(due, self.states()).await;
        let states = states.unwrap_or_else(|_elapsed| self.overdue_states());
        let drifted = timeout_at(due, self.count_drifted(&states)).await;
        Status {
            drifted_columns: drifted.ok().flatten(),
            ..self.overview_of(&states, query)
        }
    }

    /// Counts the drifted columns (synced columns that the remote changed) of all mirrors. Returns `None` if they
    /// cannot be counted.
    async fn count_drifted(&self, states: &PublishedStates) -> Option<usize> {
        let known: Vec<&TenantAndMirror> = states.mirrors.iter().map(|(known, _)| known).collect();
        let count = async |tx: &Tx<'_, Local>| match migrations::tables(tx).await?.columns {
            true => {
                recorded_columns::count_drifted(tx, &keys(tx, known.iter().copied()).await?).await
            }
            false => Ok::<_, DbError>(0),
        };
        let local = self.local().ok().filter(|_| states.failure.is_none())?;
        let counted = local.read("metrics", count).await.ok()?;
        usize::try_from(counted).ok()
    }

    fn overview_of(&self, published: &PublishedStates, query: &TenantsQuery) -> Status {
        let now = self.now();
        let config = self.config();
        let slots = RecentSlots::at(now, config.schedule.as_ref(), config.jitter);
        let all = rank(published, query, &slots, now);
        let mut by_health = HealthCounts::default();
        all.iter().for_each(|mirror| by_health.add(mirror.health));
        let is_paused =
            |mirror: &&RankedMirror<'_>| mirror.health == Health::Paused && mirror.paused.is_some();
        let paused = all.iter().filter(is_paused);
        let (list, matching, next_before) = page(&all, query);
        let last_sweep = published.last_sweep.as_ref();
        let tenants = TenantList {
            total: saturating_i64(all.len()),
            by_health,
            paused_by_people: saturating_i64(paused.count()),
            list,
            matching,
            last_sweep: last_sweep.filter(|_| query.visible.is_none()).cloned(),
        };
        let unread = published.failure.as_ref();
        let unswept = last_sweep.and_then(|sweep| sweep.error.as_ref());
        let failure = unread.or(unswept);
        let refused = self.refused(query.visible.as_deref());
        let any_failure = failure.or(refused.first());
        let health = worst(&all, any_failure, self.is_configured());
        let worst_tenant = all.first().map(|first| (&first.known.id, first.health));
        let waiting = *self.waiting_until.borrow();
        let run_warning = run_warning(&all);
        let running = all.iter().filter(|mirror| mirror.state.is_running());
        let running = running.count();
        Status {
            summary: status_text::summary_of_many(&tenants, unread, unswept, oldest(&all), now),
            next_step: status_text::next_step_of_many(worst_tenant, failure, run_warning.as_ref()),
            health,
            activity: ActivityState::of(running > 0, waiting.is_some()),
            now,
            next_before,
            tenants: Some(tenants),
            last_success_at: oldest(&all),
            next_run_at: self.next_run_at(waiting, now),
            schedule: ScheduleStatus::of(config.schedule.as_ref()),
            connections: self.connections_of(published, query),
            warnings: failure
                .into_iter()
                .chain(&refused)
                .map(Failure::in_words)
                .chain(run_warning)
                .collect(),
            running_tenants: unread.is_none().then_some(running),
            ..Status::default()
        }
    }

    /// Returns the states of both databases. Hides the remote's error from a caller who may see only some tenants,
    /// because the error may be about another tenant.
    fn connections_of(
        &self,
        published: &PublishedStates,
        query: &TenantsQuery,
    ) -> ConnectionsReport {
        let mut remote = self.remote_state.borrow().clone();
        if query.visible.is_some() {
            remote.error = None;
        }
        let local = match self.local {
            Some(_) => ConnectionReport::used(published.failure.clone(), self.now()),
            None => ConnectionReport {
                error: published.failure.clone(),
                ..ConnectionReport::unused(false)
            },
        };
        ConnectionsReport { remote, local }
    }
}

/// Lists the mirrors that the caller may see, the worst health first. Of mirrors with the same health, the one whose
/// sides were known to be equal longest ago comes first.
fn rank<'a>(
    published: &'a PublishedStates,
    query: &TenantsQuery,
    slots: &RecentSlots,
    now: DateTime<Utc>,
) -> Vec<RankedMirror<'a>> {
    let is_visible = registry::visibility(query.visible.as_deref());
    let seen = published.mirrors.iter();
    let seen = seen.filter(|(known, _)| is_visible(&known.id));
    let mut all: Vec<RankedMirror<'_>> = seen
        .map(|(known, state)| RankedMirror {
            known,
            state,
            health: derive_health::of_mirror(state, slots, published.failure.is_some()),
            paused: state.pause_at(now),
        })
        .collect();
    // The sort is stable, so mirrors that compare as equal stay in the order of their ids.
    let place = |health| WORST_FIRST.iter().position(|worst| *worst == health);
    all.sort_by_key(|mirror| (place(mirror.health), mirror.state.equal_at()));
    all
}

/// Returns one sentence about all mirrors whose last run has a warning, with the first warning; `None` if there are
/// none.
fn run_warning(all: &[RankedMirror<'_>]) -> Option<String> {
    let warned = all.iter().filter_map(|mirror| {
        let warning = mirror.state.last_run.as_ref()?.warning.as_ref()?;
        Some((mirror.known.id.as_str(), warning))
    });
    let warned: Vec<_> = warned.collect();
    let (id, warning) = warned.first()?;
    Some(match warned.len() {
        1 => format!("The last run of tenant {id} has a warning: {warning}"),
        count => {
            format!(
                "The last runs of {count} tenants have warnings. That of tenant {id}: {warning}"
            )
        }
    })
}

/// Returns the earliest of the times at which each mirror's sides were last known to be equal. Returns `None` if one
/// mirror has no such time, or if there are no mirrors.
fn oldest(all: &[RankedMirror<'_>]) -> Option<DateTime<Utc>> {
    all.iter().map(|mirror| mirror.state.equal_at()).min()?
}

/// Returns three values: the page of the mirrors that match the query, how many match in all, and the id of the tenant
/// with which the next page starts (`None` on the last page).
fn page(
    all: &[RankedMirror<'_>],
    query: &TenantsQuery,
) -> (Vec<TenantSummary>, i64, Option<String>) {
    let search = query.search.as_ref().map(|text| text.to_lowercase());
    let matches = |mirror: &&RankedMirror<'_>| {
        query.health.is_none_or(|health| health == mirror.health)
            && search.as_ref().is_none_or(|text| holds(mirror.known, text))
    };
    let found: Vec<&RankedMirror<'_>> = all.iter().filter(matches).collect();
    // If the tenant at which the page starts no longer matches, the page is empty. Starting again from the first page
    // would never end.
    let start = query.before.as_ref().map_or(0, |id| {
        let starts = |mirror: &&RankedMirror<'_>| mirror.known.id.as_str() == id;
        found.iter().position(starts).unwrap_or(found.len())
    });
    let rest = found.get(start..).unwrap_or_default();
    let limit = query.limit as usize;
    let next = rest
        .get(limit)
        .map(|next| next.known.id.as_str().to_owned());
    let list = rest.iter().take(limit).map(|mirror| summary(mirror));
    (list.collect(), saturating_i64(found.len()), next)
}

/// Whether the tenant's id or name contains `text`, ignoring case. `text` must be in lower case.
fn holds(known: &TenantAndMirror, text: &str) -> bool {
    let id = known.id.as_str().to_lowercase();
    let name = known.name.as_ref().map(|name| name.to_lowercase());
    id.contains(text) || name.is_some_and(|name| name.contains(text))
}

fn summary(mirror: &RankedMirror<'_>) -> TenantSummary {
    let RankedMirror {
        known,
        state,
        health,
        paused,
    } = mirror;
    TenantSummary {
        tenant_id: known.id.as_str().to_owned(),
        name: known.name.clone(),
        health: *health,
        activity: ActivityState::of(state.is_running(), false),
        last_success_at: state.equal_at(),
        checked_at: state.checked_at,
        paused: paused.cloned(),
        last_run: state.last_run.clone(),
    }
}

/// Returns the health of all mirrors together, the first of these that applies:
///
/// - `NotConfigured` if the process is not configured;
/// - `Failing` if `failure` is given;
/// - `NeverRun` if there is no mirror;
/// - the worst health of any mirror.
fn worst(all: &[RankedMirror<'_>], failure: Option<&Failure>, is_configured: bool) -> Health {
    if !is_configured {
        return Health::NotConfigured;
    }
    if failure.is_some() {
        return Health::Failing;
    }
    all.first().map_or(Health::NeverRun, |first| first.health)
}
