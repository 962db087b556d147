//! A real site beside its model.

use std::sync::{LazyLock, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use meter_sync::config::CommandLineSettings;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{Mirror, RunApprovals, RunRequest, SlotClaimOutcome};
use meter_sync::model::{DeactivationApproval, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::model::{self, Expected, Model, Rows};
use super::op::{COMMIT, LineBreak, Name, Op};
use super::site_kinds::{KINDS, Kind};
use super::unique_numbers::{self, MeterReference};
use super::write_model;
use crate::support::postgres::{connect, pair_in};
use crate::support::proxy::{Fault, Proxy};
use crate::support::site::{Site, finish, mirror, rows, settings};

/// Both databases as they were before anything happened.
const EMPTY_HERE: &str = "
    delete from meter; delete from meter_sync.meter_sync_slot; delete from meter_sync.meter_sync_log";

/// A real site beside its model; one for all histories on a kind of site, one after the other.
pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) site: Site,
    settings: CommandLineSettings,
    /// Two processes, which take turns.
    pub(super) processes: [Mirror; 2],
    turn: usize,
    /// Where a transaction of the remote stays open.
    pub(super) late: Client,
    /// Where somebody edits meters here while a run is in progress.
    pub(super) hand: Client,
    remote: Proxy,
    local: Proxy,
    pub(super) model: Model,
    /// How many runs should stand in the log.
    logged: i64,
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static WORLDS: LazyLock<Vec<Mutex<Option<World>>>> =
    LazyLock::new(|| KINDS.iter().map(|_| Mutex::default()).collect());

impl World {
    /// Lives a history on an empty site of a kind, and then heals.
    pub(super) fn live(kind: usize, history: &[Op]) {
        // a history that failed leaves nothing that the next one minds
        let mut world = WORLDS[kind].lock().unwrap_or_else(PoisonError::into_inner);
        RUNTIME.block_on(async {
            if world.is_none() {
                *world = Some(Self::new(KINDS[kind]).await);
            }
            let world = world.as_mut().expect("it was just made");
            world.empty().await;
            for op in history {
                world.happen(op).await;
                world.check().await;
            }
            world.heal().await;
        });
    }

    async fn new(kind: Kind) -> Self {
        let pair = pair_in(kind.encodings).await;
        let site = Site::on_pair(pair, &kind.remote_schema(), &kind.local_schema()).await;
        let (remote, remote_url) = Proxy::before(&site.pair.remote_url).await;
        let (local, local_url) = Proxy::before(&site.pair.local_url).await;
        let settings = settings(&remote_url, &local_url);
        site.sync().await;
        Self {
            kind,
            processes: [mirror(&settings), mirror(&settings)],
            turn: 0,
            late: connect(&site.pair.remote_url).await,
            hand: connect(&site.pair.local_url).await,
            site,
            settings,
            remote,
            local,
            model: Model::new(kind.emoji()),
            logged: 0,
        }
    }

    async fn empty(&mut self) {
        self.remote.set(Fault::None);
        self.local.set(Fault::None);
        says(&self.late, "rollback").await;
        says(&self.hand, "rollback").await;
        self.site.on_remote("delete from meter").await;
        self.site.on_local(EMPTY_HERE).await;
        self.model = Model::new(self.kind.emoji());
        self.logged = 0;
        self.turn = 0;
    }

    /// The process that has its turn.
    pub(super) fn next(&mut self) -> &Mirror {
        self.turn = 1 - self.turn;
        &self.processes[self.turn]
    }

    async fn happen(&mut self, op: &Op) {
        if self.model.would_wait(op) {
            self.end(true).await;
        }
        match *op {
            Op::Sync => self.sync(RunRequest::new(RunTrigger::Cli)).await,
            Op::SyncAllowed => self.sync(allowed()).await,
            Op::DryRun => {
                let dry_run = true;
                self.sync(RunRequest {
                    dry_run,
                    ..RunRequest::new(RunTrigger::Mcp)
                })
                .await;
            }
            Op::TwoAtOnce => self.two_at_once().await,
            Op::SyncDuringReload { key, name } => self.sync_during_reload(key, name).await,
            Op::SyncDuringEdit { key, edit } => self.sync_during_edit(key, edit).await,
            Op::Broken(broken) => self.sync_broken(broken).await,
            Op::Restart => self.processes[self.turn] = mirror(&self.settings),
            Op::Tick(slot) => self.tick(slot).await,
            Op::Put { .. }
            | Op::PutAll(_)
            | Op::Remove(_)
            | Op::RemoveAll
            | Op::Toggle(_)
            | Op::Move(_)
            | Op::Duplicate(_)
            | Op::SwitchAllOff
            | Op::Swap { .. }
            | Op::Rotate
            | Op::Anew { .. }
            | Op::PutUnkeyed(_) => {
                let before = self.model.remote.clone();
                self.model.edit(op);
                self.write_remote(&before).await;
            }
            Op::Begin { key, name } => self.begin(key, name).await,
            Op::End { is_commit } => self.end(is_commit).await,
            Op::EditHere { .. }
            | Op::DeleteHere(_)
            | Op::ToggleHere(_)
            | Op::NoteHere(_)
            | Op::NumberHere(_)
            | Op::SeizeHere(_) => {
                let before = self.model.rows();
                self.model.edit(op);
                let rows = (&before, &self.model.rows());
                write_model::local(&self.site.local, &self.kind, rows).await;
            }
            Op::ReadHere(key) => {
                self.model.edit(op);
                write_model::reading(&self.site.local, &self.kind, key).await;
            }
        }
    }

    /// The remote becomes what the model says.
    async fn write_remote(&self, before: &[model::RemoteMeter]) {
        let rows = (before, self.model.remote.as_slice());
        write_model::remote(&self.site.remote, &self.kind, rows).await;
    }

    /// A transaction on the remote writes and stays open.
    async fn begin(&mut self, key: u8, name: Option<Name>) {
        if !self.model.is_open() {
            self.model.edit(&Op::Begin { key, name });
            let mut after = self.model.clone();
            after.edit(&Op::End { is_commit: true });
            says(&self.late, "begin").await;
            let rows = (self.model.remote.as_slice(), after.remote.as_slice());
            write_model::remote(&self.late, &self.kind, rows).await;
        }
    }

    async fn end(&mut self, is_commit: bool) {
        let end = if is_commit { "commit" } else { "rollback" };
        says(&self.late, end).await;
        self.model.edit(&Op::End { is_commit });
    }

    async fn sync(&mut self, request: RunRequest) {
        let expected = self.model.run(
            request.dry_run,
            request.allow.mass_deactivation == DeactivationApproval::Any,
        );
        let run = finish(self.next(), request).await;
        assert_ended(&run, &expected);
        self.ended(&run, &expected).await;
    }

    /// The run stands in the log, its changes explain the difference, and the model follows.
    pub(super) async fn ended(&mut self, run: &RunReport, expected: &Expected) {
        self.logged += 1;
        let changes = format!(
            "select action, key->>'id' as id, after from meter_sync.meter_sync_change
             where run_id = '{}' order by n",
            run.run_id
        );
        let changes = rows(&self.site.local, &changes).await;
        if run.outcome != Some(RunOutcome::DryRun) {
            let mut explained = self.model.rows();
            for change in changes.as_array().expect("rows") {
                explain(&mut explained, change, &self.kind);
            }
            assert_eq!(
                explained,
                model::rows(&expected.here),
                "{changes:#} {run:#?}"
            );
            self.model.here.clone_from(&expected.here);
        }
        let changed = changes.as_array().map(Vec::len);
        assert_eq!(
            changed,
            usize::try_from(run.counts.changes() + expected.given_up).ok(),
            "{run:#?}"
        );
        self.assert_logged(run).await;
    }

    async fn assert_logged(&self, run: &RunReport) {
        let log = format!(
            "select outcome, error_code, inserted, updated, deactivated, reactivated, unchanged, rejected,
                (select count(*) from meter_sync.meter_sync_rejected r where r.run_id = l.id) as aside
             from meter_sync.meter_sync_log l where id = '{}'",
            run.run_id
        );
        let mut logged = serde_json::to_value(run.counts).unwrap();
        logged["outcome"] = json!(run.outcome);
        logged["error_code"] = json!(run.error.as_ref().map(|error| error.code));
        logged["aside"] = json!(run.counts.rejected);
        assert_eq!(rows(&self.site.local, &log).await, json!([logged]));
    }

    async fn tick(&mut self, slot: u8) {
        let start = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::hours(slot.into());
        let claimed = self
            .next()
            .claim_slot(start, false)
            .await
            .expect("an answer");
        // Its run follows at once, so whoever comes later finds it served, the claimant too.
        let is_first = self.model.slots.insert(slot);
        assert_eq!(claimed == SlotClaimOutcome::Ours, is_first);
        let again = self
            .next()
            .claim_slot(start, false)
            .await
            .expect("an answer");
        assert_ne!(again, SlotClaimOutcome::Ours, "a slot is claimed once");
        if claimed == SlotClaimOutcome::Ours {
            self.sync(RunRequest::new(RunTrigger::Schedule)).await;
        }
    }

    /// A run whose line breaks once ends as if nothing had happened, or has changed nothing.
    async fn sync_broken(&mut self, broken: LineBreak) {
        let process = self.next().clone();
        let (proxy, fault, code) = match broken {
            LineBreak::Remote(fault) => (&self.remote, fault, ErrorCode::RemoteUnreachable),
            LineBreak::Local(fault) => (&self.local, fault, ErrorCode::LocalUnreachable),
        };
        let struck = proxy.struck();
        proxy.set_once(fault, Fault::None);
        let run = finish(&process, RunRequest::new(RunTrigger::Cli)).await;
        proxy.set(Fault::None);
        let struck = proxy.struck() > struck || fault == Fault::Refuse;
        let expected = self.model.run(false, false);
        let would_write = match expected.outcome {
            RunOutcome::Succeeded | RunOutcome::NoChange | RunOutcome::Partial => true,
            RunOutcome::Failed
            | RunOutcome::Refused
            | RunOutcome::Interrupted
            | RunOutcome::DryRun
            | RunOutcome::Unknown => false,
        };
        let must_fail = struck && would_write && fault != Fault::LoseReply(COMMIT);
        let failed = Expected {
            outcome: RunOutcome::Failed,
            code: Some(code),
            counts: meter_sync::model::Counts::default(),
            given_up: 0,
            here: self.model.here.clone(),
        };
        if must_fail || (struck && is_as(&run, &failed)) {
            assert_ended(&run, &failed);
            self.ended(&run, &failed).await;
        } else {
            assert_ended(&run, &expected);
            self.ended(&run, &expected).await;
        }
    }

    /// What holds between any two steps.
    async fn check(&self) {
        let Kind {
            name, number, note, ..
        } = self.kind;
        let found = format!(
            "select id::text, tenant_id, {name} as name, {number} as number, active, {note} as site_note from meter"
        );
        let found = rows(&self.site.local, &found).await;
        let by_id = |row: &Value| (row["id"].as_str().expect("an id").to_owned(), row.clone());
        let found: Rows = found.as_array().expect("rows").iter().map(by_id).collect();
        assert_eq!(found, self.model.rows());
        let readings = "select meter::text, number from reading order by meter";
        let readings = rows(&self.site.local, readings).await;
        assert_eq!(readings, unique_numbers::readings(&self.model.here));
        let log = "select count(*) as runs, count(*) filter (where outcome is null) as unfinished
             from meter_sync.meter_sync_log";
        let log = rows(&self.site.local, log).await;
        assert_eq!(log, json!([{"runs": self.logged, "unfinished": 0}]));
    }

    /// Whatever happened before, the remote's mistakes once mended, two runs bring peace.
    async fn heal(&mut self) {
        self.end(true).await;
        let before = self.model.remote.clone();
        self.model.remote.retain(|row| row.key.is_some());
        self.model.remote.sort_by_key(|row| row.key);
        self.model.remote.dedup_by_key(|row| row.key);
        for row in &mut self.model.remote {
            row.name = row.name.storable();
        }
        self.model.here.retain(|_, row| row.is_ours());
        let rows = self.model.here.values_mut();
        rows.for_each(|row| row.reading = MeterReference::None);
        self.site
            .on_local("delete from meter where tenant_id <> 7; delete from reading")
            .await;
        self.write_remote(&before).await;
        self.sync(allowed()).await;
        let expected = self.model.run(false, false);
        assert_eq!(expected.outcome, RunOutcome::NoChange);
        self.sync(RunRequest::new(RunTrigger::Cli)).await;
        self.check().await;
    }
}

fn allowed() -> RunRequest {
    let allow = RunApprovals {
        mass_deactivation: DeactivationApproval::Any,
        ..RunApprovals::default()
    };
    RunRequest {
        allow,
        ..RunRequest::new(RunTrigger::Page)
    }
}

pub(super) fn is_as(run: &RunReport, expected: &Expected) -> bool {
    let code = run.error.as_ref().map(|error| error.code);
    (run.outcome, code, run.counts) == (Some(expected.outcome), expected.code, expected.counts)
}

pub(super) fn assert_ended(run: &RunReport, expected: &Expected) {
    assert!(is_as(run, expected), "{run:#?}\nis not {expected:#?}");
}

pub(super) async fn says(client: &Client, sql: &str) {
    client.batch_execute(sql).await.expect("an answer");
}

/// Makes one change of the log.
fn explain(here: &mut Rows, change: &Value, kind: &Kind) {
    let id = change["id"].as_str().expect("an id");
    if change["action"] == "insert" {
        let row = json!({"id": id, "name": null, "number": null, "site_note": "ours"});
        assert_eq!(here.insert(id.to_owned(), row), None, "{change}");
    }
    let row = here.get_mut(id).unwrap_or_else(|| panic!("{change}"));
    for (column, value) in change["after"].as_object().expect("an object") {
        let is = |own: &str| column == own.trim_matches('"');
        let field = match column.as_str() {
            _ if is(kind.name) => "name",
            _ if is(kind.number) => "number",
            column => column,
        };
        row[field] = value.clone();
    }
}
