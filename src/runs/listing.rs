//! Past runs page by page, and one run with all that the log keeps of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::db::{Connection, DbError, Local, Tx, migrations};
use crate::error::Failure;
use crate::meter::{Change, HeldBack, PhaseTime, Rejection, RunId, TenantId};

use super::status::RunRecord;
use super::table::{self, LocalTable, Scope};
use super::tenant::Tenant;
use super::{Runs, held, history, lock, log, report, tenant};

/// Which past runs are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunsQuery {
    /// How many at most.
    pub limit: u32,
    /// Only runs before this one; from the newest on when absent.
    pub before: Option<RunId>,
    /// Which of them.
    pub show: Show,
}

/// Which runs are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Show {
    /// Every one.
    #[default]
    All,
    /// Those that did not succeed: `partial`, `failed`, `refused` and `interrupted`.
    Problems,
    /// Those that changed meters, dry runs aside.
    Changes,
}

impl Show {
    /// Every value.
    pub const ALL: [Self; 3] = [Self::All, Self::Problems, Self::Changes];

    /// The value as an address holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Problems => "problems",
            Self::Changes => "changes",
        }
    }
}

/// Some past runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunsPage {
    /// The runs, newest first; one that has not ended has no `outcome`.
    pub runs: Vec<RunRecord>,
    /// `before` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<RunId>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunDetail {
    /// The run as the log holds it.
    pub run: RunRecord,
    /// How it went in one sentence.
    pub summary: String,
    /// What to do next, in one sentence.
    pub next_step: String,
    /// How long it was in each phase, in milliseconds; empty while it runs.
    pub phases: Vec<PhaseTime>,
    /// How many changes the log keeps of it.
    pub changes_logged: i64,
    /// The rows that it rejected, as many as the log keeps (`METER_SYNC_REJECTED_LIMIT`).
    pub rejected: Vec<Rejection>,
    /// The deactivations that the brake held back, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldBack>,
    /// Whether a person can still approve them: no sync has succeeded since.
    pub awaits_decision: bool,
}

/// Some changes of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangesPage {
    /// The changes: deactivations first, then updates and reactivations, then inserts.
    pub changes: Vec<Change>,
    /// `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<i64>,
}

/// More rejected rows than a run may keep.
const REJECTED: u32 = 100_000;

impl Runs {
    /// Past runs and the one in progress, newest first, of the tenant and table of the settings; `None` if the log
    /// does not have the run that they are to be before.
    pub async fn list(&self, query: &RunsQuery) -> Result<Option<RunsPage>, Failure> {
        let mut connection = self.connect_local().await?;
        let tx = begin(&mut connection).await?;
        let listed = self.list_in(&tx, query).await;
        listed.map_err(|error: DbError| error.failure())
    }

    async fn list_in(
        &self,
        tx: &Tx<'_, Local>,
        query: &RunsQuery,
    ) -> Result<Option<RunsPage>, DbError> {
        let log = self.log(tx).await?;
        let Some(log) = &log else {
            return Ok(query.before.is_none().then(RunsPage::default));
        };
        if let Some(before) = query.before
            && history::by_id(tx, log.of(), before).await?.is_none()
        {
            return Ok(None);
        }
        let one_more = RunsQuery {
            limit: query.limit.saturating_add(1),
            ..*query
        };
        let (table, tenant) = log.of();
        let mut runs = history::page(tx, table, tenant, &one_more).await?;
        let has_more = runs.len() > query.limit as usize;
        runs.truncate(query.limit as usize);
        for run in &mut runs {
            *run = log.now(tx, run.clone()).await?;
        }
        let last = runs.last().map(|run| run.run_id);
        Ok(Some(RunsPage {
            next_before: last.filter(|_| has_more),
            runs,
        }))
    }

    /// One run of the tenant and table of the settings; `None` if the log has none with this id.
    pub async fn run(&self, id: RunId) -> Result<Option<RunDetail>, Failure> {
        let mut connection = self.connect_local().await?;
        let tx = begin(&mut connection).await?;
        let read = self.read_run(&tx, id).await;
        let logged = read.map_err(|error: DbError| error.failure())?;
        Ok(logged.or_else(|| self.known_here(id)))
    }

    /// The last run of this process, which may have ended before it could be logged.
    fn known_here(&self, id: RunId) -> Option<RunDetail> {
        let last = self.shared.here.borrow().last.clone();
        let run = last.filter(|last| last.run_id == id)?;
        Some(RunDetail {
            summary: report::summary(&run),
            next_step: report::next_step(&run),
            run,
            phases: Vec::new(),
            changes_logged: 0,
            rejected: Vec::new(),
            held_back: None,
            awaits_decision: false,
        })
    }

    async fn read_run(&self, tx: &Tx<'_, Local>, id: RunId) -> Result<Option<RunDetail>, DbError> {
        let log = self.log(tx).await?;
        let Some(log) = &log else {
            return Ok(None);
        };
        let Some(run) = history::by_id(tx, log.of(), id).await? else {
            return Ok(None);
        };
        let run = log.now(tx, run).await?;
        let details = history::details(tx, id).await?;
        let awaits_decision = details.held_back.is_some() && held::can_be_approved(tx, id).await?;
        Ok(Some(RunDetail {
            summary: report::summary(&run),
            next_step: report::next_step(&run),
            run,
            phases: details.phases,
            changes_logged: details.changes,
            rejected: history::rejected(tx, id, REJECTED).await?,
            held_back: details.held_back,
            awaits_decision,
        }))
    }

    /// Changes of a run, at most `limit`, from the one after `after` on (0: from the first); none of a run that
    /// the log does not have.
    pub async fn changes(&self, id: RunId, limit: u32, after: i64) -> Result<ChangesPage, Failure> {
        let mut connection = self.connect_local().await?;
        let tx = begin(&mut connection).await?;
        let read = async {
            let log = self.log(&tx).await?;
            let run = match &log {
                Some(log) => history::by_id(&tx, log.of(), id).await?,
                None => None,
            };
            match run {
                Some(_) => history::changes_after(&tx, id, limit.saturating_add(1), after).await,
                None => Ok(Vec::new()),
            }
        };
        let mut numbered = read.await.map_err(|error: DbError| error.failure())?;
        let has_more = numbered.len() > limit as usize;
        numbered.truncate(limit as usize);
        let last = numbered.last().map(|(n, _)| *n);
        drop(tx);
        drop(connection);
        let changes = numbered.into_iter().map(|(_, change)| change).collect();
        Ok(ChangesPage {
            changes: self.with_names(changes).await,
            next_after: last.filter(|_| has_more),
        })
    }

    /// Whose log is read; `None` before there is one.
    async fn log(&self, tx: &Tx<'_, Local>) -> Result<Option<Log>, DbError> {
        if !migrations::exist(tx).await? {
            return Ok(None);
        }
        let mapping = &self.config().mapping;
        let table = table::find(tx, mapping).await?;
        let tenant = tenant::known(tx, mapping, &table).await?;
        Ok(Some(Log { table, tenant }))
    }

    async fn connect_local(&self) -> Result<Connection<Local>, Failure> {
        self.local()?
            .connect_to_read()
            .await
            .map_err(|e| e.failure())
    }
}

/// The part of the log that is ours: of a table, and of a tenant once that is known.
struct Log {
    table: LocalTable,
    tenant: Option<Tenant>,
}

impl Log {
    fn of(&self) -> (&LocalTable, Option<&TenantId>) {
        (&self.table, self.tenant.as_ref().map(|tenant| &tenant.id))
    }

    fn scope(&self, tenant: &Tenant) -> Scope {
        Scope {
            tenant: tenant.clone(),
            table: self.table.clone(),
        }
    }

    /// The run as it is now: one without an end was interrupted unless one is in progress.
    async fn now(&self, tx: &Tx<'_, Local>, run: RunRecord) -> Result<RunRecord, DbError> {
        let (None, Some(tenant)) = (run.outcome, &self.tenant) else {
            return Ok(run);
        };
        if lock::is_held(tx, &self.scope(tenant)).await? {
            return Ok(run);
        }
        // It may have ended since it was read.
        let found = history::by_id(tx, self.of(), run.run_id).await?;
        let mut run = found.unwrap_or(run);
        if run.outcome.is_none() {
            log::interrupt(&mut run);
        }
        Ok(run)
    }
}

async fn begin(connection: &mut Connection<Local>) -> Result<Tx<'_, Local>, Failure> {
    connection.begin("history").await.map_err(|e| e.failure())
}
