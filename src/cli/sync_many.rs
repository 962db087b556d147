//! `meter-sync sync` with several tenants: runs one sync for each, a few at once, and reports those that changed or
//! failed.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use futures_util::{StreamExt, stream};
use indicatif::ProgressBar;
use serde::Serialize;

use super::exit;
use super::sync::{carry_out_quietly, progress_bar, stopped_by_signal};
use crate::error::{ErrorCode, Failure};
use crate::mirrors::run::report::{RunReport, RunState};
use crate::mirrors::state::tenant_list::TenantsQuery;
use crate::mirrors::{KnownMirror, Mirrors, Request};
use crate::model::Outcome;
use crate::printable;
use crate::shutdown::Shutdown;

/// The longest name or summary in characters; a longer one is cut.
const LONGEST_TEXT: usize = 300;

/// The syncs of several tenants, as `sync --json` prints them.
#[derive(Debug, Default, Serialize)]
pub(super) struct ManySynced {
    /// The result in one sentence.
    summary: String,
    /// How many tenants there are.
    tenants: usize,
    /// How many were equal on both sides, or would stay as they are.
    unchanged: usize,
    /// How many were synced, or would be.
    succeeded: usize,
    /// How many were not synced, or not in full.
    failed: usize,
    /// The runs of those that were not equal, the tenants longest behind first.
    runs: Vec<TenantRun>,
}

/// The run of one tenant.
#[derive(Debug, Serialize)]
struct TenantRun {
    tenant_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The run; absent if none could be requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunReport>,
    /// Why no run could be requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// How a tenant's run counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunResult {
    Unchanged,
    Succeeded,
    Failed,
}

/// Requests a run for each tenant, those that are longest behind first, and waits for their ends. As many run at once as
/// there are workers.
pub(super) async fn run(
    mirrors: &Mirrors,
    request: &Request,
    shutdown: &Shutdown,
) -> Result<ManySynced, Failure> {
    if mirrors.is_read_only() {
        let message = "This meter-sync was started read-only and starts no sync.";
        return Err(Failure::new(ErrorCode::ReadOnly, message));
    }
    let all = worst_first(mirrors).await?;
    let (total, bar) = (all.len(), progress_bar());
    bar.set_message(format!("{total} tenants"));
    let places = (0..).zip(all);
    let runs = places.map(async |(place, known)| (place, sync(known, request, shutdown).await));
    let workers = usize::try_from(mirrors.config().workers).unwrap_or(1);
    let mut runs = stream::iter(runs).buffer_unordered(workers);
    let mut synced = ManySynced {
        tenants: total,
        ..ManySynced::default()
    };
    let mut ended: BTreeMap<usize, TenantRun> = BTreeMap::new();
    while let Some((place, run)) = runs.next().await {
        ended.insert(place, run);
        bar.set_message(format!("{} of {total} tenants", ended.len()));
    }
    bar.finish_and_clear();
    ended.into_values().for_each(|run| synced.add(run));
    synced.summary = synced.summarize(request.dry_run);
    Ok(synced)
}

/// All mirrors, in the order in which the status lists them.
async fn worst_first(mirrors: &Mirrors) -> Result<Vec<KnownMirror>, Failure> {
    let all = mirrors.all().await?;
    let query = TenantsQuery {
        limit: u32::MAX,
        ..TenantsQuery::default()
    };
    let listed = mirrors.overview(&query).await.tenants.unwrap_or_default();
    let ids = listed.list.into_iter().map(|tenant| tenant.tenant_id);
    let places: BTreeMap<String, usize> = ids.zip(0..).collect();
    let mut all = all.to_vec();
    all.sort_by_key(|known| places.get(known.id.as_str()).copied());
    Ok(all)
}

async fn sync(known: KnownMirror, request: &Request, shutdown: &Shutdown) -> TenantRun {
    let KnownMirror { id, name, mirror } = known;
    let run = match shutdown.token().is_cancelled() {
        true => Err(stopped_by_signal()),
        false => {
            let hidden = ProgressBar::hidden();
            carry_out_quietly(&mirror, request.clone(), shutdown, &hidden).await
        }
    };
    let (run, error) = match run {
        Ok(run) => (Some(run), None),
        Err(failure) => (None, Some(failure)),
    };
    TenantRun {
        tenant_id: id.as_str().to_owned(),
        name,
        run,
        error,
    }
}

impl ManySynced {
    fn add(&mut self, run: TenantRun) {
        match run.result() {
            RunResult::Unchanged => {
                self.unchanged += 1;
                return;
            }
            RunResult::Succeeded => self.succeeded += 1,
            RunResult::Failed => self.failed += 1,
        }
        self.runs.push(run);
    }

    fn summarize(&self, dry_run: bool) -> String {
        let Self {
            tenants,
            unchanged,
            succeeded,
            failed,
            ..
        } = self;
        let (synced, not_synced) = match dry_run {
            true => ("would change", "could not be planned or would be refused"),
            false => ("synced", "not synced in full"),
        };
        format!(
            "{tenants} tenants: {unchanged} unchanged, {succeeded} {synced}, {failed} {not_synced}."
        )
    }

    /// The exit code: that of the worst run.
    pub(super) fn code(&self) -> u8 {
        exit::worst(self.runs.iter().map(TenantRun::code))
    }
}

impl TenantRun {
    fn result(&self) -> RunResult {
        match &self.run {
            Some(run) if self.code() == 0 => match run.outcome {
                Some(Outcome::NoChange) => RunResult::Unchanged,
                Some(Outcome::DryRun) if run.changes_total == 0 => RunResult::Unchanged,
                _ => RunResult::Succeeded,
            },
            Some(_) | None => RunResult::Failed,
        }
    }

    fn code(&self) -> u8 {
        match (&self.run, &self.error) {
            (Some(run), _) => exit::of_report(run),
            (None, error) => exit::of_error(
                error
                    .as_ref()
                    .map_or(ErrorCode::Internal, |error| error.code),
            ),
        }
    }
}

/// A line for each tenant that changed or failed, and the summary.
impl Display for ManySynced {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for run in &self.runs {
            writeln!(f, "{run}")?;
        }
        writeln!(f, "{}", self.summary)
    }
}

impl Display for TenantRun {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.name.as_ref().map_or_else(String::new, |name| {
            format!(" ({})", printable::line(name, LONGEST_TEXT))
        });
        let (word, text) = match (&self.run, &self.error) {
            (Some(run), _) => (word(run), &run.summary),
            (None, Some(error)) => ("failed", &error.message),
            (None, None) => ("failed", &self.tenant_id),
        };
        let code = self.run.as_ref().and_then(|run| run.error.as_ref());
        let code = code.or(self.error.as_ref()).map(|error| error.code);
        let code = code.map_or_else(String::new, |code| format!(" [{code}]"));
        let text = printable::line(text, LONGEST_TEXT);
        write!(f, "{word:<11} {}{name}: {text}{code}", self.tenant_id)
    }
}

fn word(run: &RunReport) -> &'static str {
    match (run.state, run.outcome) {
        (RunState::AlreadyRunning, _) => "running",
        (RunState::Finished | RunState::Running, Some(outcome)) => outcome.as_str(),
        (RunState::Finished | RunState::Running, None) => "unknown",
    }
}
