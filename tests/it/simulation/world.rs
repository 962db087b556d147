//! A real site beside its model.

use std::sync::{LazyLock, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use meter_sync::config::Settings;
use meter_sync::error::ErrorCode;
use meter_sync::meter::{Outcome, Permission, Trigger};
use meter_sync::runs::report::{RunReport, RunState};
use meter_sync::runs::{Allow, Claim, Request, Runs};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::model::{self, Expected, Model, Rows};
use super::op::{Break, COMMIT, Op};
use crate::support::proxy::{Fault, Proxy};
use crate::support::site::{Site, finish, rows, runs, settings};

const REMOTE_SCHEMA: &str = "
    create table meter (id bigint, tenant_id bigint not null, name text, active boolean not null)";

const LOCAL_SCHEMA: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme');
    create table meter (
        id varchar(9) primary key, tenant_id bigint not null,
        name varchar(12) check (name <> 'forbidden'),
        active boolean not null default true, site_note text default 'ours')";

/// Both databases as they were before anything happened.
const EMPTY_HERE: &str = "
    delete from meter; delete from meter_sync.meter_sync_slot; delete from meter_sync.meter_sync_log";

/// A real site beside its model; one for all histories, one after the other.
pub(super) struct World {
    site: Site,
    settings: Settings,
    /// A second process.
    other: Runs,
    remote: Proxy,
    local: Proxy,
    model: Model,
    /// How many runs should stand in the log.
    logged: i64,
}

static WORLD: LazyLock<(Runtime, Mutex<World>)> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::new());
    (runtime, Mutex::new(world))
});

impl World {
    /// Lives a history on an empty site, and then heals.
    pub(super) fn live(history: &[Op]) {
        let (runtime, world) = &*WORLD;
        // a history that failed leaves nothing that the next one minds
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.block_on(async {
            world.empty().await;
            for op in history {
                world.happen(op).await;
                world.check().await;
            }
            world.heal().await;
        });
    }

    async fn new() -> Self {
        let mut site = Site::with_schemas(REMOTE_SCHEMA, LOCAL_SCHEMA).await;
        let (remote, remote_url) = Proxy::before(&site.pair.remote_url).await;
        let (local, local_url) = Proxy::before(&site.pair.local_url).await;
        let settings = settings(&remote_url, &local_url);
        site.reconfigure(&settings);
        site.sync().await;
        let other = runs(&settings);
        let model = Model::default();
        Self {
            site,
            settings,
            other,
            remote,
            local,
            model,
            logged: 0,
        }
    }

    async fn empty(&mut self) {
        self.remote.set(Fault::None);
        self.local.set(Fault::None);
        self.site.on_remote("delete from meter").await;
        self.site.on_local(EMPTY_HERE).await;
        self.model = Model::default();
        self.logged = 0;
    }

    async fn happen(&mut self, op: &Op) {
        match *op {
            Op::Sync => self.sync(Request::new(Trigger::Cli)).await,
            Op::SyncAllowed => self.sync(allowed()).await,
            Op::DryRun => {
                let dry_run = true;
                self.sync(Request {
                    dry_run,
                    ..Request::new(Trigger::Mcp)
                })
                .await;
            }
            Op::TwoAtOnce => self.two_at_once().await,
            Op::Broken(broken) => self.sync_broken(broken).await,
            Op::Restart => {
                self.site.reconfigure(&self.settings);
            }
            Op::Tick(slot) => self.tick(slot).await,
            Op::Put { .. }
            | Op::PutAll(_)
            | Op::Remove(_)
            | Op::RemoveAll
            | Op::Toggle(_)
            | Op::Move(_)
            | Op::Duplicate(_)
            | Op::PutUnkeyed(_) => {
                self.model.edit(op);
                self.write_remote().await;
            }
            Op::EditHere { .. }
            | Op::DeleteHere(_)
            | Op::ToggleHere(_)
            | Op::NoteHere(_)
            | Op::SeizeHere(_) => {
                let before = self.model.rows();
                self.model.edit(op);
                self.write_local(&before).await;
            }
        }
    }

    /// The remote becomes what the model says.
    async fn write_remote(&self) {
        let row = |row: &model::Remote| json!({"id": row.key, "tenant_id": row.tenant, "name": row.name.text(), "active": row.active});
        let rows: Vec<Value> = self.model.remote.iter().map(row).collect();
        let write = "with gone as (delete from meter)
             insert into meter select * from jsonb_populate_recordset(null::meter, $1)";
        let written = self.site.remote.execute(write, &[&Value::from(rows)]).await;
        written.expect("write the remote");
    }

    /// Those local rows that the model has changed become what it says; nobody else's hand is on them.
    async fn write_local(&self, before: &Rows) {
        let after = self.model.rows();
        let gone: Vec<&String> = before
            .keys()
            .filter(|id| !after.contains_key(*id))
            .collect();
        let delete = "delete from meter where id = any($1)";
        self.site
            .local
            .execute(delete, &[&gone])
            .await
            .expect("delete a meter");
        let changed = after
            .iter()
            .filter(|(id, row)| before.get(*id) != Some(*row));
        let changed: Vec<Value> = changed.map(|(_, row)| row.clone()).collect();
        let write = "insert into meter select * from jsonb_populate_recordset(null::meter, $1)
             on conflict (id) do update set tenant_id = excluded.tenant_id, name = excluded.name,
                 active = excluded.active, site_note = excluded.site_note";
        let written = self
            .site
            .local
            .execute(write, &[&Value::from(changed)])
            .await;
        written.expect("write a meter");
    }

    async fn sync(&mut self, request: Request) {
        let expected = self.model.run(
            request.dry_run,
            request.allow.mass_deactivation == Permission::Any,
        );
        let run = finish(&self.site.runs, request).await;
        assert_ended(&run, &expected);
        self.ended(&run, &expected).await;
    }

    /// The run stands in the log, its changes explain the difference, and the model follows.
    async fn ended(&mut self, run: &RunReport, expected: &Expected) {
        self.logged += 1;
        let changes = format!(
            "select action, key->>'id' as id, after from meter_sync.meter_sync_change
             where run_id = '{}' order by n",
            run.run_id
        );
        let changes = rows(&self.site.local, &changes).await;
        if run.outcome != Some(Outcome::DryRun) {
            let mut explained = self.model.rows();
            for change in changes.as_array().expect("rows") {
                explain(&mut explained, change);
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
            usize::try_from(run.counts.changes()).ok(),
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

    async fn two_at_once(&mut self) {
        let request = || Request::new(Trigger::Rest);
        let (one, other) = tokio::join!(
            finish(&self.site.runs, request()),
            finish(&self.other, request())
        );
        let (first, second) = match (one.state, other.state) {
            (RunState::AlreadyRunning, _) => (other, one),
            (_, RunState::AlreadyRunning) => (one, other),
            // which of them came first tells what they did
            _ if is_as(&one, &self.model.run(false, false)) => (one, other),
            _ => (other, one),
        };
        for run in [&first, &second] {
            if run.state == RunState::AlreadyRunning {
                assert_eq!(run.run_id, first.run_id);
            } else {
                let expected = self.model.run(false, false);
                assert_ended(run, &expected);
                self.ended(run, &expected).await;
            }
        }
    }

    async fn tick(&mut self, slot: u8) {
        let start = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::hours(slot.into());
        let claimed = self.site.runs.claim_slot(start).await.expect("an answer");
        // Its run follows at once, so whoever comes later finds it served, the claimant too.
        let is_first = self.model.slots.insert(slot);
        assert_eq!(claimed == Claim::Ours, is_first);
        let again = self.other.claim_slot(start).await.expect("an answer");
        assert_ne!(again, Claim::Ours, "a slot is claimed once");
        if claimed == Claim::Ours {
            self.sync(Request::new(Trigger::Schedule)).await;
        }
    }

    /// A run whose line breaks once ends as if nothing had happened, or has changed nothing.
    async fn sync_broken(&mut self, broken: Break) {
        let (proxy, fault, code) = match broken {
            Break::Remote(fault) => (&self.remote, fault, ErrorCode::RemoteUnreachable),
            Break::Local(fault) => (&self.local, fault, ErrorCode::LocalUnreachable),
        };
        let struck = proxy.struck();
        proxy.set_once(fault, Fault::None);
        let run = finish(&self.site.runs, Request::new(Trigger::Cli)).await;
        proxy.set(Fault::None);
        let struck = proxy.struck() > struck || fault == Fault::Refuse;
        let expected = self.model.run(false, false);
        let would_write = match expected.outcome {
            Outcome::Succeeded | Outcome::NoChange | Outcome::Partial => true,
            Outcome::Failed
            | Outcome::Refused
            | Outcome::Interrupted
            | Outcome::DryRun
            | Outcome::Unknown => false,
        };
        let must_fail = struck && would_write && fault != Fault::LoseReply(COMMIT);
        let failed = Expected {
            outcome: Outcome::Failed,
            code: Some(code),
            counts: meter_sync::meter::Counts::default(),
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
        let found = "select id, tenant_id, name, active, site_note from meter";
        let found = rows(&self.site.local, found).await;
        let by_id = |row: &Value| (row["id"].as_str().expect("an id").to_owned(), row.clone());
        let found: Rows = found.as_array().expect("rows").iter().map(by_id).collect();
        assert_eq!(found, self.model.rows());
        let log = "select count(*) as runs, count(*) filter (where outcome is null) as unfinished
             from meter_sync.meter_sync_log";
        let log = rows(&self.site.local, log).await;
        assert_eq!(log, json!([{"runs": self.logged, "unfinished": 0}]));
    }

    /// Whatever happened before, the remote's mistakes once mended, two runs bring peace.
    async fn heal(&mut self) {
        self.model.remote.retain(|row| row.key.is_some());
        self.model.remote.sort_by_key(|row| row.key);
        self.model.remote.dedup_by_key(|row| row.key);
        for row in &mut self.model.remote {
            row.name = row.name.storable();
        }
        self.model.here.retain(|_, row| row.is_ours());
        self.site
            .on_local("delete from meter where tenant_id <> 7")
            .await;
        self.write_remote().await;
        self.sync(allowed()).await;
        let expected = self.model.run(false, false);
        assert_eq!(expected.outcome, Outcome::NoChange);
        self.sync(Request::new(Trigger::Cli)).await;
        self.check().await;
    }
}

fn allowed() -> Request {
    let allow = Allow {
        mass_deactivation: Permission::Any,
        ..Allow::default()
    };
    Request {
        allow,
        ..Request::new(Trigger::Page)
    }
}

fn is_as(run: &RunReport, expected: &Expected) -> bool {
    let code = run.error.as_ref().map(|error| error.code);
    (run.outcome, code, run.counts) == (Some(expected.outcome), expected.code, expected.counts)
}

fn assert_ended(run: &RunReport, expected: &Expected) {
    assert!(is_as(run, expected), "{run:#?}\nis not {expected:#?}");
}

/// Makes one change of the log.
fn explain(here: &mut Rows, change: &Value) {
    let id = change["id"].as_str().expect("an id");
    if change["action"] == "insert" {
        let row = json!({"id": id, "name": null, "site_note": "ours"});
        assert_eq!(here.insert(id.to_owned(), row), None, "{change}");
    }
    let row = here.get_mut(id).unwrap_or_else(|| panic!("{change}"));
    for (name, value) in change["after"].as_object().expect("an object") {
        row[name] = value.clone();
    }
}
